"""A study of a user's own images: what to hold out, which methods and shots."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skclip.backbones import absolute_name
from skclip.benchmark.feature_data import load_feature_dataset
from skclip.datasets import (
    ImageDataset,
    ImageList,
    image_paths_by_folder,
    load_image_csv,
    load_image_folder,
)
from skclip.exceptions import DatasetError, StudyError
from skclip.features import Embeddings, is_embedded, read_embeddings
from skclip.utils.messages import listing

__all__ = ["OWN_METHODS", "hold_out", "study_of"]

# One of each family, none of which takes long.
OWN_METHODS = (
    *("zero-shot", "clap-optimum", "tip-adapter", "gda", "proker", "bayes"),
    "logistic-regression",
)
_MOST_SHOTS = 16


def hold_out(dataset: ImageDataset, *, share: float = 0.5, random_state: int = 0) -> ImageDataset:
    """The same images with a share of each class as split "test", if there is none.

    Parameters
    ----------
    dataset : skclip.datasets.ImageDataset
    share : float, default=0.5
        Of every class's training images, a fraction in (0, 1); at least one stays on each side.
    random_state : int, default=0

    Returns
    -------
    ImageDataset
        `dataset` itself where it has a test split.

    Raises
    ------
    DatasetError
        If a class has fewer than two images.
    """
    if "test" in dataset.splits:
        return dataset
    train = dataset.splits["train"]
    rng = check_random_state(random_state)
    tested = np.zeros(len(train), dtype=bool)
    few = []
    for label in np.unique(train.labels):
        rows = np.flatnonzero(train.labels == label)
        if len(rows) < 2:
            few.append(dataset.class_names[int(label)])
            continue
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        tested[rng.permutation(rows)[:count]] = True
    if few:
        raise DatasetError(
            "Every class needs at least two images, one to fit and one to test; got one of "
            f"{listing(few)} in {dataset.name}. Add images, or a folder named test."
        )
    splits = {
        **dataset.splits,
        "train": ImageList(train.paths[~tested], train.labels[~tested]),
        "test": ImageList(train.paths[tested], train.labels[tested]),
    }
    return ImageDataset(dataset.name, dataset.class_names, splits, dataset.template_set)


def study_of(
    source: str | PathLike[str] | ImageDataset,
    *,
    model: str | None = None,
    pretrained: str | Path | None = None,
    templates: Any = None,
) -> dict[str, Any]:
    """Arguments for :func:`run` that compare adapters on somebody's own data.

    Parameters
    ----------
    source : path-like or ImageDataset
        A folder with one folder of images per class (perhaps within train and test), a CSV
        file of paths and labels, a folder of such images that ``skclip embed`` wrote, or features,
        as :func:`load_feature_dataset` reads them.
    model, pretrained, templates : default=None
        Of the CLIP model and its prompts, for images.

    Returns
    -------
    dict
        With datasets, methods, and shots: powers of two up to 16 and up to half the images of a
        typical class, so that draws differ.
    """
    if not isinstance(source, ImageDataset):
        source = Path(source).expanduser()
    if isinstance(source, Path) and _has_features(source):
        labels = load_feature_dataset(source).labels.get("train", np.array([], dtype=int))
        table: dict[str, Any] = {"features": str(source)}
    else:
        table = {"model": model, "pretrained": pretrained}
        embeddings = None
        if isinstance(source, Path) and is_embedded(source):
            embeddings = read_embeddings(source)
            table = _model_of(embeddings, table) | {"embeddings": str(source)}
            if embeddings.jpeg_draft:
                table["jpeg_draft"] = True
        elif pretrained is None:
            raise StudyError(
                "Images need a CLIP model; got no pretrained weights. Name them, for instance "
                "model ViT-B-32 and pretrained openai."
            )
        images = _images_of(source, embeddings)
        table["dataset"] = hold_out(images)
        labels = table["dataset"].train.labels
        if templates is not None:
            table["templates"] = templates
    _, counts = np.unique(labels, return_counts=True)
    most = max(1, min(_MOST_SHOTS, np.median(counts) / 2)) if len(counts) else 1
    shots = [2**k for k in range(5) if 2**k <= most]
    return {"datasets": [table], "methods": OWN_METHODS, "shots": tuple(shots)}


def _images_of(source: Path | ImageDataset, embeddings: Embeddings | None) -> ImageDataset:
    if isinstance(source, ImageDataset):
        return source
    if embeddings is not None:
        return image_paths_by_folder(embeddings.readable, name=source.name)
    if source.suffix.lower() == ".csv":
        return load_image_csv(source)
    return load_image_folder(source)


def _has_features(source: Path) -> bool:
    """Whether it holds features with labels, and not embeddings of image files."""
    if source.suffix == ".npz":
        return True
    return source.is_dir() and any(source.glob("*.npy")) and not is_embedded(source)


def _model_of(embeddings: Embeddings, given: dict[str, Any]) -> dict[str, Any]:
    """The model that the embeddings were made with, which a given one must be."""
    known = {"model": embeddings.model, "pretrained": embeddings.pretrained}
    for name, value in given.items():
        if value is not None and absolute_name(value) != absolute_name(known[name]):
            raise StudyError(
                f"{name} must be that of the embeddings in {embeddings.folder}, {known[name]!r}; "
                f"got {value!r}. Leave it out."
            )
    return known
