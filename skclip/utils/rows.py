"""Rows of features: their norm, and digests that recognise them."""

from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skclip.utils.messages import listing

__all__ = ["are_repeated", "direction", "equal_rows", "row_digests", "unit_rows"]

_ROWS_PER_BLOCK = 256


def row_digests(X: ArrayLike) -> np.ndarray:
    """64-bit digests (n,) of the rows in single precision."""
    checked: np.ndarray = check_array(X, dtype=[np.float64, np.float32], ensure_min_samples=0)
    with np.errstate(over="ignore"):  # what is beyond single precision has the digest of infinity
        rows = np.ascontiguousarray(checked.astype(np.float32) + 0)  # zero has two signs
    digests = b"".join(blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)


def are_repeated(X: np.ndarray, others: np.ndarray, tolerance: float = 1e-5) -> np.ndarray:
    """Which rows of `X` (n, d) are also among `others` (m, d), up to rounding: (n,) bool.

    No entry differs by more than `tolerance` times the largest entry of all: what one image gives
    in batches of different sizes does not. Equal rows are neighbours in the order of a projection,
    so that O((n + m) log m) comparisons suffice unless most of `others` are equal.
    """
    found = np.zeros(len(X), dtype=bool)
    if not X.size or not others.size:
        return found
    tolerance = tolerance * max(np.abs(X).max(), np.abs(others).max())
    axis = np.random.default_rng(0).normal(size=X.shape[1])
    others = others[np.argsort(others @ axis)]
    projected, reach = others @ axis, tolerance * np.abs(axis).sum()
    first = np.searchsorted(projected, X @ axis - reach, "left")
    end = np.searchsorted(projected, X @ axis + reach, "right")
    while (rows := np.flatnonzero((first < end) & ~found)).size:
        found[rows] = (np.abs(X[rows] - others[first[rows]]) <= tolerance).all(axis=1)
        first += 1
    return found


def equal_rows(X: np.ndarray, tolerance: float = 1e-5) -> np.ndarray:
    """A number for each row of `X` (n, d), the same for rows that are equal up to rounding: (n,).

    Numbers are 0, 1, ... without a gap.

    `tolerance` is that of :func:`are_repeated`.
    """
    if not X.size:
        return np.arange(len(X))
    order = np.argsort(X @ np.random.default_rng(0).normal(size=X.shape[1]))
    steps = np.abs(np.diff(X[order], axis=0)).max(axis=1, initial=0.0)
    group = np.empty(len(X), dtype=np.int64)
    group[order] = np.cumsum(np.append(True, steps > tolerance * np.abs(X).max())) - 1
    return group


def unit_rows(X: ArrayLike, name: str) -> np.ndarray:
    """Rows of `X` scaled to unit Euclidean norm; a zero row is an error that names it."""
    checked: np.ndarray = check_array(X, dtype=[np.float64, np.float32], input_name=name)
    zero = np.flatnonzero(~checked.any(axis=1))
    if len(zero):
        raise ValueError(
            f"Rows of {name} must not be zero when they are scaled to unit norm; got zeros in "
            f"row(s) {listing(zero)}. Drop them, or pass normalize=False."
        )
    return direction(checked)


def _norms(X: np.ndarray) -> np.ndarray:
    """Euclidean norms (n, 1) of rows (n, d), whose squares stay in the processor's cache."""
    norms = np.empty((len(X), 1), dtype=X.dtype)
    with np.errstate(over="ignore", under="ignore"):
        for first in range(0, len(X), _ROWS_PER_BLOCK):
            block = slice(first, first + _ROWS_PER_BLOCK)
            norms[block] = np.linalg.norm(X[block], axis=1, keepdims=True)
    return norms


def direction(X: np.ndarray) -> np.ndarray:
    """Rows (n, d) of unit norm, or zero where they are zero."""
    norms = _norms(X)
    limits = np.finfo(X.dtype)
    smallest = limits.tiny**0.5 / limits.eps
    edge = ~((norms[:, 0] > smallest) & (norms[:, 0] < 1 / smallest))
    if edge.any():
        # Their squares leave the range of the type: the largest entry is divided out before.
        rows = X[edge]
        largest = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
        X = X.copy()
        X[edge] = rows = rows / np.where(largest > 0, largest, 1)
        norms[edge] = np.linalg.norm(rows, axis=1, keepdims=True)
    return X / np.where(norms > 0, norms, 1)
