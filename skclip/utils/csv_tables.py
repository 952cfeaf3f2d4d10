"""Tables of images as people have them: saved by a spreadsheet, in any language."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from skclip.utils.csv_cells import text_of_cell
from skclip.utils.files import decode_text
from skclip.utils.messages import listing

__all__ = ["column_names", "read_table"]

# A spreadsheet separates by semicolons where the comma is the decimal point.
_SEPARATORS = ",;\t"


def read_table(content: bytes, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, as text; cells that are not there are empty.

    Parameters
    ----------
    content : bytes
        UTF-8, or UTF-16 with a byte order mark. Commas, or else semicolons or tabs, separate.
    columns : iterable of str
        Those that must be there; the names of the file are compared without case and spaces
        around them.

    Raises
    ------
    ValueError
        If it is no such file, a column is missing or there twice, or a row has more cells than
        the header.
    """
    text = decode_text(content)
    names = column_names(text)
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise ValueError(f"the column {listing(twice)} more than once; keep one of them")
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(
            f"no column {listing(missing)}, as the header has {listing(names)}; rename the columns"
        )
    try:
        _, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [_row(names, cells, line) for line, cells in enumerate(rows, start=2) if cells]


def column_names(text: str) -> list[str]:
    """The header of a CSV file: names in lower case, without spaces around them."""
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)), [])
    except csv.Error:
        return []
    return [name.strip().lower() for name in header]


def _separator(text: str) -> str:
    first = text.split("\n", 1)[0]
    return next((separator for separator in _SEPARATORS if separator in first), ",")


def _row(names: Sequence[str], cells: Sequence[str], number: int) -> dict[str, str]:
    if len(cells) > len(names) and any(cells[len(names) :]):
        raise ValueError(
            f"{len(cells)} cells in row {number}, where the header has {len(names)}; put text that "
            "holds the separator in quotes"
        )
    padded = [*cells, *[""] * len(names)]
    return {name: text_of_cell(cell) for name, cell in zip(names, padded, strict=False)}
