"""How far chance may have moved a metric: intervals by resampling the test set."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import DegenerateDataWarning, bootstrap
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skclip.metrics.probabilities import Labels, Weights, check_predictions, in_order
from skclip.utils.arrays import as_array

__all__ = ["BootstrapInterval", "bootstrap_interval"]

Method = Literal["basic", "percentile", "BCa"]
# 64 MiB of row indices at once.
_INDICES_PER_BATCH = 2**23


class BootstrapInterval(NamedTuple):
    """A metric with its confidence interval.

    Parameters
    ----------
    value : float
        The metric of all samples.
    low, high : float
        Ends of the interval.
    standard_error : float
        Standard deviation of the metric over the resamples.
    """

    value: float
    low: float
    high: float
    standard_error: float


def bootstrap_interval(
    metric: Callable[..., float],
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: Labels = None,
    sample_weight: Weights = None,
    confidence_level: float = 0.95,
    n_resamples: int = 1000,
    method: Method = "basic",
    random_state: int | np.random.RandomState | None = None,
    **kwargs: Any,
) -> BootstrapInterval:
    """Confidence interval of a metric, by resampling the rows of the test set.

    The interval tells how the metric would vary over test sets of this size, for this fitted
    classifier. It does not tell how the classifier would vary over support sets; for that,
    draw several supports.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba, labels=...)`` that returns a number, for instance any of
        this module, or :func:`sklearn.metrics.log_loss`.
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
        Always passed to the metric, so that resamples may miss a class.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights, which stay with their rows. Passed to the metric if given.
    confidence_level : float, default=0.95
        Fraction in (0, 1).
    n_resamples : int, default=1000
        Number of resamples, at least 2.
    method : {"basic", "percentile", "BCa"}, default="basic"
        How the interval is made of the resamples' values, see
        :func:`scipy.stats.bootstrap`. "BCa" computes the metric once more per sample.
    random_state : int, RandomState or None, default=None
        Seed of the resamples.
    **kwargs : dict
        Passed to the metric (`n_bins`, `target_risk`).

    Returns
    -------
    interval : BootstrapInterval
        Named tuple of floats: value, low, high and standard_error. The last three are
        NaN, with an `UndefinedMetricWarning`, when a resample leaves the metric undefined.

    See Also
    --------
    debiased_calibration_error : Less noise in the calibration error itself.

    Notes
    -----
    A resample holds rows twice, which looks like miscalibration, as chance does in the sample.
    So the "percentile" interval of a calibration error lies too high; "basic" takes the bias
    off once, and its lower end is not cut at 0 (:doc:`/metrics` has their coverage). Rows must
    be independent: several views of an image are not.

    Cost: `n_resamples` evaluations of the metric, "BCa" n_samples more.

    References
    ----------
    B. Efron, R. J. Tibshirani. "An Introduction to the Bootstrap". Chapman & Hall, 1993.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.metrics import area_under_risk_coverage, bootstrap_interval
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=300)
    >>> y_true, y_proba = rng.uniform(size=300) < p, np.column_stack([1 - p, p])
    >>> interval = bootstrap_interval(
    ...     area_under_risk_coverage, y_true, y_proba, n_resamples=100, random_state=0
    ... )
    >>> interval.low < interval.value < interval.high
    True
    """
    y_proba, labels = in_order(y_proba, labels, y_true)
    y, proba = as_array(y_true, "y_true"), as_array(y_proba, "y_proba")
    kwargs["labels"] = np.unique(y) if labels is None else np.asarray(labels)
    check_predictions(y, proba, kwargs["labels"], sample_weight)
    _check(confidence_level, n_resamples, method)
    if len(y) < 2:
        raise ValueError(
            f"An interval needs at least two samples to resample; got {len(y)}. Score more samples."
        )
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)

    def value(rows: NDArray[np.intp]) -> float:
        if weight is None:
            return float(metric(y[rows], proba[rows], **kwargs))
        if not weight[rows].any():  # nothing of the sample has been drawn
            return float("nan")
        return float(metric(y[rows], proba[rows], sample_weight=weight[rows], **kwargs))

    everything = np.arange(len(y))
    seed = check_random_state(random_state).randint(2**31 - 1)
    # What is undefined, the metric of a resample or the interval, is reported once, below.
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.simplefilter("ignore", DegenerateDataWarning)
        whole = value(everything)
        drawn = bootstrap(
            (everything,),
            value,
            vectorized=False,
            n_resamples=n_resamples,
            batch=max(1, _INDICES_PER_BATCH // len(everything)),
            confidence_level=confidence_level,
            method=method,
            random_state=np.random.default_rng(seed),
        )
    undefined = int(np.isnan(drawn.bootstrap_distribution).sum())
    low, high = drawn.confidence_interval
    if undefined or np.isnan(low):
        warnings.warn(
            "An interval needs a metric that is defined on every resample, and varies where the "
            f"method is 'BCa'; got {undefined} of {n_resamples} resamples where it is not defined, "
            "so the interval is NaN. Score more samples.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return BootstrapInterval(whole, float("nan"), float("nan"), float("nan"))
    return BootstrapInterval(whole, float(low), float(high), float(drawn.standard_error))


def _check(confidence_level: float, n_resamples: int, method: str) -> None:
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level must be a fraction in (0, 1); got {confidence_level!r}. "
            "For 95 % pass confidence_level=0.95."
        )
    if not n_resamples >= 2:
        raise ValueError(
            f"n_resamples must be at least 2; got {n_resamples!r}. Use 1000 for an interval to "
            "report."
        )
    if method not in ("basic", "percentile", "BCa"):
        raise ValueError(f"method must be 'basic', 'percentile' or 'BCa'; got {method!r}.")
