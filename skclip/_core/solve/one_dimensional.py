"""Newton's method in one dimension, safeguarded by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["minimize"]

_MAX_ITER = 60


def minimize(
    measure: Callable[[float], tuple[float, float, float]],
    start: float,
    low: float,
    high: float,
    *,
    smallest_step: float,
) -> tuple[float, float]:
    """Minimum t of a function in [low, high], and the first of the numbers measured there.

    Parameters
    ----------
    measure : callable
        t -> (value, slope, curvature); the minimum is where the slope changes sign.
    smallest_step : float
        A step below it is a rounding error, and ends the search.
    """
    t, value = start, math.nan
    for _ in range(_MAX_ITER):
        value, slope, curvature = measure(t)
        low, high = (low, t) if slope > 0 else (t, high)
        new = t - slope / curvature if curvature > 0 else low
        new = new if low < new < high else 0.5 * (low + high)
        if abs(new - t) < smallest_step:
            break
        t = new
    return t, value
