"""Calibration error less what the noise of a finite test set adds to it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from skclip.metrics.binning import Bins, Strategy, bin_confidences, bin_edges
from skclip.metrics.probabilities import Float, Labels, check_top_label

__all__ = ["debiased_calibration_error"]


def debiased_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    norm: Literal["l1", "l2"] = "l1",
    n_bins: int = 10,
    strategy: Strategy = "uniform",
    labels: Labels = None,
) -> float:
    r"""Calibration error less the part that chance adds to the measured one.

    Even a perfectly calibrated classifier has a positive :func:`expected_calibration_error`,
    because the accuracy of a bin is measured with noise. These are the estimators of Kumar,
    Liang and Ma. With the gap :math:`d_b = \mathrm{acc}_b - \mathrm{conf}_b` and the
    size :math:`n_b` of bin b, ``norm="l2"`` is the root of

    .. math::

        \sum_b \frac{n_b}{n} \left[ d_b^2 -
        \frac{\mathrm{acc}_b (1 - \mathrm{acc}_b)}{n_b - 1} \right] ,

    which is an unbiased estimate of the mean squared gap, and ``norm="l1"`` subtracts from
    the ECE what normal noise of the measured size would add to it again:

    .. math::

        \sum_b \frac{n_b}{n} \left( 2 |d_b| - \mathbb{E} |d_b + s_b z| \right) , \qquad
        s_b^2 = \frac{\mathrm{acc}_b (1 - \mathrm{acc}_b)}{n_b} , \quad
        z \sim \mathcal{N}(0, 1) .

    Both sums are replaced by 0 where they are negative.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    norm : {"l1", "l2"}, default="l1"
        "l1" corrects the ECE, approximately. "l2" is the root mean squared gap, which is
        at least the mean gap, so compare only among themselves.
    n_bins : int, default=10
        Number of bins, at least 1.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width over [0, 1], or of equal count.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.

    Returns
    -------
    error : float
        Fraction in [0, 1]; 0 is best.

    See Also
    --------
    expected_calibration_error : Without the correction.
    bootstrap_interval : How far chance may have moved a metric.

    Notes
    -----
    "l1" takes off about 40 % of what chance adds where the classifier is calibrated, whatever the
    number of samples, because the sum of the measured gaps stands in for the unknown true ones;
    where gaps are larger than their noise it takes off nearly all. A calibrated classifier
    still has about 0.019 on 200 samples and 0.006 on 2000, not 0. For a number without bias see
    :func:`confidence_bias`.

    A bin with one sample has no measurable noise and contributes nothing. Neither estimator
    sees miscalibration that cancels within a bin, so both are lower bounds of the
    calibration error of the confidences themselves. There is no `sample_weight`: the noise
    depends on the number of independent samples, which weights do not tell.

    In the authors' code the expectation in "l1" is an average over 1000 normal draws; here
    it is the mean of a folded normal variable in closed form.

    References
    ----------
    A. Kumar, P. Liang, T. Ma. "Verified Uncertainty Calibration". NeurIPS, 2019.

    J. Bröcker. "Estimating reliability and resolution of probability forecasts through
    decomposition of the empirical score". Climate Dynamics, 2012 (the correction in "l2").

    Examples
    --------
    Fair coins have no calibration error, but 30 of them seem to:

    >>> import numpy as np
    >>> from skclip.metrics import debiased_calibration_error, expected_calibration_error
    >>> confidence = np.full(30, 0.8)
    >>> y_proba = np.column_stack([1 - confidence, confidence])
    >>> y_true = np.arange(30) < 22
    >>> round(expected_calibration_error(y_true, y_proba), 3)
    0.067
    >>> round(debiased_calibration_error(y_true, y_proba), 3)
    0.048
    """
    if norm not in ("l1", "l2"):
        raise ValueError(
            f"norm must be 'l1' (the mean gap, as in the ECE) or 'l2' (the root mean squared gap); "
            f"got {norm!r}."
        )
    confidence, correct, _ = check_top_label(y_true, y_proba, labels, None)
    bins = bin_confidences(confidence, correct, None, bin_edges(confidence, None, n_bins, strategy))
    if norm == "l1":
        return max(0.0, debiased_mean_gap(bins))
    return float(np.sqrt(max(0.0, unbiased_squared_gap(bins))))


def unbiased_squared_gap(bins: Bins) -> float:
    """Mean squared gap over the bins, less the variance of their accuracies."""
    size, gap, variance = _several(bins)
    return float(size @ (gap**2 - variance / (size - 1)) / bins.weight.sum())


def debiased_mean_gap(bins: Bins) -> float:
    """Mean gap over the bins, less what normal noise in their accuracies adds to it."""
    size, gap, variance = _several(bins)
    added = _mean_of_folded_normal(gap, np.sqrt(variance / size)) - gap
    return float(size @ (gap - added) / bins.weight.sum())


def _several(bins: Bins) -> tuple[Float, Float, Float]:
    """Size, gap, and variance of one outcome, of the bins with more than one sample."""
    kept = bins.weight > 1
    accuracy = bins.accuracy[kept]
    return bins.weight[kept], bins.gap[kept], accuracy * (1 - accuracy)


def _mean_of_folded_normal(mean: Float, std: Float) -> Float:
    """E |mean + std z| for mean >= 0; the mean itself where std is 0."""
    # For z ~ N(0, 1): sqrt(2 / pi) s exp(-m^2 / 2 s^2) + m (1 - 2 Phi(-m / s)).
    ratio = np.divide(mean, std, out=np.full_like(mean, np.inf), where=std > 0)
    density = np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2)
    return np.asarray(std * density + mean * (1 - 2 * ndtr(-ratio)))
