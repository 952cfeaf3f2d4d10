"""Which classes a classifier knows, and the prototype of each."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from numbers import Number
from os import PathLike
from typing import Any

import numpy as np
import torch

from skclip._core.problem import Problem
from skclip.exceptions import PrototypeMismatchError, PrototypeWarning
from skclip.prompts import Prototypes
from skclip.utils.arrays import as_array
from skclip.utils.labels import (
    as_labels,
    encoding_hint,
    label_kind,
    misspelled,
    mistyped,
    pair_shown,
)
from skclip.utils.messages import listing
from skclip.utils.rows import equal_rows

__all__ = ["are_labelled", "in_order_of_classes", "one_per_class", "resolve_classes"]

# Of a text that was encoded in batches of different sizes, relative to the largest entry.
_ROUNDING = 1e-6


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
    _check_kind(prototypes)
    if hasattr(prototypes, "encode"):
        prototypes = prototypes.encode(_named_classes(prototypes, present))
    elif hasattr(prototypes, "iloc"):  # a DataFrame or a Series of rows: its index are the labels
        rows = list(prototypes) if prototypes.ndim == 1 else prototypes.to_numpy()
        prototypes = Prototypes(rows, prototypes.index.to_numpy())
    elif isinstance(prototypes, Mapping):
        prototypes = Prototypes(list(prototypes.values()), list(prototypes))
    elif not isinstance(prototypes, Prototypes):
        prototypes = _label_rows(prototypes, present)
    _check_known(prototypes.labels, present)
    _check_several(prototypes.labels)
    _warn_of_mistyped(prototypes.labels, present)
    _warn_of_equal(prototypes)
    return prototypes.labels, prototypes


def are_labelled(prototypes: Any) -> bool:
    """Whether prototypes say of which class each is; a bare array has an order only."""
    return isinstance(prototypes, Prototypes | Mapping) or any(
        hasattr(prototypes, name) for name in ("encode", "iloc")
    )


def in_order_of_classes(values: Any, classes: np.ndarray, name: str) -> Any:
    """Values by label, of a dict or a Series, in the order of `classes`; others as they are."""
    if isinstance(values, Mapping):
        labels, entries = list(values), list(values.values())
    elif hasattr(values, "iloc") and values.ndim == 1:
        labels, entries = values.index.tolist(), values.to_list()
    else:
        return values
    entry_of = dict(zip(labels, entries, strict=True))
    known = classes.tolist()
    missing = [label for label in known if label not in entry_of]
    extra = [label for label in entry_of if label not in set(known)]
    if missing or extra or len(entry_of) != len(labels):
        found = f"no entry for {listing(missing)}" if missing else ""
        found += " and " if missing and extra else ""
        found += f"entries for {listing(extra)}" if extra else ""
        found = found or "several for one class"
        raise ValueError(
            f"{name} as a dict or Series must have one entry per class, under its label; got "
            f"{found}. The classes are {listing(classes)}. Pass an array for numbers in that order."
        )
    return [entry_of[label] for label in known]


def one_per_class(
    values: Any, problem: Problem, classes: np.ndarray, name: str, *, positive: bool = False
) -> torch.Tensor:
    """(c,) numbers from one or from c of them, which must be finite and not negative."""
    c = problem.n_classes
    values = np.asarray(in_order_of_classes(values, classes, name), dtype=np.float64)
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


def _check_kind(prototypes: Any) -> None:
    """Refuse what names texts or encodes them, where vectors are expected; say what to pass."""
    if isinstance(prototypes, type):
        got, remedy = f"the class {prototypes.__name__}", f"Call it: {prototypes.__name__}(...)."
    elif isinstance(prototypes, str | bytes | PathLike):
        got = repr(prototypes)
        remedy = f"If it names a model, pass ClassPrompts({got}, pretrained=...)."
    elif hasattr(prototypes, "encode_text") and not hasattr(prototypes, "encode"):
        kind = type(prototypes).__name__
        got, remedy = f"a {kind}", f"Pass ClassPrompts({kind}(...)), which encodes the class names."
    elif _has_names(prototypes):
        got = "names, not vectors"
        remedy = "Pass ClassPrompts(model, pretrained=..., class_names={label: name, ...})."
    elif isinstance(prototypes, set | frozenset | Number | Iterator):
        got, remedy = f"a {type(prototypes).__name__}", "Pass one row per class, in sorted order."
    else:
        return
    raise PrototypeMismatchError(
        "prototypes must be an array of shape (n_classes, n_features), a DataFrame or dict of "
        f"them by label, Prototypes or ClassPrompts; got {got}. {remedy}"
    )


def _has_names(prototypes: Any) -> bool:
    """Whether it is a collection of strings."""
    values = prototypes.values() if isinstance(prototypes, Mapping) else prototypes
    if hasattr(values, "to_numpy"):
        values = values.to_numpy().ravel()
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OUS":
        return False
    iterable = isinstance(values, Collection | np.ndarray)
    return (
        iterable
        and not isinstance(prototypes, Prototypes)
        and any(isinstance(value, str) for value in values)
    )


def _label_rows(array: Any, present: np.ndarray) -> Prototypes:
    """A bare array belongs to the sorted labels of y."""
    kind = f"a {type(array).__name__}"
    array = as_array(array, "prototypes")
    kind = f"an array of shape {array.shape}" if array.ndim else kind
    if array.ndim != 2:
        raise PrototypeMismatchError(
            "prototypes must be an array of shape (n_classes, n_features), Prototypes or "
            f"ClassPrompts; got {kind}."
        )
    if len(array) != len(present):
        what = (
            "The array seems to be transposed: pass prototypes.T."
            if array.shape[1] == len(present)
            else "Pass a Prototypes object with labels, so that absent classes keep their prior, "
            "or one row per class of y in sorted order."
        )
        raise PrototypeMismatchError(
            f"prototypes has {len(array)} rows but y contains {len(present)} classes. {what}"
        )
    return Prototypes(array, present)


def _named_classes(prompts: Any, present: np.ndarray) -> np.ndarray:
    """Classes of y, and those that the prompts name although y has none of them."""
    named = getattr(prompts, "class_names", None)
    if not hasattr(named, "keys") or hasattr(named, "columns") or not len(named):
        return present
    named = as_labels(list(named.keys()), "The keys of class_names")
    extra = [label for label in named.tolist() if label not in set(present.tolist())]
    if label_kind(named[0]) != label_kind(present[0]):
        raise PrototypeMismatchError(
            f"The labels in class_names and in y must be of one type; got {listing(named)} and "
            f"{listing(present)}. Use the labels of y as keys of class_names."
            + encoding_hint(present)
        )
    unnamed = [label for label in present.tolist() if label not in set(named.tolist())]
    pairs = misspelled(extra, unnamed)
    if pairs:
        listed = listing(pairs, show=lambda pair: pair_shown(pair, "for"))
        raise PrototypeMismatchError(
            f"The labels in class_names must be spelled as in y; got {listed}. Use the labels of y "
            "as keys of class_names."
        )
    extra = [label for label in extra if not mistyped([label], present)]
    if extra:
        remedy = (
            f"{listing(unnamed)} has no entry: check the spelling of both."
            if unnamed
            else "Drop them from class_names; or, if they are meant, pass "
            "ClassPrompts(...).encode(labels) of all labels as prototypes."
        )
        warnings.warn(
            f"Labels in class_names must be those of y; got {listing(extra)}, of which y has no "
            "row. Each becomes a class of its own, predicted by its text alone. " + remedy,
            PrototypeWarning,
            stacklevel=2,
        )
    return np.union1d(named, present)


def _warn_of_mistyped(labels: np.ndarray, present: np.ndarray) -> None:
    """Warn of classes that have no image, but almost the name of one that has."""
    known = set(present.tolist())
    pairs = mistyped([label for label in labels.tolist() if label not in known], present.tolist())
    if pairs:
        listed = listing(pairs, show=lambda pair: pair_shown(pair, "beside"))
        warnings.warn(
            "Labels of prototypes must be those of y, or of classes without images; got "
            f"{listed}. A label that y does not have is a class of its own, which is predicted by "
            "its text. Correct its spelling, or drop it, if none is meant.",
            PrototypeWarning,
            stacklevel=2,
        )


def _warn_of_equal(prototypes: Prototypes) -> None:
    """Warn of classes that no text tells apart, up to rounding."""
    told = prototypes.vectors.any(axis=1)  # a zero row is no text at all
    vectors, labels = prototypes.vectors[told], prototypes.labels[told]
    group = equal_rows(vectors, _ROUNDING)
    equal = labels[np.bincount(group)[group] > 1]
    if not len(equal):
        return
    warnings.warn(
        f"Every class needs a prototype of its own; among those of {listing(equal)} there are "
        "equal ones. Until images tell them apart they have the same probability. Give them names "
        "that differ in more than case, and before the end of the model's context.",
        PrototypeWarning,
        stacklevel=2,
    )


def _check_several(labels: np.ndarray) -> None:
    if len(labels) < 2:
        raise ValueError(
            f"There must be at least two classes in all; got one class: {listing(labels)}. Pass "
            "samples, or labelled prototypes, of another class."
        )


def _check_known(labels: np.ndarray, present: np.ndarray) -> None:
    unknown = [label for label in present.tolist() if label not in set(labels.tolist())]
    if not unknown:
        return
    pairs = misspelled(unknown, labels.tolist())
    if pairs:
        listed = listing(pairs, show=lambda pair: pair_shown(pair, "for"))
        remedy = f"Spelling or type differ: {listed}. Use one of the two."
    else:
        remedy = "Add the missing ones, or drop these rows."
        remedy = encoding_hint(present).strip() or remedy
    raise PrototypeMismatchError(
        f"Every class of y needs a prototype; got no prototype for {listing(unknown)}. "
        f"The prototypes are of {listing(labels)}. {remedy}"
    )
