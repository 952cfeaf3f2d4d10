"""Rows that are taken together, so that arrays of rows times classes stay small."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["row_chunks"]

# Held at once: 16 or 32 MB an array.
_NUMBERS = 2**22


def row_chunks(n_rows: int, numbers_per_row: int) -> Iterator[slice]:
    """Slices of the rows, in order."""
    step = max(1, _NUMBERS // numbers_per_row)
    for first in range(0, n_rows, step):
        yield slice(first, first + step)
