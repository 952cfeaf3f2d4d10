"""Features, labels and weights as users have them, checked as scikit-learn checks them."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from skclip.utils.arrays import as_array, is_tensor
from skclip.utils.labels import as_labels, check_labels
from skclip.utils.sklearn_private import check_sample_weight

__all__ = ["checked_features", "checked_weight", "take_features_seen"]

# scikit-learn's word for rows without labels.
_NONE = "no_validation"


def checked_features(estimator: Any, X: Any, y: Any = _NONE, *, reset: bool) -> Any:
    """X (n, d) of floats, and y (n,) where it is given; tensors of torch are arrays here.

    Raises
    ------
    ValueError
        If X holds images or paths, which a CLIPFeaturizer has to encode before; if a label is
        missing, or labels are of several types.
    """
    rows = as_array(X, "X") if isinstance(X, np.ma.MaskedArray | np.matrix) else X
    rows = rows if hasattr(rows, "iloc") else _without_torch(rows, "X")
    y = _without_torch(y, "y")
    if (
        not isinstance(y, str | None) and len(getattr(y, "shape", ())) < 2
    ):  # of tables scikit-learn speaks
        as_labels(y)
    options = {"dtype": [np.float64, np.float32], "ensure_min_samples": 1, "reset": reset}
    try:
        checked = validate_data(estimator, rows, y, **options)
    except (TypeError, ValueError) as exc:
        what = _images(X)
        if what is None:
            raise
        raise ValueError(
            f"X must hold features, one row of numbers per image; got {what}. Put a CLIPFeaturizer "
            f"before it: make_pipeline(CLIPFeaturizer(...), {type(estimator).__name__}(...))."
        ) from exc
    if isinstance(checked, tuple):
        check_labels(checked[1])
    return checked


def checked_weight(sample_weight: ArrayLike | None, X: np.ndarray) -> np.ndarray:
    """(n,) float64, finite and not negative, with a positive one among them."""
    if sample_weight is not None:
        sample_weight = _without_torch(sample_weight, "sample_weight")
    return check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


def take_features_seen(estimator: Any, fitted: Any) -> None:
    """Number and names of the features of an estimator that was fitted inside another, if known."""
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(fitted, name):
            setattr(estimator, name, getattr(fitted, name))


def _without_torch(values: Any, name: str) -> Any:
    """Itself, but for tensors and lists of them."""
    of_tensors = isinstance(values, list | tuple) and any(is_tensor(v) for v in values)
    return as_array(values, name) if of_tensors or is_tensor(values) else values


def _images(X: Any) -> str | None:
    """What X is, if that is images, names of files, or something that yields them."""
    if issparse(X):  # of which some are mappings
        return None
    if isinstance(X, str | bytes | os.PathLike | Mapping | Iterator):
        return f"a {type(X).__name__}"
    n_axes = getattr(X, "ndim", 0)
    if n_axes == 4 or (n_axes == 3 and X.shape[-1] in (1, 3, 4)):
        return f"an array of shape {tuple(X.shape)}"
    values = X.to_numpy().ravel() if hasattr(X, "to_numpy") else X
    values = values.ravel() if isinstance(values, np.ndarray) else values
    if not isinstance(values, list | tuple | np.ndarray) or not len(values):
        return None
    first = values[0]
    if isinstance(first, str | bytes | os.PathLike):
        return f"items like {first!r}"[:100]
    if hasattr(first, "read"):
        return "open files"
    return "images" if hasattr(first, "getbands") or getattr(first, "ndim", 0) > 1 else None
