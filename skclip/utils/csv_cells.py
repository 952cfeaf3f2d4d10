"""Cells of a CSV file: on one line, encodable, and harmless where a spreadsheet opens them."""

import re
import unicodedata

__all__ = ["one_line", "safe_cell", "text_of_cell"]

# Control characters, marks of direction, lone surrogates, what is unassigned, ends of lines.
_HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
# They join letters in Persian and Indian names, and emoji.
_JOINERS = "\u200c\u200d"
# What a spreadsheet takes for the beginning of a formula, in full width, too.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?( ± \d+\.?\d*)?")


def one_line(text: str) -> str:
    r"""The text with what cannot be seen or encoded written as Python's escapes.

    >>> one_line("two\rlines \udcff")
    'two\\rlines \\udcff'
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in _HIDDEN and c not in _JOINERS
        else c
        for c in text
    )


def safe_cell(text: str) -> str:
    """The text, with an apostrophe in front of what a spreadsheet would take for a formula.

    >>> safe_cell("=1+1"), safe_cell("-1.5"), safe_cell("'tis")
    ("'=1+1", '-1.5', "'tis")
    """
    text = one_line(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def text_of_cell(cell: str) -> str:
    """What :func:`safe_cell` was given, up to what :func:`one_line` escapes."""
    cell = one_line(cell)
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
