"""Rows that are there twice are found, whatever their order, and no others."""

import numpy as np
import pytest

from skclip.utils.rows import are_repeated, equal_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_repeated_rows_are_found_up_to_rounding(dtype, scale):
    rng = np.random.default_rng(0)
    X, others = (scale * rng.normal(size=(n, 16)).astype(dtype) for n in (50, 80))
    copied = np.array([3, 17, 49])
    X[copied] = others[[8, 8, 79]] * (1 + 1e-6)
    X[5] = others[0] + 1e-3 * scale  # another photograph
    assert np.flatnonzero(are_repeated(X, others)).tolist() == copied.tolist()


def test_equal_rows_are_found_wherever_equal_ones_are_many():
    X = np.zeros((5, 3))
    X[4] = 1
    assert are_repeated(X, np.zeros((300, 3))).tolist() == [True] * 4 + [False]
    assert not are_repeated(X, np.empty((0, 3))).any()


def test_equal_rows_have_one_number():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 16))
    X[[7, 31]] = X[2] * (1 + 1e-7)
    X[9] = X[50]
    group = equal_rows(X)
    same = group[:, None] == group
    expected = np.eye(60, dtype=bool)
    expected[np.ix_([2, 7, 31], [2, 7, 31])] = expected[np.ix_([9, 50], [9, 50])] = True
    np.testing.assert_array_equal(same, expected)
    assert equal_rows(np.empty((0, 3))).tolist() == []
