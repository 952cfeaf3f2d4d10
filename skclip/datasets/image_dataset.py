"""A data set of images on disk: paths and labels by split, and the names of the classes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skclip.utils.messages import listing

__all__ = ["ImageDataset", "ImageList"]


@dataclass(frozen=True, eq=False)
class ImageList:
    """Paths of images and their labels.

    Parameters
    ----------
    paths : ndarray of shape (n,)
        Of str.
    labels : ndarray of shape (n,)
        Of int.
    """

    paths: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[tuple[str | Path, int]]) -> "ImageList":
        """From pairs of a path and a label.

        Parameters
        ----------
        rows : iterable of (path, int)

        Returns
        -------
        ImageList
        """
        rows = list(rows)
        paths = np.array([str(path) for path, _ in rows], dtype=object)
        return cls(paths, np.array([label for _, label in rows], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """A data set on disk; its splits are attributes, too.

    Parameters
    ----------
    name : str
    class_names : dict of int to str
        The name of each label that prompts are made of, as ClassPrompts takes it.
    splits : dict of str to ImageList
        "train", "val" and "test", where they exist.
    template_set : str, default="simple"
        The templates of its prompts, see :func:`skclip.prompts.get_templates`.
    """

    name: str
    class_names: dict[int, str]
    splits: dict[str, ImageList]
    template_set: str = "simple"

    def __getattr__(self, name: str) -> ImageList:
        if name in ("train", "val", "test") and name in self.splits:
            return self.splits[name]
        raise AttributeError(
            f"A data set has the attributes of ImageDataset and its splits; got {name!r}, and "
            f"{self.name} has the splits {listing(self.splits)}."
        )
