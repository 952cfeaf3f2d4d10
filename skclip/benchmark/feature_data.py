"""Data sets as features: read from arrays on disk, or embedded once from images."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skclip.datasets import ImageDataset
from skclip.exceptions import DatasetError
from skclip.features import CLIPFeaturizer
from skclip.prompts import RAW_TEXT_NORM, ClassPrompts, Prototypes
from skclip.utils.files import replace_file
from skclip.utils.messages import listing

__all__ = ["FeatureDataset", "embed_dataset", "load_feature_dataset"]


@dataclass(frozen=True, eq=False)
class FeatureDataset:
    """Features and label codes by split, and the text prototypes.

    `features` maps a split to (n, d) float64 and `labels` to (n,) codes 0 to c - 1;
    `prototypes` are those of the c classes, labelled by their codes; `text_norm` is the
    median norm of raw text embeddings; `fingerprint` identifies features and texts.
    """

    features: dict[str, NDArray[np.float64]]
    labels: dict[str, NDArray[np.int64]]
    prototypes: Prototypes
    class_names: tuple[str, ...]
    backbone: str
    text_norm: float
    fingerprint: str


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
        If an array is missing or has the wrong shape.
    """
    path = Path(path).expanduser()
    stamp = max((p.stat().st_mtime_ns for p in _files(path)), default=0)
    return _load(path.resolve(), stamp)


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
def _load(path: Path, stamp: int) -> FeatureDataset:
    """One copy per process; `stamp` tells a changed file from the one that was read."""
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    else:
        arrays = {p.stem: np.load(p, allow_pickle=False) for p in _files(path)}
    if "text_features" not in arrays:
        raise DatasetError(
            f"{path} must hold text_features of shape (n_classes, n_features); got "
            f"{listing(sorted(arrays))}."
        )
    text = arrays["text_features"].astype(np.float64)
    splits = [name.removesuffix("_features") for name in arrays if name.endswith("_features")]
    splits = [split for split in splits if split != "text"]
    features, labels = {}, {}
    for split in splits:
        X, y = arrays[f"{split}_features"], arrays.get(f"{split}_labels")
        features[split], labels[split] = _checked_split(path, split, X, y, text)
    scale = float(arrays["logit_scale"]) if "logit_scale" in arrays else None
    names = arrays.get("class_names", np.arange(len(text)))
    return FeatureDataset(
        features=features,
        labels=labels,
        prototypes=Prototypes(text, np.arange(len(text)), logit_scale=scale),
        class_names=tuple(str(name) for name in names),
        backbone=str(arrays.get("backbone", "precomputed")),
        text_norm=float(arrays.get("text_norm", RAW_TEXT_NORM)),
        fingerprint=_digest(*(arrays[name] for name in sorted(arrays))),
    )


def _checked_split(path, split, X, y, text):
    if y is None:
        raise DatasetError(f"{path} must hold {split}_labels; got {split}_features only.")
    if X.ndim != 2 or X.shape[1] != text.shape[1] or y.shape != (len(X),):
        raise DatasetError(
            f"{split}_features must be (n, {text.shape[1]}), as wide as text_features, and "
            f"{split}_labels (n,); got {X.shape} and {y.shape} in {path}."
        )
    if len(y) and not (y.min() >= 0 and y.max() < len(text)):
        raise DatasetError(
            f"{split}_labels must be codes from 0 to {len(text) - 1}, one per text feature; got "
            f"{y.min()} to {y.max()} in {path}."
        )
    return X.astype(np.float64), y.astype(np.int64)


def _digest(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def embed_dataset(
    dataset: ImageDataset,
    path: str | PathLike[str],
    *,
    pretrained: str | Path,
    model: str | None = None,
    templates: Any = None,
    verbose: int = 0,
    **parameters: Any,
) -> Path:
    """Embed a data set of images once, into an ``.npz`` file that is reused.

    Parameters
    ----------
    dataset : skclip.datasets.ImageDataset
    path : path-like
        Of the file; kept when it was made from the same images, model and templates.
    pretrained, model : str
        As in :class:`skclip.CLIPFeaturizer`.
    templates : default=None
        As in :class:`skclip.ClassPrompts`; those of the data set when None.
    verbose : int, default=0
        Show a progress bar.
    **parameters
        Of CLIPFeaturizer.

    Returns
    -------
    Path
        Of the file, for :func:`load_feature_dataset`.
    """
    path = Path(path)
    featurizer = CLIPFeaturizer(model, pretrained=pretrained, verbose=verbose, **parameters)
    templates = dataset.template_set if templates is None else templates
    stamp = _stamp(dataset, model, pretrained, templates)
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            if "stamp" in file and str(file["stamp"]) == stamp:
                return path
    labels = np.array(sorted(dataset.class_names))
    prompts = ClassPrompts(
        featurizer, templates=templates, class_names=dataset.class_names, normalize=False
    )
    raw = prompts.encode(labels)
    norms = np.linalg.norm(raw.vectors, axis=1, keepdims=True)
    arrays = {
        "text_features": raw.vectors / norms,
        "text_norm": np.median(norms),
        "class_names": np.array([dataset.class_names[label] for label in labels.tolist()]),
        "backbone": np.array(f"{model or ''} {Path(str(pretrained)).name}".strip()),
        "stamp": np.array(stamp),
    }
    if raw.logit_scale is not None:
        arrays["logit_scale"] = np.array(raw.logit_scale)
    for split, images in dataset.splits.items():
        arrays[f"{split}_features"] = featurizer.transform(images.paths)
        arrays[f"{split}_labels"] = np.searchsorted(labels, images.labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: np.savez(file, **arrays))
    return path


def _stamp(dataset, model, pretrained, templates):
    """Changes with anything that changes features: files, model, weights, prompts."""
    files = [
        [str(p), *(Path(p).stat().st_mtime_ns, Path(p).stat().st_size), int(label)]
        for images in dataset.splits.values()
        for p, label in zip(images.paths, images.labels, strict=True)
    ]
    names = sorted(dataset.class_names.items())
    content = json.dumps([files, model, str(pretrained), names, repr(templates)])
    return hashlib.sha256(content.encode()).hexdigest()
