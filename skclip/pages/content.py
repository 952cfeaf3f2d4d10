"""What a page is made of: sections of text, figures, tables and galleries of thumbnails."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skclip.exceptions import ImageError
from skclip.features.image_reading import open_image

__all__ = ["Figure", "Gallery", "Section", "Table", "Thumbnail", "thumbnail"]


class Figure(NamedTuple):
    """SVG that is put in as it is, and its caption; `fits` where it may shrink to a phone."""

    svg: str
    caption: str
    fits: bool = False


class Thumbnail(NamedTuple):
    """A small image as a data address (empty where there is none), and what stands below it."""

    address: str
    lines: tuple[str, ...]


class Gallery(NamedTuple):
    """Thumbnails under a title."""

    title: str
    thumbnails: Sequence[Thumbnail]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """Entries of text; levels of the index are names, columns are numbers.

    `best`, of the same shape, is True where an entry is printed bold.
    """

    name: str
    title: str
    entries: pd.DataFrame
    note: str = ""
    best: pd.DataFrame | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """Names and entries as columns of text."""
        return self.entries.reset_index().map(str).rename(columns=str)

    @property
    def n_names(self) -> int:
        """How many of the columns of `frame` are names."""
        return self.entries.index.nlevels

    @property
    def bold(self) -> np.ndarray:
        """Of the shape of `frame`."""
        best = np.zeros(self.entries.shape, bool) if self.best is None else self.best.to_numpy()
        return np.pad(best, ((0, 0), (self.n_names, 0)))


@dataclass(frozen=True)
class Section:
    """A part of a page; what is empty is left out.

    Parameters
    ----------
    title : str
    lead : tuple of str
        Paragraphs in large letters.
    figures, tables, galleries : sequences
    text, summary : str
        Lines that stay as they are, shown when somebody asks for the summary.
    """

    title: str
    lead: tuple[str, ...] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    galleries: Sequence[Gallery] = ()
    text: str = ""
    summary: str = "In numbers"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not any((self.lead, self.figures, self.tables, self.galleries, self.text))


def thumbnail(path: str | Path, lines: Sequence[str], side: int = 144) -> Thumbnail:
    """A small copy of an image file, as an address that holds it.

    Parameters
    ----------
    path : path-like
        Where it cannot be read (any more), there is the text alone.
    lines : sequence of str
        What stands below it.
    side : int, default=144
        The longest side in pixels.
    """
    try:
        small = open_image(path)
    except ImageError:
        return Thumbnail("", tuple(lines))
    small = small.copy()
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    content = base64.b64encode(file.getvalue()).decode()
    return Thumbnail(f"data:image/jpeg;base64,{content}", tuple(lines))
