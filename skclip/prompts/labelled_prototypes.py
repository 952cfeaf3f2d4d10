"""Labelled text prototypes."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from skclip.exceptions import PrototypeMismatchError
from skclip.utils.arrays import as_array
from skclip.utils.labels import as_labels
from skclip.utils.messages import listing

__all__ = ["RAW_TEXT_NORM", "Prototypes"]

# Median norm of raw text embeddings of OpenAI's ViT-B/32 over the 1000 ImageNet names.
RAW_TEXT_NORM = 8.8


class Prototypes:
    """One text vector per class, with the class's label: immutable.

    Passing labelled prototypes instead of a bare array lets a classifier know classes
    that have no image in the support set: they keep their text prior.

    Parameters
    ----------
    vectors : array-like of shape (n_classes, n_features)
        One row per class, in the order of `labels`. Unit rows unless a recipe asks for
        the raw norm.
    labels : array-like of shape (n_classes,)
        Class labels as they appear in `y`; distinct strings or integers.
    logit_scale : float, default=None
        Factor from cosine to logit of the model that made the vectors (``exp`` of CLIP's
        parameter, about 100 for OpenAI's weights). None when unknown.

    Attributes
    ----------
    vectors : ndarray of shape (n_classes, n_features)
        Read-only, float32 or float64; rows sorted by label.
    labels : ndarray of shape (n_classes,)
        Read-only, sorted.
    logit_scale : float or None

    See Also
    --------
    ClassPrompts : Makes prototypes from class names.

    Examples
    --------
    >>> from skclip import Prototypes
    >>> Prototypes([[0.6, 0.8], [1.0, 0.0]], labels=["dog", "cat"]).labels
    array(['cat', 'dog'], dtype='<U3')
    """

    __slots__ = ("labels", "logit_scale", "vectors")
    vectors: np.ndarray
    labels: np.ndarray
    logit_scale: float | None

    def __init__(
        self, vectors: ArrayLike, labels: ArrayLike, *, logit_scale: float | None = None
    ) -> None:
        vectors = as_array(vectors, "vectors")
        if vectors.dtype.kind == "c":
            raise ValueError(f"vectors must be real; got {vectors.dtype}. Pass their real part.")
        if vectors.dtype != np.float32:
            try:
                vectors = vectors.astype(np.float64)
            except (TypeError, ValueError) as exc:
                raise PrototypeMismatchError(
                    f"vectors must hold numbers; {exc}. Pass one row of numbers per class."
                ) from exc
        labels = as_labels(labels, "labels")
        if vectors.ndim != 2 or labels.shape != (len(vectors),):
            raise PrototypeMismatchError(
                "vectors must have shape (n_classes, n_features) and labels (n_classes,); got "
                f"{vectors.shape} and {labels.shape}."
            )
        if not np.isfinite(vectors).all():
            raise ValueError("vectors must be finite; got NaN or infinity.")
        if logit_scale is not None and not (np.isfinite(logit_scale) and logit_scale > 0):
            raise ValueError(f"logit_scale must be a positive number or None; got {logit_scale!r}.")
        unique, order, counts = np.unique(labels, return_index=True, return_counts=True)
        if len(unique) != len(labels):
            raise PrototypeMismatchError(
                f"labels must be distinct; got {listing(unique[counts > 1])} more than once. "
                "Pass one vector per class, for instance the mean over its names."
            )
        vectors = vectors[order].copy()
        vectors.flags.writeable = False
        unique.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "labels", unique)
        object.__setattr__(self, "logit_scale", None if logit_scale is None else float(logit_scale))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"Prototypes are immutable; cannot set {name!r}. Make a new object.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Prototypes are immutable; cannot delete {name!r}.")

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("vectors", "labels", "logit_scale")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Prototypes.__init__(self, **state)  # arrays of a pickle are writable

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"Prototypes({len(self)} classes of {self.vectors.shape[1]} features: "
            f"{listing(self.labels)})"
        )
