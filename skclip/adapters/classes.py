"""Which classes a classifier knows, and the prototype of each."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.problem import Problem
from skclip.exceptions import PrototypeMismatchError
from skclip.prompts import Prototypes
from skclip.utils.messages import listing

__all__ = ["one_per_class", "resolve_classes"]


def resolve_classes(prototypes: Any, y: np.ndarray) -> tuple[np.ndarray, Prototypes | None]:
    """Sorted classes, and their Prototypes or None.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
    y : ndarray of shape (n_samples,)

    Raises
    ------
    PrototypeMismatchError
        If `y` has classes without a prototype, or a bare array has another number of
        rows than `y` has classes.
    ValueError
        If there are fewer than two classes in all.
    """
    present = np.unique(y)
    if prototypes is None:
        _check_several(present)
        return present, None
    if hasattr(prototypes, "encode"):
        prototypes = prototypes.encode(_named_classes(prototypes, present))
    elif hasattr(prototypes, "iloc"):  # a DataFrame: its index are the labels
        prototypes = Prototypes(prototypes.to_numpy(), prototypes.index.to_numpy())
    elif not isinstance(prototypes, Prototypes):
        prototypes = _label_rows(prototypes, present)
    _check_known(prototypes.labels, present)
    _check_several(prototypes.labels)
    return prototypes.labels, prototypes


def one_per_class(
    values: ArrayLike, problem: Problem, name: str, *, positive: bool = False
) -> torch.Tensor:
    """(c,) numbers from one or from c of them, which must be finite and not negative."""
    values, c = np.asarray(values, dtype=np.float64), problem.n_classes
    if values.shape not in ((), (c,)):
        raise ValueError(
            f"{name} must be a number or have one entry per class, shape ({c},); got shape "
            f"{values.shape}. Pass one number, or one per class in the order of classes_."
        )
    if not (np.isfinite(values).all() and (values.min() > 0 if positive else values.min() >= 0)):
        raise ValueError(
            f"{name} must be {'positive' if positive else 'non-negative'} and finite; got a "
            f"smallest entry of {values.min():g} and a largest of {values.max():g}. Pass others."
        )
    return torch.tensor(np.broadcast_to(values, (c,)).copy()).to(problem.X)


def _label_rows(array: Any, present: np.ndarray) -> Prototypes:
    """A bare array belongs to the sorted labels of y."""
    array = np.asarray(array)
    if array.ndim != 2:
        raise PrototypeMismatchError(
            "prototypes must be an array of shape (n_classes, n_features), Prototypes or "
            f"ClassPrompts; got an array of shape {array.shape}."
        )
    if len(array) != len(present):
        raise PrototypeMismatchError(
            f"prototypes has {len(array)} rows but y contains {len(present)} classes. Pass a "
            "Prototypes object with labels, so that absent classes keep their prior, or one row "
            "per class of y in sorted order."
        )
    return Prototypes(array, present)


def _named_classes(prompts: Any, present: np.ndarray) -> np.ndarray:
    """Classes of y, and those that the prompts name although y has none of them."""
    named = getattr(prompts, "class_names", None)
    if not named:
        return present
    named = np.asarray(list(named))
    if named.dtype.kind != present.dtype.kind and {named.dtype.kind, present.dtype.kind} & set(
        "US"
    ):
        raise PrototypeMismatchError(
            f"The labels in class_names and in y must be of one type; got {listing(named)} and "
            f"{listing(present)}. Use the labels of y as keys of class_names."
        )
    return np.union1d(named, present)


def _check_several(labels: np.ndarray) -> None:
    if len(labels) < 2:
        raise ValueError(
            f"There must be at least two classes in all; got one class: {listing(labels)}. Pass "
            "samples, or labelled prototypes, of another class."
        )


def _check_known(labels: np.ndarray, present: np.ndarray) -> None:
    unknown = present[~np.isin(present, labels)]
    if len(unknown):
        raise PrototypeMismatchError(
            f"Every class of y needs a prototype; got no prototype for {listing(unknown)}. "
            f"The prototypes are of {listing(labels)}. Add the missing ones, or drop these rows."
        )
