"""Confidences in bins: the arithmetic behind calibration errors and reliability diagrams."""

from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from skclip.metrics.probabilities import Float
from skclip.metrics.weights import as_repetitions

__all__ = ["Bins", "Strategy", "bin_confidences", "bin_edges", "proportion_interval"]

Strategy = Literal["uniform", "quantile"]

# netcal keeps confidences this far from 0 and 1 before it bins them. A confidence of 1 then
# lies in the last bin like any other, also where a quantile edge is 1.
_EPS = np.finfo(np.float64).eps


class Bins(NamedTuple):
    """Weight and means per bin; the means of an empty bin are NaN."""

    edges: Float  # (b + 1,) from 0 to 1
    weight: Float  # (b,) total weight, or the count
    confidence: Float  # (b,) mean confidence
    accuracy: Float  # (b,) share of correct samples
    effective_size: Float  # (b,) number of samples of equal weight that are as informative (Kish)

    @property
    def gap(self) -> Float:
        """(b,) distance between accuracy and mean confidence, 0 where the bin is empty."""
        return np.where(self.weight > 0, np.abs(self.accuracy - self.confidence), 0.0)


def bin_edges(confidence: Float, weight: Float | None, n_bins: int, strategy: str) -> Float:
    """(n_bins + 1,) edges from 0 to 1; a bin includes its left edge."""
    if not isinstance(n_bins, Integral) or isinstance(n_bins, bool) or n_bins < 1:
        raise ValueError(
            f"n_bins must be an integer of at least 1; got {n_bins!r}. Use 10 to compare with "
            "published calibration errors."
        )
    if strategy not in ("uniform", "quantile"):
        raise ValueError(
            f"strategy must be 'uniform' (bins of equal width) or 'quantile' (bins of equal "
            f"count); got {strategy!r}."
        )
    levels = np.linspace(0.0, 1.0, int(n_bins) + 1)
    if strategy == "uniform":
        return levels
    edges = _quantile(np.clip(confidence, _EPS, 1 - _EPS), weight, levels)
    edges[0], edges[-1] = 0.0, 1.0
    return edges


def bin_confidences(
    confidence: Float, outcome: NDArray[np.bool_], weight: Float | None, edges: Float
) -> Bins:
    """Means of `confidence` and `outcome` between `edges`."""
    clipped = np.clip(confidence, _EPS, 1 - _EPS)
    index = np.searchsorted(edges, clipped, side="right") - 1

    def total(values: Float | None) -> Float:
        return np.bincount(index, values, minlength=len(edges) - 1).astype(np.float64)

    mass = total(weight)
    scale = np.ones_like(confidence) if weight is None else weight
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin is the NaN that is promised
        return Bins(
            edges,
            mass,
            total(scale * confidence) / mass,
            total(scale * outcome) / mass,
            mass if weight is None else np.nan_to_num(mass**2 / total(weight**2)),
        )


def proportion_interval(share: Float, count: Float, level: float) -> tuple[Float, Float]:
    """Ends of Clopper and Pearson's interval of a probability; NaN where nothing is counted.

    It covers the probability with at least `level`, whatever it is. Also for mixtures: the
    mean of different probabilities varies less than a binomial of the same mean.
    """
    hits, misses = share * count, (1 - share) * count
    tail = (1 - level) / 2
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-300), misses + 1, tail), 0.0)
    high = np.where(misses > 0, betaincinv(hits + 1, np.maximum(misses, 1e-300), 1 - tail), 1.0)
    return np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)


def _quantile(values: Float, weight: Float | None, levels: Float) -> Float:
    """Quantiles with linear interpolation between the repetitions of sorted values."""
    repeats = None if weight is None else as_repetitions(weight)
    if repeats is None or (repeats == 1).all():
        return np.asarray(np.quantile(values, levels))
    order = np.argsort(values, kind="stable")
    repeats = repeats[order]
    # Positions of the first and the last repetition of each row in the repeated sample: the
    # quantile function is flat from one to the other and linear up to the next row.
    last = np.cumsum(repeats) - 1
    first = last - (repeats - 1)
    knots = np.column_stack([first, last]).ravel()
    return np.asarray(np.interp(levels * last[-1], knots, np.repeat(values[order], 2)))
