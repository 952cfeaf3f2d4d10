"""A user's own images: one folder per class, or a table of paths and labels."""

import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from skclip.datasets.image_dataset import ImageDataset, ImageList
from skclip.exceptions import DatasetError, LeftOutWarning
from skclip.utils.csv_tables import read_table
from skclip.utils.image_files import FoundImages, is_hidden, search_images
from skclip.utils.messages import listing

__all__ = ["image_paths_by_folder", "load_image_csv", "load_image_folder"]

_SPLITS: tuple[str, ...] = ("train", "val", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def load_image_folder(
    root: str | Path,
    *,
    name: str | None = None,
    underscores: bool = False,
    glob: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
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
    glob, exclude : str or iterable of str, default=None
        Patterns of images to take and of files and folders to leave out, below each class folder,
        as for :func:`skclip.features.find_images`: ``exclude="*.png"`` where masks lie beside
        photographs.

    Returns
    -------
    ImageDataset
        Labels 0, 1, ... are the positions of the sorted folder names. Without split folders
        all images are "train".

    Raises
    ------
    DatasetError
        If there are no class folders with images, or splits differ in their classes.

    Warns
    -----
    LeftOutWarning
        If files are no images, lie deeper than in a class folder or outside any, or have an image
        of another type and the same name beside them; if a class has no image; if there are
        folders beside those of the splits.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(
            f"A data set must be a folder with one folder per class; got no folder {root}."
        )
    folders = _split_folders(root) or {"train": root}
    classes = _class_names(folders, root)
    label_of = {name: label for label, name in enumerate(classes)}
    splits, remarks = {}, []
    for split, folder in folders.items():
        found = {
            c: search_images(folder / c, glob, exclude) for c in classes if (folder / c).is_dir()
        }
        splits[split] = ImageList.of(
            (path, label_of[c]) for c, images in found.items() for path in images.paths
        )
        remarks += _remarks(folder, found)
    if not any(len(images) for images in splits.values()):
        raise DatasetError(
            f"Class folders must hold images; got none in {root}. {' '.join(remarks)}".rstrip()
        )
    for remark in remarks:
        warnings.warn(remark, LeftOutWarning, stacklevel=2)
    named = {label: c if underscores else c.replace("_", " ") for label, c in enumerate(classes)}
    return ImageDataset(name or root.name, named, splits)


def _folders_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name))


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits that there are; a class may have such a name, too.

    Raises
    ------
    DatasetError
        If two folders are of one split.
    """
    found: dict[str, Path] = {}
    others = []
    for folder in _folders_of(root):
        split = _SPLIT_NAMES.get(folder.name.lower())
        if split is None or not _folders_of(folder):
            others.append(folder.name)
        elif split in found:
            raise DatasetError(
                f"A split must have one folder; got {found[split].name!r} and {folder.name!r} for "
                f"{split} in {root}. Merge them, or move one away."
            )
        else:
            found[split] = folder
    if found and others:
        warnings.warn(
            f"{root} has folders of the splits {listing(found)}, so that others in it are left "
            f"out: {listing(others)}.",
            LeftOutWarning,
            stacklevel=3,
        )
    return {split: found[split] for split in _SPLITS if split in found}


def _class_names(folders: dict[str, Path], root: Path) -> list[str]:
    """Sorted names of the training split's class folders; other splits may lack some."""
    found = {split: {p.name for p in _folders_of(folder)} for split, folder in folders.items()}
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


def _remarks(folder: Path, found: dict[str, FoundImages]) -> list[str]:
    """What a user may not have meant, one sentence each."""
    every = FoundImages(
        [path for images in found.values() for path in images.paths],
        sum((images.left_out for images in found.values()), Counter[str]()),
    )
    stray = search_images(folder, exclude="*/*").paths
    empty = [name for name, images in found.items() if not images.paths]
    deep = [p.relative_to(folder) for p in every.paths if len(p.relative_to(folder).parts) > 2]
    inner = sorted({path.parent.as_posix() for path in deep})
    remarks = []
    if every.left_out.keys() - {"hidden", "excluded"}:
        remarks.append(f"Not every file in {folder} is an image: {every.counts}.")
    if stray:
        remarks.append(f"{len(stray)} images in {folder} lie in no class folder and are left out.")
    if empty:
        remarks.append(f"Classes without an image in {folder}: {listing(empty)}.")
    if deep:
        remarks.append(
            f"{len(deep)} images in {folder} lie in folders within class folders, and have the "
            f"class of the outer one: {listing(inner)}. Where the inner ones are the classes, pass "
            "the folder that holds them."
        )
    if every.same_stems:
        remarks.append(
            f"Images in {folder} have the same name but for their type: {every.same_stems}. Where "
            "some are masks, leave them out with exclude."
        )
    return remarks


def image_paths_by_folder(paths: Iterable[str | Path], *, name: str) -> ImageDataset:
    """Images whose folder is their class, and whose folder above may be their split.

    Parameters
    ----------
    paths : iterable of n paths
    name : str
        Of the data set.

    Returns
    -------
    ImageDataset
        Labels 0, 1, ... are the positions of the sorted names of folders. All images are "train"
        unless every one lies in a folder of a split.

    Raises
    ------
    DatasetError
        If there are not two classes, or none to learn from.
    """
    listed = [Path(path) for path in paths]
    found = [_SPLIT_NAMES.get(path.parent.parent.name.lower()) for path in listed]
    split_of = found if all(found) else ["train"] * len(listed)
    classes = sorted({path.parent.name for path in listed})
    label_of = {folder: label for label, folder in enumerate(classes)}
    splits = {
        split: ImageList.of(
            (path, label_of[path.parent.name])
            for path, of in zip(listed, split_of, strict=True)
            if of == split
        )
        for split in _SPLITS
        if split in split_of
    }
    if len(classes) < 2 or "train" not in splits:
        raise DatasetError(
            f"Images of {name} must lie in one folder per class, some of them to learn from; got "
            f"the folders {listing(classes)} and the splits {listing(splits)}. Pass the folder of "
            "images, or a CSV file of paths and labels."
        )
    return ImageDataset(name, dict(enumerate(classes)), splits)


def load_image_csv(
    path: str | Path, *, name: str | None = None, root: str | Path | None = None
) -> ImageDataset:
    """Images listed in a CSV file with the columns "path" and "label", and perhaps "split".

    Parameters
    ----------
    path : path-like
        UTF-8 (or UTF-16 with a byte order mark), with a header; separated by commas, or by
        semicolons or tabs as spreadsheets of some languages write it. "label" is the class name;
        "split" is "train", "val" or "test", "train" where the column is absent.
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
        If a column is missing or there twice, a row has no label, a split is unknown, or an image
        does not exist.
    """
    path = Path(path).expanduser()
    root = path.parent if root is None else Path(root).expanduser()
    try:
        rows = read_table(path.read_bytes(), ("path", "label"))
    except FileNotFoundError as error:
        raise DatasetError(f"A data set must be a CSV file; got no file {path}.") from error
    except ValueError as error:
        raise DatasetError(
            f"{path} must be a CSV file in UTF-8 with the columns path and label; got {error}."
        ) from error
    if not rows:
        raise DatasetError(f"{path} must have a row for each image; got the header alone.")
    for row in rows:
        row["label"] = row["label"].strip()
    incomplete = [i for i, row in enumerate(rows, 2) if not (row["path"] and row["label"])]
    if incomplete:
        raise DatasetError(
            f"Every row of {path} must have a path and a label; got none in row(s) "
            f"{listing(incomplete)}. Fill them, or delete the rows."
        )
    classes = sorted({row["label"] for row in rows})
    label_of = {name: label for label, name in enumerate(classes)}
    by_split: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        split = _SPLIT_NAMES.get((row.get("split") or "train").strip().lower())
        if split is None:
            raise DatasetError(f"split must be train, val or test; got {row['split']!r} in {path}.")
        by_split.setdefault(split, []).append((str(root / row["path"]), label_of[row["label"]]))
    missing = [p for rows in by_split.values() for p, _ in rows if not Path(p).is_file()]
    if missing:
        windows = " Write / for \\." if "\\" in Path(missing[0]).name else ""
        raise DatasetError(
            f"Every image in {path} must exist; got no file {listing(missing)}. Paths are relative "
            f"to {root}: pass another root, or correct them.{windows}"
        )
    splits = {s: ImageList.of(by_split[s]) for s in _SPLITS if s in by_split}
    return ImageDataset(name or path.stem, dict(enumerate(classes)), splits)
