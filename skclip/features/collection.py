"""What `X` and its items may be: refused early where they cannot be images."""

import os
import stat
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from PIL import Image

from skclip.exceptions import ImageError
from skclip.store import KEY_BYTES, as_keys, file_stamp
from skclip.utils.messages import listing

__all__ = [
    "check_collection",
    "check_images",
    "check_kind",
    "describe",
    "fault_of",
    "image_of",
    "is_file_object",
    "is_missing",
    "is_path",
]

_KINDS = "paths (str or Path), PIL images, uint8 arrays, bytes or open files"
_NO_STAMP = bytes(KEY_BYTES)


def check_images(
    X: Any, *, allow_missing: bool, stamped: bool = False
) -> tuple[Sequence[Any], np.ndarray | None]:
    """The images behind `X`, after everything that can be refused before one is opened.

    Items of lists, tuples and arrays of paths are looked at; the items of another sequence may
    cost a decoding each, and are checked when their turn comes.

    Parameters
    ----------
    X : collection of n images
        As for :func:`check_collection`.
    allow_missing : bool
        Whether None, NaN and paths without a file pass: they are then found unreadable when their
        turn comes.
    stamped : bool, default=False
        Whether to return the stamps of files.

    Returns
    -------
    images : sequence of n items
    stamps : ndarray of shape (n, 32), uint8, or None
        :func:`skclip.store.file_stamp` of the files as they are now, unread; zeros where an item
        is no file.

    Raises
    ------
    ImageError
        With the positions of at most five offending items and their number.
    """
    images = check_collection(X)
    if not isinstance(images, list | tuple) and getattr(images, "ndim", 0) != 1:
        return images, None
    if any(isinstance(item, Mapping) for item in images):
        images = [image_of(item) for item in images]
    _check_kinds(images, allow_missing)
    if not stamped and allow_missing:
        return images, None
    is_file, stamps = _look_at_files(images, stamped)
    absent = [i for i in np.flatnonzero(~is_file).tolist() if is_path(images[i])]
    if absent and not allow_missing:
        raise ImageError(
            f"Every path in X must name an existing file; got {_items(absent, images)}. "
            f"Relative paths start at {str(Path.cwd())!r}; with on_error='nan' such items get NaN "
            "features."
        )
    return images, stamps


def check_collection(X: Any) -> Sequence[Any]:
    """The images behind `X` as a sequence, nothing decoded.

    Parameters
    ----------
    X : collection of n images
        A list or another sequence of paths, bytes of image files, files opened for reading them,
        PIL images and uint8 arrays of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), mixed as
        one likes; an array of paths of shape (n,) or (n, 1); a column of pandas, polars, pyarrow or
        Hugging Face datasets, or a table that has no other; a uint8 array of shape (n, h, w) or
        (n, h, w, channels).

    Raises
    ------
    ImageError
        If `X` is a single image, empty, or an array of the wrong type or shape.
    """
    single = str | os.PathLike | Image.Image | bytes | bytearray | memoryview
    if isinstance(X, single) or is_file_object(X):
        raise ImageError(
            f"X must be a collection of images; got a single {describe(X)}. Wrap it in a list."
        )
    if isinstance(X, torch.Tensor):
        raise ImageError(
            "X must hold images that are not preprocessed; got a torch.Tensor. Pass a uint8 NumPy "
            "array of shape (n, h, w, 3)."
        )
    X = _items_of_column(X)
    if isinstance(X, np.ndarray) and (X.ndim == 0 or len(X)):
        X = _check_array(X)
    sized = hasattr(X, "__len__") and hasattr(X, "__getitem__")
    if not sized or isinstance(X, Mapping | Set):
        raise ImageError(f"X must be a sequence of {_KINDS}; got {type(X).__name__}. Pass list(X).")
    if len(X) == 0:
        raise ImageError("X must hold at least one image; got an empty collection.")
    return X


def _items_of_column(X: Any) -> Any:
    """What a column of a table holds, by what it can do; anything else as it is."""
    if hasattr(X, "to_pylist"):  # pyarrow
        return X.to_pylist()
    if len(getattr(X, "columns", ())) == 1:
        X = X[X.columns[0]]
    if getattr(getattr(X, "dtype", None), "fields", None) and hasattr(X, "to_list"):
        return X.to_list()  # a struct of polars, whose array would have a column for each field
    return X.to_numpy() if hasattr(X, "to_numpy") else X


def _check_array(X: np.ndarray) -> np.ndarray:
    """Paths as (n,), or a batch of uint8 images."""
    if X.dtype.kind in "OUT":
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim == 1:
            return X
        raise ImageError(
            f"An array of paths must have shape (n,) or (n, 1); got {X.shape}. "
            "Select the column that holds the paths."
        )
    if X.dtype.kind == "S":
        raise ImageError(
            "Bytes of image files must not be in an array of bytes, which cuts zeros off their "
            f"end; got dtype {X.dtype}. Pass a list of them, or an array of dtype object."
        )
    if X.dtype != np.uint8:
        raise ImageError(f"An image array must have dtype uint8; got {X.dtype}. {_uint8_advice(X)}")
    if X.ndim == 2:
        raise ImageError(
            f"A uint8 array must have shape (n, h, w) or (n, h, w, 3); got {X.shape}. Pass X[None] "
            "for one greyscale image, X.reshape(n, h, w) for flattened ones."
        )
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ImageError(
            f"A uint8 array must have shape (n, h, w) or (n, h, w, 3); got {X.shape}, which looks "
            "like one colour image. Pass X[None]."
        )
    if X.ndim not in (3, 4) or (X.ndim == 4 and X.shape[3] not in (1, 3, 4)):
        hint = " Pass X.transpose(0, 2, 3, 1)." if X.ndim == 4 and X.shape[1] in (1, 3, 4) else ""
        raise ImageError(
            "A uint8 array must have shape (n, h, w) or (n, h, w, channels) with 1, 3 or 4 "
            f"channels; got {X.shape}.{hint}"
        )
    if X.size == 0:
        raise ImageError(f"Images must have at least one pixel; got an array of shape {X.shape}.")
    return X


def _check_kinds(images: Sequence[Any], allow_missing: bool) -> None:
    wrong = [
        i
        for i, item in enumerate(images)
        if type(item) is not str and fault_of(item) and not (allow_missing and is_missing(item))
    ]
    if wrong:
        raise _wrong_kind(_items(wrong, images), {fault_of(images[i]) for i in wrong})


def check_kind(item: Any, position: int) -> None:
    """Refuse one item of a sequence that could not be looked at before; missing ones pass."""
    item = image_of(item)
    if not is_missing(item) and (fault := fault_of(item)):
        raise _wrong_kind(f"item {position} ({describe(item)})", {fault})


def _wrong_kind(got: str, faults: set[str]) -> ImageError:
    only = f" {faults.pop()}" if len(faults) == 1 else ""
    return ImageError(
        "Every item of X must be a path (str or Path), a PIL image, bytes, an open file or a uint8 "
        f"array of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4); got {got}.{only}"
    )


def _look_at_files(images: Sequence[Any], stamped: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Which items name regular files, and their stamps: one stat each, three microseconds."""
    stamps, is_file = bytearray(), np.zeros(len(images), dtype=bool)
    for i, item in enumerate(images):
        try:
            if not is_path(item):  # bytes would be taken for a name
                raise TypeError
            plain = type(item) is str and item[:1] != "~"
            status = os.stat(item if plain else os.path.expanduser(item))  # noqa: PTH111, PTH116
        except (OSError, ValueError, TypeError):  # there is none, or the item is no path
            stamps += _NO_STAMP
            continue
        is_file[i] = stat.S_ISREG(status.st_mode)
        if stamped:
            stamps += file_stamp(item, status)
    return is_file, as_keys([bytes(stamps)]) if stamped else None


def _items(positions: Sequence[int], images: Sequence[Any]) -> str:
    """At most five items, then how many of how many."""
    named = listing(positions, show=lambda i: f"item {i} ({describe(images[i])})")
    return f"{named}, {len(positions)} of {len(images)}"


def image_of(item: Any) -> Any:
    """The content, else the path, of ``{"bytes": ..., "path": ...}``; anything else as it is.

    So Hugging Face datasets keep an image that is not decoded, and write it to Parquet files. Where
    there are bytes, the path is only their name.
    """
    if not isinstance(item, Mapping) or not item or not set(item) <= {"bytes", "path"}:
        return item
    content = item.get("bytes")
    return item.get("path") if is_missing(content) else content


def is_path(item: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Whether an item names a file."""
    return isinstance(item, str | os.PathLike)


def is_file_object(item: Any) -> bool:
    """Whether an item has a method that reads its content."""
    return callable(getattr(item, "read", None)) and not isinstance(item, os.PathLike)


def is_missing(item: Any) -> bool:
    """None, NaN, and the missing values of pandas."""
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, float) and item != item


def describe(item: Any) -> str:
    """An item as messages name it: a path by its text, anything else by its kind."""
    if is_path(item):
        return repr(os.fspath(item))
    if isinstance(item, np.ndarray):
        return f"{item.dtype} array of shape {item.shape}"
    if isinstance(item, bytes | bytearray | memoryview):
        return f"{len(item)} bytes"
    if isinstance(item, Image.Image):
        name = getattr(item, "filename", "")
        return f"PIL image {str(name)!r}" if name else "PIL image"
    if is_file_object(item) and isinstance(getattr(item, "name", None), str):
        return f"open file {item.name!r}"
    return type(item).__name__


def fault_of(item: Any) -> str:
    """What is wrong with the kind of an item; empty if nothing is."""
    if isinstance(item, str | os.PathLike | Image.Image | bytes | bytearray | memoryview):
        return ""
    if isinstance(item, type):
        return f"Pass {_KINDS}."
    if is_file_object(item):
        return ""
    if isinstance(item, Mapping):
        return f"Pass the images alone, such as X['image'] of a table with keys {listing(item)}."
    if isinstance(item, tuple | list):
        return f"Pass {_KINDS} alone, without labels: for pairs [image for image, _ in X]."
    if not isinstance(item, np.ndarray):
        return f"Pass {_KINDS}."
    if item.dtype != np.uint8:
        return _uint8_advice(item)
    channels_are_right = item.ndim == 2 or (item.ndim == 3 and item.shape[2] in (1, 3, 4))
    if not channels_are_right or item.size == 0:
        return "Colour channels come last."
    return ""


def _uint8_advice(X: np.ndarray) -> str:
    """How to make a uint8 array of an array of another type."""
    if X.dtype.kind == "f":
        return (
            "For values in [0, 1] pass (255 * X).round().astype(np.uint8); features that are "
            "already embedded need no CLIPFeaturizer."
        )
    if X.dtype == np.uint16:
        return "For the full 16-bit range pass (X // 257).astype(np.uint8)."
    if X.dtype == np.bool_:
        return "Pass 255 * X.astype(np.uint8)."
    return "For values in [0, 255] pass X.astype(np.uint8)."
