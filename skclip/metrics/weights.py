"""What a sample weight means to a metric that depends on the number of samples."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_repetitions"]


def as_repetitions(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many observations each positive weight stands for, at least one.

    Sums and means do not depend on the scale of the weights. Quantiles of a finite sample
    and areas under discrete curves do: they need to know what one observation is. Whole
    weights are repetitions (weight 2 is the row twice); other weights are taken relative to
    the smallest, so that their scale is irrelevant.

    >>> as_repetitions(np.array([2.0, 1.0, 3.0]))
    array([2., 1., 3.])
    >>> as_repetitions(np.array([0.2, 0.1, 0.3]))
    array([2., 1., 3.])
    """
    nearest = np.rint(weight)
    if np.array_equal(weight, nearest):
        return nearest
    relative = weight / weight.min()
    # 0.3 / 0.1 is one rounding error below 3, which would move a quantile to the next row.
    nearest = np.rint(relative)
    whole = np.isclose(relative, nearest, rtol=1e-9, atol=0.0)
    return np.asarray(np.where(whole, nearest, relative), dtype=np.float64)
