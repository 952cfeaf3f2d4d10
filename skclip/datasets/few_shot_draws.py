"""Drawing K images per class, as the few-shot literature does."""

import random
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

__all__ = ["draw_few_shots"]

_MOST_VALIDATION_SHOTS = 4


@overload
def draw_few_shots(
    train_labels: ArrayLike, n_shots: int, seed: int, *, val_labels: None = None
) -> np.ndarray: ...


@overload
def draw_few_shots(
    train_labels: ArrayLike, n_shots: int, seed: int, *, val_labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]: ...


def draw_few_shots(
    train_labels: ArrayLike, n_shots: int, seed: int, *, val_labels: ArrayLike | None = None
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Row indices of `n_shots` images per class, all of a class that has fewer.

    Classes come in the order of their first row and rows are drawn by Python's
    ``random.sample`` under the seed: on the split files of the few-shot data sets these are
    the draws of CoOp (Zhou et al., IJCV 2022) and of the work that shares its code, in which
    nothing else is drawn between seeding and this.

    Parameters
    ----------
    train_labels : array-like of shape (n_train,)
    n_shots : int
        At least 1.
    seed : int
    val_labels : array-like of shape (n_val,), default=None
        Labels of the validation split. ``min(n_shots, 4)`` rows per class are drawn from it
        after the training rows, by the same generator.

    Returns
    -------
    train : ndarray of shape (n,)
        Row indices, class by class.
    val : ndarray of shape (m,)
        Only with `val_labels`.

    Examples
    --------
    >>> from skclip.datasets import draw_few_shots
    >>> draw_few_shots(["cat", "dog", "cat", "dog", "cat"], 1, seed=1)
    array([0, 1])
    """
    check_scalar(n_shots, "n_shots", int, min_val=1)
    generator = random.Random(seed)
    train = _draw(train_labels, n_shots, generator)
    if val_labels is None:
        return train
    return train, _draw(val_labels, min(n_shots, _MOST_VALIDATION_SHOTS), generator)


def _draw(labels: ArrayLike, n_shots: int, generator: random.Random) -> np.ndarray:
    rows_of: dict[Any, list[int]] = {}
    for row, label in enumerate(np.asarray(labels).tolist()):
        rows_of.setdefault(label, []).append(row)
    drawn: list[int] = []
    for rows in rows_of.values():
        drawn += generator.sample(rows, n_shots) if len(rows) >= n_shots else rows
    return np.array(drawn, dtype=np.intp)
