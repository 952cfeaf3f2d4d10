"""From what a user passes to a metric to arrays that the metrics can rely on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.utils.arrays import as_array, check_total
from skclip.utils.labels import as_labels
from skclip.utils.messages import listing

__all__ = [
    "Float",
    "Labels",
    "Predictions",
    "TopLabel",
    "Weights",
    "blocks",
    "check_has_probabilities",
    "check_predictions",
    "check_top_label",
    "in_order",
    "in_range",
    "top_label",
]

Float = NDArray[np.float64]
Labels = ArrayLike | None  # of the columns, or those of y_true in order
Weights = ArrayLike | None  # of the samples, or one for all

# 64 MiB in float64.
_BLOCK_ENTRIES = 2**23


class Predictions(NamedTuple):
    """Validated predictions. Rows of weight zero are gone."""

    codes: NDArray[np.intp]  # (n,) the column of each true label
    proba: NDArray[Any]  # (n, c) as given: read it through `blocks`
    weight: Float | None  # (n,) positive


class TopLabel(NamedTuple):
    """What top-label metrics need to know about each sample."""

    confidence: Float  # (n,) largest class probability
    correct: NDArray[np.bool_]  # (n,) whether the class that has it is the true one
    weight: Float | None  # (n,) positive


def check_top_label(
    y_true: ArrayLike, y_proba: ArrayLike, labels: Labels, sample_weight: Weights
) -> TopLabel:
    """Validate, then reduce each row to its largest probability (the first, if several)."""
    return top_label(check_predictions(y_true, y_proba, labels, sample_weight))


def top_label(predictions: Predictions) -> TopLabel:
    """Reduce each row to its largest probability (the first, if several)."""
    codes, proba, weight = predictions
    confidence, top = np.empty(len(codes)), np.empty(len(codes), dtype=np.intp)
    for where in blocks(len(codes), proba.shape[1]):
        rows = in_range(proba[where])
        top[where] = rows.argmax(axis=1)
        confidence[where] = rows[np.arange(len(rows)), top[where]]
    return TopLabel(confidence, top == codes, weight)


def check_predictions(
    y_true: ArrayLike, y_proba: ArrayLike, labels: Labels, sample_weight: Weights
) -> Predictions:
    """Validate the arguments that all metrics share; ValueError says what does not hold.

    A DataFrame says of which label each column is: `labels` may put them in another order.
    """
    y = _check_vector(y_true, "y_true")
    y_proba, labels = in_order(y_proba, labels, y)
    proba = _check_proba(y_proba)
    if len(y) != len(proba):
        raise ValueError(
            f"y_true and y_proba must have as many rows; got {len(y)} and {len(proba)}. "
            "Pass the labels of the samples that y_proba was predicted for."
        )
    codes = _encode(y, _check_labels(labels, y, proba.shape[1]))
    weight = None if sample_weight is None else _check_weight(sample_weight, len(y))
    if weight is not None and not weight.all():
        kept = weight > 0
        return Predictions(codes[kept], proba[kept], weight[kept])
    return Predictions(codes, proba, weight)


def in_order(y_proba: Any, labels: Labels, y_true: ArrayLike) -> tuple[Any, Labels]:
    """Probabilities as an array, and the label of each of its columns where that is known.

    The columns of a DataFrame are labels, unless nobody named them: then they are 0 to c - 1, and
    none of these numbers is a label.
    """
    if not hasattr(y_proba, "columns"):
        return y_proba, labels
    columns, array = list(y_proba.columns), y_proba.to_numpy()
    known = np.unique(_check_vector(y_true, "y_true")) if labels is None else labels
    given: list[Any] = _check_vector(known, "labels").tolist()
    if columns == list(range(len(columns))) and not set(columns) & set(given):
        return array, labels
    if labels is None and set(given) <= set(columns):
        labels = np.unique(as_labels(columns, "The columns of y_proba"))
        given = labels.tolist()
    if len(columns) != len(given) or set(columns) != set(given):
        raise ValueError(
            f"The columns of y_proba must be the labels; got the columns {listing(columns)} and "
            f"the labels {listing(given)}. Name the columns by estimator.classes_, or pass an "
            "array."
        )
    return array[:, [columns.index(label) for label in given]], labels


def blocks(length: int, width: int) -> Iterator[slice]:
    """Slices that cover `length`, each of a bounded number of entries, `width` per index.

    A million rows of a hundred classes are 800 MB in float64: no metric makes a copy of
    all of them.
    """
    step = max(1, _BLOCK_ENTRIES // width)
    return (slice(first, first + step) for first in range(0, length, step))


def in_range(proba: NDArray[Any]) -> Float:
    """A float64 copy without what rounding put beyond 0 and 1."""
    copy = proba.astype(np.float64)
    return np.clip(copy, 0.0, 1.0, out=copy)


def check_has_probabilities(estimator: Any) -> None:
    """Refuse an estimator without `predict_proba`."""
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"estimator must have predict_proba; got {type(estimator).__name__}, which has not. "
            "Pass a probabilistic classifier, for instance CalibratedClassifierCV(estimator)."
        )


def _check_proba(y_proba: ArrayLike) -> NDArray[Any]:
    given = as_array(y_proba, "y_proba")
    if given.ndim != 2:
        raise ValueError(
            f"y_proba must have shape (n_samples, n_classes); got shape {given.shape}. Pass what "
            "predict_proba returns; for probabilities p of the second of two classes that is "
            "np.column_stack([1 - p, p])."
        )
    if given.size == 0:
        raise ValueError(
            f"y_proba must have at least one row and one column; got shape {given.shape}. "
            "Pass the predictions of at least one sample."
        )
    if given.dtype.kind not in "fiub":
        raise ValueError(
            f"y_proba must be real numbers; got dtype {given.dtype}. Pass what predict_proba "
            "returns, as an array of floats."
        )
    # Probabilities computed in float32 are often handed over as float64, so float32 sets
    # the tolerance, and float16 where that is what was given.
    single = np.finfo(np.float32).eps
    eps = max(single, np.finfo(given.dtype).eps) if given.dtype.kind == "f" else single
    _check_range(given, slack=8 * float(eps))
    _check_row_sums(given, tolerance=float(np.sqrt(eps)))
    return given


def _check_range(proba: NDArray[Any], slack: float) -> None:
    rows: list[int] = []
    for where in blocks(*proba.shape):
        part = proba[where].astype(np.float64)
        if part.min() >= -slack and part.max() <= 1 + slack:  # False for NaN
            continue
        bad = ~((part >= -slack) & (part <= 1 + slack))
        if not rows:
            first = part[bad][0]
        rows.extend(where.start + np.flatnonzero(bad.any(axis=1)))
    if rows:
        raise ValueError(
            f"y_proba must be finite and in [0, 1]; got {first} in row {rows[0]} "
            f"(rows that are not: {listing(rows)}). If these are logits, pass "
            "scipy.special.softmax(logits, axis=1)."
        )


def _check_row_sums(proba: NDArray[Any], tolerance: float) -> None:
    sums = proba.sum(axis=1, dtype=np.float64)
    rows = np.flatnonzero(np.abs(sums - 1) > tolerance)
    if rows.size:
        raise ValueError(
            f"Rows of y_proba must sum to 1 within {tolerance:.1g}; got {sums[rows[0]]:.6g} in row "
            f"{rows[0]} (rows that do not: {listing(rows)}). Pass the probabilities of all "
            "classes, one column each."
        )


def _check_vector(values: ArrayLike, name: str) -> NDArray[Any]:
    """A 1-D array (a column is flattened) without missing values."""
    y = as_labels(values, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"{name} must be one label per sample, of shape (n_samples,); got shape {y.shape}. "
            "Pass labels, not one-hot rows."
        )
    return y


def _check_labels(labels: Labels, y: NDArray[Any], n_columns: int) -> list[Any]:
    """The label of each column of y_proba."""
    if labels is None:
        found: list[Any] = np.unique(y).tolist()
        if len(found) != n_columns:
            raise ValueError(
                f"y_proba must have one column per label; got {n_columns} columns and "
                f"{len(found)} distinct labels in y_true. Pass labels=estimator.classes_, the "
                "label of each column."
            )
        return found
    given: list[Any] = _check_vector(labels, "labels").tolist()
    if len(given) != n_columns:
        raise ValueError(
            f"labels must name every column of y_proba; got {len(given)} labels and {n_columns} "
            "columns. Pass labels=estimator.classes_."
        )
    twice = [label for label, times in Counter(given).items() if times > 1]
    if twice:
        raise ValueError(
            f"labels must be distinct; got {listing(twice)} more than once. "
            "Pass labels=estimator.classes_."
        )
    return given


def _encode(y: NDArray[Any], labels: list[Any]) -> NDArray[np.intp]:
    """(n,) position in `labels` of each label of `y`."""
    column = {label: k for k, label in enumerate(labels)}
    distinct, inverse = np.unique(y, return_inverse=True)
    unknown = [label for label in distinct.tolist() if label not in column]
    if unknown:
        raise ValueError(
            f"y_true must contain only the given labels; got {listing(unknown)}, not in labels "
            f"({listing(labels)}). Pass the labels as they occur in y_true, in the order of the "
            "columns of y_proba."
        )
    return np.array([column[label] for label in distinct.tolist()], dtype=np.intp)[inverse]


def _check_weight(sample_weight: ArrayLike, n_samples: int) -> Float:
    weight = as_array(sample_weight, "sample_weight").astype(np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have shape ({n_samples},), one weight per sample; got shape "
            f"{weight.shape}. Pass None to weigh all samples alike."
        )
    bad = np.flatnonzero(~((weight >= 0) & np.isfinite(weight)))
    if bad.size:
        raise ValueError(
            f"sample_weight must be finite and not negative; got {weight[bad[0]]} at position(s) "
            f"{listing(bad)}. Use 0 to leave a sample out."
        )
    if not weight.any():
        raise ValueError(
            "sample_weight must have at least one positive entry; got zeros only. "
            "Pass None to weigh all samples alike."
        )
    check_total(weight, "sample_weight", 1e100)
    return weight
