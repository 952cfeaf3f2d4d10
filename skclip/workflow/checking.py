"""What is wrong with a data set of images, before anything is fitted to it."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from skclip.datasets import ImageDataset, load_image_csv, load_image_folder
from skclip.exceptions import DatasetError, LeftOutWarning
from skclip.features.image_reading import MAX_PIXELS
from skclip.utils.image_files import FoundImages, image_formats, search_images
from skclip.workflow.check_result import DatasetCheck
from skclip.workflow.findings import Finding, in_order
from skclip.workflow.image_facts import alike_rows, read_facts

__all__ = ["check_dataset"]

_TINY, _NARROW, _IMBALANCE = 32, 4, 20
# "7", "class_3", "n01440764" of WordNet.
_CODE = re.compile(r"((class|label|category|cat|id)?[\W_]*\d+|n\d{8})", re.IGNORECASE)


def check_dataset(
    source: str | PathLike[str],
    *,
    glob: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> DatasetCheck:
    """Look for what makes a classifier or its numbers wrong in a folder or table of images.

    Every image is read and decoded once; nothing is changed, and no model is needed.

    Parameters
    ----------
    source : path-like
        As for :func:`skclip.datasets.load_image_folder`, or a CSV file as for
        :func:`skclip.datasets.load_image_csv`.
    glob, exclude : str or iterable of str, default=None
        Of a folder: patterns of images to take and of files and folders to leave out.
    max_pixels : int, default=178_956_970
        Larger images count as unreadable, as for :class:`skclip.CLIPFeaturizer`.
    n_jobs : int, default=None
        Threads that read and decode; None means 1 unless in a :obj:`joblib.parallel_config`
        context, -1 means all processors.
    verbose : int, default=0
        Whether to show a progress bar.

    Returns
    -------
    DatasetCheck
        ``print(check.text())``.

    Raises
    ------
    DatasetError
        If there is no such folder or file.

    Notes
    -----
    Copies are files of equal bytes. Similar images are those whose copies of 16 x 16 pixels
    correlate above 0.9965: saved anew, resized or a little brighter; images that were cropped,
    turned or mirrored are not found. This compares all pairs; memory is 4 KB per image.

    Examples
    --------
    >>> import tempfile
    >>> from skclip.datasets import save_digits_images
    >>> from skclip.workflow import check_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths, _ = save_digits_images(folder, n_per_class=3)
    ...     _ = paths[0].write_bytes(b"no image")
    ...     check = check_dataset(folder)
    >>> check.has_errors, [finding.kind for finding in check.findings]
    (True, ['unreadable'])
    """
    from tqdm.auto import tqdm

    source = Path(source).expanduser()
    if not source.exists():
        raise DatasetError(f"A data set must be a folder or a CSV file; there is no {source}.")
    found = search_images(source, glob, exclude) if source.is_dir() else FoundImages.of([], {})
    dataset, layout = _dataset(source, glob, exclude)
    if dataset is None:
        paths = [str(path) for path in found.paths]
    else:
        paths = [path for images in dataset.splits.values() for path in images.paths]
    paths = list(dict.fromkeys(paths))
    facts = read_facts(paths, n_jobs=n_jobs, max_pixels=max_pixels)
    bar = tqdm(facts, total=len(paths), unit="image", desc="checking", disable=not verbose)
    check = DatasetCheck(source, dataset, [], dict(zip(paths, bar, strict=True)))
    every = [
        *layout,
        *_of_files(check, found),
        *_of_images(check),
        *_of_classes(check),
        *_of_copies(check),
    ]
    check.findings.extend(in_order([finding for finding in every if finding.items]))
    return check


def _dataset(
    source: Path, glob: str | Iterable[str] | None, exclude: str | Iterable[str] | None
) -> tuple[ImageDataset | None, list[Finding]]:
    """The data set, or why there is none."""
    try:
        if not source.is_dir():
            return load_image_csv(source), []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeftOutWarning)  # findings say it by file
            return load_image_folder(source, underscores=True, glob=glob, exclude=exclude), []
    except DatasetError as error:
        return None, [_finding("layout", [str(error)])]


def _finding(kind: str, items: Iterable[str], details: Mapping[str, str] | None = None) -> Finding:
    return Finding(kind, tuple(items), details or {})


def _of_files(check: DatasetCheck, found: FoundImages) -> Iterator[Finding]:
    """What is found by names alone."""
    others = [
        path
        for why, where in found.places.items()
        if why not in ("hidden", "excluded", "links to folders")
        for path in where
    ]
    misnamed = {path for path in others if _is_image(path)}
    yield _finding("misnamed", [check.shown(path) for path in others if path in misnamed])
    yield _finding("no images", [check.shown(path) for path in others if path not in misnamed])
    for kind, why in (("hidden", "hidden"), ("links", "links to folders"), ("excluded",) * 2):
        yield _finding(kind, map(check.shown, found.places.get(why, ())))
    yield _finding("masks", map(check.shown, _masks(found)))
    yield _finding("line breaks", [check.shown(path) for path in check.facts if "\n" in path])
    if check.dataset is not None and check.source.is_dir():
        taken = set(check.facts)
        outside = [path for path in found.paths if str(path) not in taken]
        yield _finding("outside of classes", map(check.shown, outside))
        depth = 2 if set(check.dataset.splits) == {"train"} and not _has_splits(check) else 3
        deep = [p for p in taken if len(Path(p).relative_to(check.source).parts) > depth]
        yield _finding("nested", map(check.shown, deep))


def _masks(found: FoundImages) -> Iterator[Path]:
    """Of images with one name the one of the rarer type, PNG where two are equally frequent."""
    counts = Counter(path.suffix.lower() for path in found.paths)
    stems: dict[Path, list[Path]] = defaultdict(list)
    for path in found.beside_others:
        stems[path.with_suffix("")].append(path)
    for same in stems.values():
        yield min(same, key=lambda p: (counts[p.suffix.lower()], p.suffix.lower() != ".png"))


def _has_splits(check: DatasetCheck) -> bool:
    """Whether class folders lie in a folder of the split."""
    assert check.dataset is not None
    first = Path(next(iter(check.facts))).relative_to(check.source).parts[0]
    return first not in check.dataset.class_names.values()


def _is_image(path: Path) -> bool:
    try:
        with Image.open(path, formats=image_formats()):
            return True
    except Exception:  # whatever a decoder says of what is no image
        return False


def _of_images(check: DatasetCheck) -> Iterator[Finding]:
    """What each image is by itself."""
    known = Image.registered_extensions()
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for path, split in _rows(check):
        facts, name = check.facts[path], check.shown(path, split)
        if facts.reason:
            kinds["unreadable"][name] = facts.reason
            continue
        width, height = facts.size
        sides = f"{width} x {height}"
        if min(facts.size) < _TINY:
            kinds["tiny"][name] = sides
        if max(facts.size) > _NARROW * min(facts.size):
            kinds["narrow"][name] = sides
        if not facts.small.any():
            kinds["one colour"][name] = sides
        if facts.is_animated:
            kinds["animations"][name] = facts.format
        named = known.get(Path(path).suffix.lower(), facts.format)
        if {named, facts.format} not in ({facts.format}, {"JPEG", "MPO"}, {"BMP", "DIB"}):
            kinds["wrong endings"][name] = facts.format
    for kind, details in kinds.items():
        yield _finding(kind, details, details)


def _rows(check: DatasetCheck) -> Iterator[tuple[str, str | None]]:
    """Every image with its split."""
    if check.dataset is None:
        yield from ((path, None) for path in check.facts)
    else:
        for split, images in check.dataset.splits.items():
            yield from ((path, split) for path in images.paths)


def _of_classes(check: DatasetCheck) -> Iterator[Finding]:
    """What names and numbers of images say."""
    if check.dataset is None:
        return
    names = check.dataset.class_names
    counts = {
        split: np.bincount(images.labels, minlength=len(names))
        for split, images in check.dataset.splits.items()
    }
    train = counts.get("train", np.zeros(len(names), int))

    def named(chosen: np.ndarray) -> list[str]:
        return [names[label] for label in np.flatnonzero(chosen).tolist()]

    yield _finding("one class", names.values() if len(names) == 1 else ())
    yield _finding("empty classes", named(train == 0))
    yield _finding("single images", named(train == 1))
    few = (train > 1) & (train * _IMBALANCE < train.max(initial=0))
    yield _finding("imbalance", named(few))
    for split in ("val", "test"):
        if split in counts:
            missing = named(counts[split] == 0)
            yield _finding("unmeasured classes", (f"{split}: {name}" for name in missing))
    yield _finding("spaces in names", (name for name in names.values() if name != name.strip()))
    yield _finding("names of no meaning", filter(_CODE.fullmatch, names.values()))
    spelled: dict[str, list[str]] = defaultdict(list)
    for name in names.values():
        spelled[re.sub(r"[\W_]+", " ", name).strip().casefold()].append(name)
    yield _finding("equal names", (n for same in spelled.values() if len(same) > 1 for n in same))


def _of_copies(check: DatasetCheck) -> Iterator[Finding]:
    """Images that are there more than once, by their bytes and by what they look like."""
    if check.dataset is None:
        return
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    by_content: dict[bytes, list[tuple[str, int, str]]] = defaultdict(list)
    first: dict[str, tuple[str, str, int]] = {}  # the copy that is kept
    for split, images in check.dataset.splits.items():
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            if not check.facts[path].reason:
                by_content[check.facts[path].digest].append((split, label, path))
    for same in by_content.values():
        split, label, path = same[0]
        kept = check.shown(path, split)
        first.setdefault(path, (split, kept, label))
        conflict = len({label for _, label, _ in same}) > 1
        for other_split, _, other in same if conflict else same[1:]:
            kind = "copies" if other_split == split else "copies across splits"
            kind = "conflicting labels" if conflict else kind
            others = [check.shown(p, s) for s, _, p in same if p != other or s != other_split]
            kinds[kind][check.shown(other, other_split)] = others[0] if others else "listed twice"
    _add_similar(check, first, kinds)
    for kind, details in kinds.items():
        yield _finding(kind, details, details)


def _add_similar(
    check: DatasetCheck,
    first: Mapping[str, tuple[str, str, int]],
    kinds: dict[str, dict[str, str]],
) -> None:
    """Pairs of different files that look alike, within a split and of train with the others."""
    paths = [p for p, (_, kept, _) in first.items() if kept not in kinds["conflicting labels"]]
    if not paths:
        return
    for row, alike in alike_rows(np.stack([check.facts[path].small for path in paths])):
        (split, kept, label), (own, item, own_label) = first[paths[alike[0]]], first[paths[row]]
        if alike[0] < row and split in (own, "train"):
            kind = "similar" if split == own else "similar across splits"
            kinds[kind][item] = kept if label == own_label else f"{kept}, of another class"
