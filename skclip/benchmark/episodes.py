"""One draw of a few labelled images, and what a method makes of it."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skclip.benchmark.feature_data import FeatureDataset
from skclip.datasets import draw_few_shots
from skclip.exceptions import DatasetError
from skclip.utils.messages import listing

__all__ = ["Episode", "Support", "draw_support"]


@dataclass(frozen=True, order=True)
class Episode:
    """A data set by name, the split that shots are drawn from, their number, and the seed."""

    dataset: str
    support: str
    shots: int
    seed: int


@dataclass(frozen=True, eq=False)
class Support:
    """Rows to fit and to calibrate on, and a hash of both."""

    X: NDArray[np.float64]
    y: NDArray[np.int64]
    X_val: NDArray[np.float64]
    y_val: NDArray[np.int64]
    fingerprint: str


def draw_support(data: FeatureDataset, episode: Episode) -> Support:
    """K images per class, and min(K, 4) more per class for what needs a validation set.

    They come from the split "val" where there is one that shots are not drawn from, else
    from the rows of the same split that were not drawn; a class may then have none.
    """
    pool = episode.support
    if pool not in data.features:
        raise DatasetError(
            f"Shots must be drawn from a split of {episode.dataset}; got {pool!r}, and it has "
            f"{listing(data.features)}."
        )
    y = data.labels[pool]
    if "val" in data.features and pool != "val":
        rows, val = draw_few_shots(y, episode.shots, episode.seed, val_labels=data.labels["val"])
        X_val, y_val = data.features["val"][val], data.labels["val"][val]
    else:
        rows = draw_few_shots(y, episode.shots, episode.seed)
        rest = np.setdiff1d(np.arange(len(y)), rows)
        val = rest[_few(y[rest], min(episode.shots, 4), episode.seed)]
        X_val, y_val = data.features[pool][val], y[val]
    digest = hashlib.sha256(data.fingerprint.encode())
    for array in (rows, val):
        digest.update(np.asarray(array, dtype=np.int64).tobytes())
    return Support(data.features[pool][rows], y[rows], X_val, y_val, digest.hexdigest()[:16])


def _few(labels, n_shots, seed):
    if len(labels) == 0:
        return np.array([], dtype=np.intp)
    return draw_few_shots(labels, n_shots, seed)
