"""Text from files inside Markdown and CSV."""

import re

from stylization.errors import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def markdown_cell(text: object) -> str:
    """A text as a cell of a Markdown table, or inside a line: no bar ends it, no line break, and no markup begins."""
    return re.sub(r"([\\|`<])", r"\\\1", printable(text))


def csv_cell(value: object) -> object:
    """A value as a cell of a CSV file that a spreadsheet takes for no formula. Numbers stay numbers."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
