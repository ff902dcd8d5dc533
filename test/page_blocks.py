"""Code blocks of the documentation that tests run, each named by the line before it: ``<!-- test: NAME -->``."""

import re

from toy_tree import ROOT


def read_page(page: str) -> str:
    """Return the text of a page of the documentation."""
    return (ROOT / page).read_text(encoding="utf-8")


def read_blocks(page: str) -> dict[str, str]:
    """Return the code of the named blocks of a page, by name."""
    text = read_page(page)
    found = re.findall(r"^<!-- test: (\w+) -->\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    blocks = dict(found)
    assert len(blocks) == len(found) == text.count("<!-- test: "), f"{page}: names that are not of one code block each"
    return blocks
