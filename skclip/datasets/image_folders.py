"""A user's own images: one folder per class, or a table of paths and labels."""

import csv
from pathlib import Path

from skclip.datasets.image_dataset import ImageDataset, ImageList
from skclip.exceptions import DatasetError
from skclip.utils.messages import listing

__all__ = ["load_image_csv", "load_image_folder"]

_SPLITS: tuple[str, ...] = ("train", "val", "test")
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def load_image_folder(
    root: str | Path, *, name: str | None = None, underscores: bool = False
) -> ImageDataset:
    """Images in one folder per class, ``root/cat/1.jpg``, or in such folders per split.

    Parameters
    ----------
    root : path-like
        Either holds class folders, or folders named "train", "val" (or "valid",
        "validation") and "test" that do.
    name : str, default=None
        Of the data set; the folder's when None.
    underscores : bool, default=False
        Keep underscores in class names instead of making them spaces.

    Returns
    -------
    ImageDataset
        Labels 0, 1, ... are the positions of the sorted folder names. Without split folders
        all images are "train".

    Raises
    ------
    DatasetError
        If there are no class folders with images, or splits differ in their classes.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(
            f"A data set must be a folder with one folder per class; got no folder {root}."
        )
    found = {_SPLIT_NAMES.get(p.name.lower()): p for p in root.iterdir() if p.is_dir()}
    parts = {split: found[split] for split in _SPLITS if split in found}
    folders = parts or {"train": root}
    classes = _class_names(folders, root)
    label_of = {name: label for label, name in enumerate(classes)}
    splits = {
        split: _images_of(folder, [c for c in classes if (folder / c).is_dir()], label_of)
        for split, folder in folders.items()
    }
    if not any(len(images) for images in splits.values()):
        raise DatasetError(
            f"Class folders must hold images ({', '.join(sorted(_SUFFIXES))}); got none in {root}."
        )
    named = {label: c if underscores else c.replace("_", " ") for label, c in enumerate(classes)}
    return ImageDataset(name or root.name, named, splits)


def _class_names(folders: dict[str, Path], root: Path) -> list[str]:
    """Sorted names of the training split's class folders; other splits may lack some."""
    found = {
        split: {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
        for split, folder in folders.items()
    }
    first = next(iter(found))
    if not found[first]:
        raise DatasetError(
            f"A data set must be a folder with one folder per class; got none in {root}. Move the "
            "images of each class into a folder of its name."
        )
    for split, names in found.items():
        unknown = sorted(names - found[first])
        if unknown:
            raise DatasetError(
                f"Every split must have classes of the {first} split; got {listing(unknown)} in "
                f"{split} only."
            )
    return sorted(found[first])


def _images_of(folder: Path, classes: list[str], label_of: dict[str, int]) -> ImageList:
    rows = [
        (str(path), label_of[name])
        for name in classes
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in _SUFFIXES and path.is_file()
    ]
    return ImageList.of(rows)


def load_image_csv(
    path: str | Path, *, name: str | None = None, root: str | Path | None = None
) -> ImageDataset:
    """Images listed in a CSV file with the columns "path" and "label", and perhaps "split".

    Parameters
    ----------
    path : path-like
        UTF-8, with a header. "label" is the class name; "split" is "train", "val" or "test",
        "train" where the column is absent.
    name : str, default=None
        Of the data set; the file's when None.
    root : path-like, default=None
        What relative paths are relative to; the folder of the file when None.

    Returns
    -------
    ImageDataset
        Labels 0, 1, ... are the positions of the sorted class names.

    Raises
    ------
    DatasetError
        If a column is missing, a split is unknown, or an image does not exist.
    """
    path = Path(path).expanduser()
    root = path.parent if root is None else Path(root).expanduser()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise DatasetError(f"A data set must be a CSV file; got no file {path}.") from error
    columns = set(rows[0]) if rows else set()
    if not {"path", "label"} <= columns:
        raise DatasetError(
            f"{path} must have the columns path and label, and rows; got {listing(sorted(columns))}"
            f" in {len(rows)} rows."
        )
    classes = sorted({row["label"] for row in rows})
    label_of = {name: label for label, name in enumerate(classes)}
    by_split: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        split = _SPLIT_NAMES.get((row.get("split") or "train").lower())
        if split is None:
            raise DatasetError(f"split must be train, val or test; got {row['split']!r} in {path}.")
        by_split.setdefault(split, []).append((str(root / row["path"]), label_of[row["label"]]))
    missing = [p for rows in by_split.values() for p, _ in rows if not Path(p).is_file()]
    if missing:
        raise DatasetError(
            f"Every image in {path} must exist; got no file {listing(missing)}. Paths are relative "
            f"to {root}: pass another root, or correct them."
        )
    splits = {s: ImageList.of(by_split[s]) for s in _SPLITS if s in by_split}
    return ImageDataset(name or path.stem, dict(enumerate(classes)), splits)
