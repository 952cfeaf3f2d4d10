"""Reading the few-shot data sets from their published layouts, and checking what is found."""

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from skclip.datasets.few_shot_registry import FEW_SHOT_DATASETS, FewShotSpec
from skclip.datasets.image_dataset import ImageDataset, ImageList
from skclip.exceptions import DatasetError, LeftOutWarning
from skclip.utils.image_files import FoundImages, is_hidden, search_images
from skclip.utils.messages import listing

__all__ = ["load_few_shot_dataset"]

# {label: class name}, {split: images}
Read = tuple[dict[int, str], dict[str, ImageList]]


def load_few_shot_dataset(
    name: str | FewShotSpec, root: str | Path, *, underscores: bool = False, check: bool = True
) -> ImageDataset:
    """Read one of the data sets of the few-shot literature from its published layout.

    Parameters
    ----------
    name : str or FewShotSpec
        One of ``FEW_SHOT_DATASETS``, or a spec of the same kind.
    root : path-like
        The folder that holds the data set's own folder.
    underscores : bool, default=False
        Keep underscores in class names instead of making them spaces.
    check : bool, default=True
        Check the numbers of classes and images against the published ones, and that every
        image exists.

    Returns
    -------
    ImageDataset
        Labels are those of the split files, class names renamed as in the literature.

    Raises
    ------
    DatasetError
        If a file or folder is missing, cannot be parsed, names an image twice, or the
        numbers differ; the message says what to put where.

    Warns
    -----
    LeftOutWarning
        If class folders hold files that are no images.

    Notes
    -----
    Nothing is downloaded: most of these data sets ask for a licence to be accepted or move
    their addresses. The errors name the page with instructions.
    """
    spec = name if isinstance(name, FewShotSpec) else _spec_of(name)
    folder = Path(root).expanduser() / spec.folder
    if not folder.is_dir():
        raise DatasetError(
            f"{spec.name} must lie in the folder {spec.folder!r} of the root; got no {folder}. "
            f"{_remedy(spec)}"
        )
    names, splits = _LAYOUTS[spec.layout](spec, folder)
    if check:
        for split, images in splits.items():
            _check_split(spec, split, images)
        _check_apart(spec, splits)
    if check and len(names) != spec.n_classes:
        raise DatasetError(
            f"{spec.name} must have {spec.n_classes} classes; got {len(names)}. {_remedy(spec)}"
        )
    named = {
        label: _prompt_name(spec.renames.get(name, name), underscores)
        for label, name in sorted(names.items())
    }
    return ImageDataset(spec.name, named, splits, spec.template_set)


def _spec_of(name: str) -> FewShotSpec:
    try:
        return FEW_SHOT_DATASETS[name]
    except KeyError:
        raise DatasetError(
            f"The few-shot data sets are {', '.join(FEW_SHOT_DATASETS)}; got {name!r}. For a "
            "folder of your own use load_image_folder or load_image_csv."
        ) from None


def _prompt_name(name: str, underscores: bool) -> str:
    return name if underscores else name.replace("_", " ")


def _remedy(spec: FewShotSpec) -> str:
    return f"How to get and place its files: {spec.source}"


# -- layouts: (spec, folder) -> {label: name}, {split: ImageList} ----------------------


def _read_split_file(spec: FewShotSpec, folder: Path) -> Read:
    """``{"train": [[path, label, class name], ...], "val": ..., "test": ...}``."""
    path = folder / spec.split_file
    content = _parse_json(spec, path)
    missing = {"train", "val", "test"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise DatasetError(
            f"{path} must be a JSON object of train, val and test lists; got none for "
            f"{listing(sorted(missing))}. {_remedy(spec)}"
        )
    names: dict[int, str] = {}
    splits = {}
    for split in ("train", "val", "test"):
        rows = [_split_row(spec, path, split, row) for row in content[split]]
        for _, label, name in rows:
            if names.setdefault(label, name) != name:
                raise DatasetError(
                    f"A label must have one class name; got {names[label]!r} and {name!r} for "
                    f"label {label} in {path}. {_remedy(spec)}"
                )
        splits[split] = ImageList.of([(folder / spec.images / row[0], row[1]) for row in rows])
    return names, splits


def _parse_json(spec: FewShotSpec, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{spec.name} needs the split file {path.name} in {path.parent}; got none. "
            f"{_remedy(spec)}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} must be JSON; got {error}. The download may be incomplete: get it again. "
            f"{_remedy(spec)}"
        ) from error


def _split_row(spec: FewShotSpec, path: Path, split: str, row: Any) -> tuple[str, int, str]:
    try:
        image, label, name = row
        return str(image), int(label), str(name)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"Rows of {path} must be [path, label, class name]; got {row!r} in {split!r}. "
            f"{_remedy(spec)}"
        ) from error


def _read_aircraft(spec: FewShotSpec, folder: Path) -> Read:
    """Classes in ``variants.txt``; ``images_variant_<split>.txt`` has "<image> <class>" lines."""
    classes = [line.strip() for line in _lines(spec, folder / "variants.txt")]
    label_of = {name: label for label, name in enumerate(classes)}
    splits = {}
    for split in ("train", "val", "test"):
        path, rows = folder / f"images_variant_{split}.txt", []
        for line in _lines(spec, path):
            image, _, name = line.strip().partition(" ")
            if name not in label_of:
                raise DatasetError(
                    f"Lines of {path} must be an image and a variant of variants.txt; got "
                    f"{line.strip()!r}. {_remedy(spec)}"
                )
            rows.append((folder / spec.images / f"{image}.jpg", label_of[name]))
        splits[split] = ImageList.of(rows)
    return dict(enumerate(classes)), splits


def _read_imagenet(spec: FewShotSpec, folder: Path) -> Read:
    """``images/train`` and ``images/val`` with a folder per class; val is the test split."""
    names = _imagenet_names(spec, folder)
    parts = {"train": "train", "test": "val"}
    labels: dict[int, str] = {}
    splits = {}
    for split, part in parts.items():
        labels, splits[split] = _class_folders(spec, folder / spec.images / part, names)
    return labels, splits


def _read_imagenet_folders(spec: FewShotSpec, folder: Path) -> Read:
    """A folder per class, named as ImageNet's; labels are positions among ImageNet's classes."""
    names = _imagenet_names(spec, folder)
    labels, images = _class_folders(spec, folder / spec.images, names)
    return labels, {"test": images}


def _read_imagenet_numbers(spec: FewShotSpec, folder: Path) -> Read:
    """Folders 0 to 999, positions in ``classnames.txt``."""
    names = list(_imagenet_names(spec, folder).values())
    images = folder / spec.images
    by_label = {label: images / str(label) for label in range(len(names))}
    return dict(enumerate(names)), {"test": _images_of(spec, images, by_label)}


_LAYOUTS = {
    "split-file": _read_split_file,
    "aircraft": _read_aircraft,
    "imagenet": _read_imagenet,
    "imagenet-folders": _read_imagenet_folders,
    "imagenet-numbers": _read_imagenet_numbers,
}


def _imagenet_names(spec: FewShotSpec, folder: Path) -> dict[str, str]:
    """Folder name -> class name, in the order of ``classnames.txt``."""
    lines = (line.strip().partition(" ") for line in _lines(spec, folder / "classnames.txt"))
    return {synset: name for synset, _, name in lines}


def _class_folders(
    spec: FewShotSpec, folder: Path, names: dict[str, str]
) -> tuple[dict[int, str], ImageList]:
    """Labels are positions among ImageNet's sorted folder names, also where most are absent."""
    position = {synset: label for label, synset in enumerate(sorted(names))}
    labels: dict[int, str] = {}
    by_label: dict[int, Path] = {}
    children = (p for p in _children(spec, folder) if p.is_dir() and not is_hidden(p.name))
    for child in sorted(children):
        if child.name not in position:
            raise DatasetError(
                f"Folders in {folder} must be in classnames.txt; got {child.name!r}. "
                f"{_remedy(spec)}"
            )
        labels[position[child.name]] = names[child.name]
        by_label[position[child.name]] = child
    return labels, _images_of(spec, folder, by_label)


def _lines(spec: FewShotSpec, path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise DatasetError(
            f"{spec.name} needs the file {path.name} in {path.parent}; got none. {_remedy(spec)}"
        ) from error


def _children(spec: FewShotSpec, folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(
            f"{spec.name} needs the folder {folder}; got none. {_remedy(spec)}"
        ) from error


def _images_of(spec: FewShotSpec, folder: Path, by_label: dict[int, Path]) -> ImageList:
    """Images directly in the class folders of `folder`, in the order of `by_label`."""
    found = {}
    for label, child in by_label.items():
        _children(spec, child)  # an error of ours where there is none
        found[label] = search_images(child, exclude="*/*")
    left_out = sum((images.left_out for images in found.values()), Counter[str]())
    if left_out.keys() - {"hidden"}:
        paths = [path for images in found.values() for path in images.paths]
        warnings.warn(
            f"Not every file in the class folders of {folder} is an image: "
            f"{FoundImages(paths, left_out).counts}.",
            LeftOutWarning,
            stacklevel=5,
        )
    return ImageList.of([(p, label) for label, images in found.items() for p in images.paths])


# -- checks -----------------------------------------------------------------------------


def _check_split(spec: FewShotSpec, split: str, images: ImageList) -> None:
    expected = spec.counts.get(split)
    if expected is not None and len(images) != expected:
        raise DatasetError(
            f"{spec.name} must have {expected} {split} images; got {len(images)}. Get the missing "
            f"files, or pass check=False to take what is there. {_remedy(spec)}"
        )
    repeated = [path for path, count in Counter(images.paths).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"An image must occur once in the {split} split of {spec.name}; got "
            f"{listing(repeated)} more than once. Get the split file again. {_remedy(spec)}"
        )
    missing = [path for path in images.paths if not Path(path).is_file()]
    if missing:
        raise DatasetError(
            f"Every image that {spec.name} names must exist; got no file {listing(missing)} "
            f"({split}). Unpack the images again. {_remedy(spec)}"
        )


def _check_apart(spec: FewShotSpec, splits: dict[str, ImageList]) -> None:
    names = list(splits)
    for first, second in [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]:
        both = sorted(set(splits[first].paths) & set(splits[second].paths))
        if both:
            raise DatasetError(
                f"The splits of {spec.name} must be disjoint; got {listing(both)} in both "
                f"{first} and {second}. Get the split file again. {_remedy(spec)}"
            )
