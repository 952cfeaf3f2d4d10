"""Rows of features: their norm, and digests that recognise them."""

from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skclip.utils.messages import listing

__all__ = ["row_digests", "unit_rows"]


def row_digests(X: ArrayLike) -> np.ndarray:
    """64-bit digests (n,) of the rows in single precision."""
    # Zero has two signs in floating point.
    rows = np.ascontiguousarray(check_array(X, dtype=np.float32, ensure_min_samples=0) + 0)
    digests = b"".join(blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)


def unit_rows(X: ArrayLike, name: str) -> np.ndarray:
    """Rows of `X` scaled to unit Euclidean norm; a zero row is an error that names it."""
    X = check_array(X, dtype=[np.float64, np.float32], input_name=name)
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    zero = np.flatnonzero(norms[:, 0] == 0)
    if len(zero):
        raise ValueError(
            f"Rows of {name} must not be zero when they are scaled to unit norm; got zeros in "
            f"row(s) {listing(zero)}. Drop them, or pass normalize=False."
        )
    return X / norms
