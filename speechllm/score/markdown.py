"""Markdown tables of scores."""

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table with the first row as its header; vertical bars in cells are escaped."""
    lines: list[Sequence[str]] = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "".join(f"|{'|'.join(cell.replace('|', chr(92) + '|') for cell in line)}|\n" for line in lines)
