"""Data sets as features: read from arrays on disk, or embedded once from images."""

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skclip.backbones import get_backbone
from skclip.benchmark.array_files import read_arrays
from skclip.datasets import ImageDataset
from skclip.exceptions import DatasetError, ImageError, StudyError, StudyWarning
from skclip.features import CLIPFeaturizer, read_embeddings
from skclip.prompts import RAW_TEXT_NORM, ClassPrompts, Prototypes
from skclip.store import file_stamp
from skclip.utils.csv_cells import one_line
from skclip.utils.files import replace_file
from skclip.utils.messages import listing
from skclip.utils.rows import are_repeated

__all__ = ["INDIFFERENT", "FeatureDataset", "embed_dataset", "load_feature_dataset"]

# Parameters of CLIPFeaturizer on which no feature depends.
INDIFFERENT = {
    *("batch_size", "n_jobs", "cache_dir", "cache_limit", "on_error", "verbose", "embeddings"),
}


@dataclass(frozen=True, eq=False)
class FeatureDataset:
    """Features and label codes by split, and the text prototypes.

    `features` maps a split to (n, d) float64 and `labels` to (n,) codes 0 to c - 1;
    `prototypes` are those of the c classes, labelled by their codes; `text_norm` is the
    median norm of raw text embeddings; `fingerprint` identifies features and texts; `left_out`
    names the images that could not be read; `test_paths` the images of the test rows, if known.
    """

    features: dict[str, NDArray[np.float64]]
    labels: dict[str, NDArray[np.int64]]
    prototypes: Prototypes
    class_names: tuple[str, ...]
    backbone: str
    text_norm: float
    fingerprint: str
    left_out: tuple[str, ...] = ()
    test_paths: tuple[str, ...] = ()

    def n_repeated(self, support: NDArray[np.float64]) -> int:
        """How many rows to test on are also among those of `support`: the same images."""
        return int(are_repeated(self.features["test"], support).sum())


def load_feature_dataset(path: str | PathLike[str]) -> FeatureDataset:
    """Features from an ``.npz`` file, or a folder of ``.npy`` files, of the same names.

    Parameters
    ----------
    path : path-like
        Holds "text_features" (c, d), one per class; for every split, say "test",
        "test_features" (n, d) and "test_labels" (n,), codes 0 to c - 1; and, if known,
        "class_names" (c,), "logit_scale" (), "text_norm" () and "backbone" ().

    Returns
    -------
    FeatureDataset

    Raises
    ------
    DatasetError
        If it cannot be read, or an array is missing or is not what it must be.
    """
    path = Path(path).expanduser().resolve()
    return _load(path, tuple(file_stamp(p, p.stat()) for p in _files(path)))


def _files(path):
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.npy")) if path.is_dir() else []
    if not files:
        raise DatasetError(
            f"Features must be an .npz file or a folder of .npy files; got no such thing at {path}."
        )
    return files


@lru_cache(maxsize=8)
def _load(path: Path, stamps: tuple[bytes, ...]) -> FeatureDataset:
    """One copy per process; `stamps` tell a changed file from the one that was read."""
    arrays = read_arrays(path)
    if "text_features" not in arrays:
        raise DatasetError(
            f"{path} must hold text_features of shape (n_classes, n_features); got "
            f"{listing(sorted(arrays))}."
        )
    text = _numbers(path, "text_features", arrays["text_features"])
    if text.ndim != 2 or not text.size:
        raise DatasetError(
            f"text_features must be (n_classes, n_features), one row per class; got {text.shape} "
            f"in {path}."
        )
    splits = [name.removesuffix("_features") for name in arrays if name.endswith("_features")]
    splits = [split for split in splits if split != "text"]
    features, labels = {}, {}
    for split in splits:
        X, y = arrays[f"{split}_features"], arrays.get(f"{split}_labels")
        features[split], labels[split] = _checked_split(path, split, X, y, text)
    names = arrays.get("class_names", np.arange(len(text)))
    if names.shape != (len(text),):
        raise DatasetError(
            f"class_names must be ({len(text)},), one per text feature; got {names.shape} in "
            f"{path}."
        )
    scale = _scalar(path, "logit_scale", arrays)
    return FeatureDataset(
        features=features,
        labels=labels,
        prototypes=Prototypes(text, np.arange(len(text)), logit_scale=scale),
        class_names=tuple(str(name) for name in names),
        backbone=one_line(str(arrays.get("backbone", "precomputed"))),
        text_norm=_scalar(path, "text_norm", arrays) or RAW_TEXT_NORM,
        fingerprint=_digest(arrays),
        left_out=tuple(map(str, arrays.get("left_out", ()))),
        test_paths=tuple(map(str, arrays.get("test_paths", ()))),
    )


def _numbers(path, name, array):
    """The array as float64, if it holds finite numbers."""
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise DatasetError(
            f"{name} must hold finite numbers; got {array.dtype} "
            f"{'with NaN or infinite values ' * (array.dtype.kind == 'f')}in {path}."
        )
    return array.astype(np.float64)


def _scalar(path, name, arrays):
    """A positive number, or None where there is none."""
    if name not in arrays:
        return None
    value = _numbers(path, name, arrays[name])
    if value.size != 1 or value.item() <= 0:
        raise DatasetError(f"{name} must be one positive number; got {arrays[name]} in {path}.")
    return value.item()


def _checked_split(path, split, X, y, text):
    if y is None:
        raise DatasetError(f"{path} must hold {split}_labels; got {split}_features only.")
    if X.ndim != 2 or X.shape[1] != text.shape[1] or y.shape != (len(X),):
        raise DatasetError(
            f"{split}_features must be (n, {text.shape[1]}), as wide as text_features, and "
            f"{split}_labels (n,); got {X.shape} and {y.shape} in {path}."
        )
    wrong = np.setdiff1d(y, np.arange(len(text))) if y.dtype.kind in "fiu" else y
    if len(wrong):
        raise DatasetError(
            f"{split}_labels must be codes from 0 to {len(text) - 1}, one per text feature; got "
            f"{listing(wrong)} in {path}."
        )
    return _numbers(path, f"{split}_features", X), y.astype(np.int64)


def _digest(arrays):
    """Of all that decides numbers: not of where files are, nor of what could not be read."""
    digest = hashlib.sha256()
    for name in sorted(set(arrays) - {"stamp", "left_out", "test_paths"}):
        array = arrays[name]
        digest.update(str((name, array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def embed_dataset(
    dataset: ImageDataset,
    path: str | PathLike[str],
    *,
    pretrained: str | Path,
    model: str | None = None,
    templates: Any = None,
    on_error: str = "raise",
    embeddings: str | PathLike[str] | None = None,
    verbose: int = 0,
    **parameters: Any,
) -> Path:
    """Embed a data set of images once, into an ``.npz`` file that is reused.

    Parameters
    ----------
    dataset : skclip.datasets.ImageDataset
    path : path-like
        Of the file; kept when it was made from the same images, class names, templates, weights
        and parameters.
    pretrained, model : str
        As in :class:`skclip.CLIPFeaturizer`.
    templates : default=None
        As in :class:`skclip.ClassPrompts`; those of the data set when None.
    on_error : {"raise", "skip"}, default="raise"
        What images that cannot be read do, of any split: an error that counts them, or they are
        left out, with a warning that does.
    embeddings : path-like, default=None
        A folder that ``skclip embed`` wrote with this model, whose rows are taken.
    verbose : int, default=0
        Show a progress bar.
    **parameters
        Of CLIPFeaturizer.

    Returns
    -------
    Path
        Of the file, for :func:`load_feature_dataset`.

    Raises
    ------
    ImageError
        If an image cannot be read and `on_error` is "raise". All others are embedded then, and
        kept.
    """
    path = Path(path)
    if on_error not in ("raise", "skip"):
        raise StudyError(f"on_error must be 'raise' or 'skip'; got {on_error!r}.")
    templates = dataset.template_set if templates is None else templates
    given = {"pretrained": pretrained, "verbose": verbose, **parameters}
    try:
        featurizer = CLIPFeaturizer(model, on_error="nan", **given).fit()
    except TypeError as error:  # what scikit-learn says of a wrong value is one, too
        raise StudyError(
            f"{dataset.name} must have parameters that CLIPFeaturizer takes: {error}"
        ) from error
    known = None if embeddings is None else read_embeddings(embeddings)
    stamp = _stamp(dataset, featurizer, templates, known)
    arrays = _kept(path)
    if str(arrays.get("stamp")) != stamp:
        read = featurizer.transform if known is None else known.rows_of
        arrays = _embedded(dataset, featurizer, templates, read) | {"stamp": np.array(stamp)}
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: np.savez(file, **arrays))
    if len(arrays["left_out"]):
        count = f"{len(arrays['left_out'])} of {sum(map(len, dataset.splits.values()))} images"
        named = listing(arrays["left_out"], show=str)
        if on_error == "raise":
            raise ImageError(
                f"Every image of {dataset.name} must be readable; {count} are not: {named}. Repair "
                "or remove them, or leave them out: on_error='skip', --on-error skip of the "
                "command."
            )
        warnings.warn(
            f"{count} of {dataset.name} cannot be read and are left out: {named}.",
            StudyWarning,
            stacklevel=2,
        )
    return path


def _kept(path):
    """The arrays that are there; nothing where they are damaged, so that they are made again."""
    try:
        return read_arrays(path) if path.exists() else {}
    except DatasetError:
        return {}


def _embedded(dataset, featurizer, templates, read):
    """The arrays of a data set, rows by ``read(paths)``; "left_out" names what cannot be read."""
    labels = np.array(sorted(dataset.class_names))
    prompts = ClassPrompts(featurizer, templates=templates, class_names=dataset.class_names)
    text = prompts.encode(labels)
    raw = clone(prompts).set_params(normalize=False).encode(labels).vectors
    names = [one_line(str(dataset.class_names[label])) for label in labels.tolist()]
    weights = Path(str(featurizer.pretrained or "")).name
    arrays = {
        "text_features": text.vectors,
        "text_norm": np.median(np.linalg.norm(raw, axis=1)),
        "class_names": np.array(names),
        "backbone": np.array(one_line(f"{featurizer.model or ''} {weights}".strip())),
    }
    if text.logit_scale is not None:
        arrays["logit_scale"] = np.array(text.logit_scale)
    left_out = []
    for split, images in dataset.splits.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "\\d+ of \\d+ images cannot be read")  # counted here
            rows = read(images.paths)
        known = ~np.isnan(rows).any(axis=1)
        arrays[f"{split}_features"] = rows[known]
        arrays[f"{split}_labels"] = np.searchsorted(labels, images.labels[known])
        if split == "test":
            arrays["test_paths"] = images.paths[known].astype(str)
        left_out += [one_line(f"{split}: {name}") for name in images.paths[~known]]
    return arrays | {"left_out": np.array(left_out, dtype=str)}


def _stamp(dataset, featurizer, templates, embeddings):
    """Changes with all that changes features: files, weights, names, prompts, parameters.

    Of embeddings it is their own digest, since the images may be elsewhere.
    """
    files = [
        [split, p if embeddings else file_stamp(p, Path(p).stat()).hex(), int(label)]
        for split, images in dataset.splits.items()
        for p, label in zip(images.paths, images.labels, strict=True)
    ]
    files.append([embeddings.digest if embeddings else ""])
    decisive = set(featurizer.get_params()) - INDIFFERENT
    given = {name: str(getattr(featurizer, name)) for name in sorted(decisive)}
    weights = get_backbone(featurizer.backbone_config()).image_identity
    names = sorted(dataset.class_names.items())
    content = json.dumps([files, given, weights, names, repr(templates)], default=str)
    return hashlib.sha256(content.encode()).hexdigest()
