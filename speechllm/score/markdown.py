"""Markdown, as far as scores need it."""

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose head is the first row; a bar within a cell is escaped."""
    lines: list[Sequence[str]] = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "".join(f"|{'|'.join(cell.replace('|', chr(92) + '|') for cell in line)}|\n" for line in lines)
