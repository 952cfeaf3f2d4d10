"""Calibration errors: how far confidence is from accuracy, bin by bin and on the whole."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from skclip.metrics.binning import Strategy, bin_confidences, bin_edges
from skclip.metrics.probabilities import (
    Float,
    Labels,
    TopLabel,
    Weights,
    blocks,
    check_predictions,
    check_top_label,
    in_range,
)

__all__ = [
    "expected_calibration_error",
    "maximum_calibration_error",
    "classwise_calibration_error",
    "confidence_bias",
]

Kind = Literal["ECE", "MCE"]


def expected_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    n_bins: int = 10,
    strategy: Strategy = "uniform",
    labels: Labels = None,
    sample_weight: Weights = None,
) -> float:
    r"""Mean distance between the confidence and the accuracy of the predicted class (ECE).

    Confidence is the largest class probability. With the samples in bins
    :math:`B_1, \dots, B_m` by confidence,

    .. math::

        \mathrm{ECE} = \sum_{b=1}^{m} \frac{|B_b|}{n}
        \left| \mathrm{acc}(B_b) - \mathrm{conf}(B_b) \right|

    where :math:`\mathrm{acc}` is the share of correct predictions and :math:`\mathrm{conf}`
    the mean confidence. With ``strategy="quantile"`` this is the adaptive ECE (AECE).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    n_bins : int, default=10
        Number of bins, at least 1.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width over [0, 1], or of equal count.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    error : float
        Fraction in [0, 1]; 0 is best.

    See Also
    --------
    maximum_calibration_error : The largest distance instead of the mean.
    classwise_calibration_error : All classes count, not only the predicted one.
    ReliabilityDisplay : The same bins as a diagram.

    Notes
    -----
    The computation is netcal's (``netcal.metrics.ECE``), given the confidences and whether
    each prediction is correct; so two classes count alike. With weights, or where ties make two
    quantile edges coincide, netcal has no answer; there the package's own bins answer, which
    give netcal's value wherever it has one. A bin includes its left edge, the last also 1.
    Tied confidences share a bin, and then quantile bins differ in count. For quantile edges
    whole weights are repetitions; others are taken relative to the smallest positive one.

    Cost: O(n c) to validate and O(n log n) to bin; float64 throughout.

    References
    ----------
    M. P. Naeini, G. Cooper, M. Hauskrecht. "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning". AAAI, 2015.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. "On Calibration of Modern Neural Networks".
    ICML, 2017.

    K. Nguyen, B. O'Connor. "Posterior Calibration and Exploratory Analysis for Natural
    Language Processing Models". EMNLP, 2015 (bins of equal count).

    Examples
    --------
    >>> from skclip.metrics import expected_calibration_error
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]]
    >>> round(expected_calibration_error(y_true, y_proba), 6)
    0.1
    """
    top = check_top_label(y_true, y_proba, labels, sample_weight)
    return _calibration_error("ECE", top, n_bins, strategy)


def maximum_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    n_bins: int = 10,
    strategy: Strategy = "uniform",
    labels: Labels = None,
    sample_weight: Weights = None,
) -> float:
    r"""Largest distance between the confidence and the accuracy of a bin (MCE).

    .. math::

        \mathrm{MCE} = \max_{b \,:\, B_b \neq \emptyset}
        \left| \mathrm{acc}(B_b) - \mathrm{conf}(B_b) \right|

    with the bins of :func:`expected_calibration_error`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    n_bins : int, default=10
        Number of bins, at least 1.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width over [0, 1], or of equal count.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    error : float
        Fraction in [0, 1]; 0 is best.

    See Also
    --------
    expected_calibration_error : The mean instead of the maximum; how bins are made and
        when netcal computes.

    Notes
    -----
    A bin with a single sample counts like any other, so the value is noisy with equal
    widths; ``strategy="quantile"`` gives every bin about as many samples. From the same
    paper as the ECE.

    Examples
    --------
    >>> from skclip.metrics import maximum_calibration_error
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]]
    >>> round(maximum_calibration_error(y_true, y_proba), 6)
    0.2
    """
    top = check_top_label(y_true, y_proba, labels, sample_weight)
    return _calibration_error("MCE", top, n_bins, strategy)


def classwise_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    n_bins: int = 10,
    strategy: Strategy = "uniform",
    labels: Labels = None,
    sample_weight: Weights = None,
) -> float:
    r"""Mean over the classes of the calibration error of each class's probability.

    .. math::

        \frac{1}{c} \sum_{k=1}^{c} \sum_{b=1}^{m} \frac{|B_{kb}|}{n}
        \left| \mathrm{freq}_k(B_{kb}) - \mathrm{conf}_k(B_{kb}) \right|

    where :math:`B_{kb}` holds the samples whose probability of class k lies in bin b,
    :math:`\mathrm{freq}_k` is the share of them that are of class k and
    :math:`\mathrm{conf}_k` their mean probability of it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    n_bins : int, default=10
        Number of bins per class, at least 1.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width over [0, 1], or of equal count per class.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    error : float
        Fraction in [0, 1]; 0 is best. It shrinks like 1/c, because most probabilities of
        most classes are close to 0: compare only between equal numbers of classes.

    See Also
    --------
    expected_calibration_error : Only the predicted class counts.

    Notes
    -----
    Each class equals ``netcal.metrics.ECE`` of its column as a two-class problem (tested); the
    package's own bins compute it, in a third of netcal's time.

    References
    ----------
    M. Kull, M. Perello-Nieto, M. Kängsepp, T. Silva Filho, H. Song, P. Flach. "Beyond
    temperature scaling: Obtaining well-calibrated multi-class probabilities with Dirichlet
    calibration". NeurIPS, 2019.

    Examples
    --------
    >>> from skclip.metrics import classwise_calibration_error
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]]
    >>> round(classwise_calibration_error(y_true, y_proba), 6)
    0.1
    """
    codes, proba, weight = check_predictions(y_true, y_proba, labels, sample_weight)
    errors = [
        _own_error("ECE", TopLabel(column, codes == k, weight), n_bins, strategy)
        for where in blocks(proba.shape[1], len(codes))
        for k, column in enumerate(in_range(proba[:, where].T), start=where.start)
    ]
    return float(np.mean(errors))


def confidence_bias(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: Labels = None,
    sample_weight: Weights = None,
) -> float:
    r"""Mean confidence less accuracy: the calibration error with its sign.

    .. math::

        \frac{1}{n} \sum_{i=1}^{n} \Big( \max_k p_{ik} - \mathbb{1}[\hat y_i = y_i] \Big)

    Positive where the classifier is over-confident, negative where it is under-confident. It is
    the only part of the calibration error that a single sentence can mend: "lower all
    confidences by so much".

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    bias : float
        Fraction in [-1, 1]; 0 is best.

    See Also
    --------
    expected_calibration_error : The errors of single bins do not cancel in it.
    bootstrap_interval : How far chance may have moved it; it has no bias of its own.

    Notes
    -----
    Unlike the other calibration errors it is an unbiased estimate: for a calibrated classifier it
    is 0 on average over test sets, with standard error of at most :math:`1 / (2 \sqrt n)`. Zero
    does not mean calibrated: errors of the unsure rows may cancel those of the sure ones. Its
    absolute value is a lower bound of the ECE with any bins, and of the smooth calibration error.

    References
    ----------
    A. H. Murphy. "A new vector partition of the probability score". Journal of Applied
    Meteorology, 1973 ("bias in the large").

    Examples
    --------
    >>> from skclip.metrics import confidence_bias
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]]
    >>> round(confidence_bias(y_true, y_proba), 6)
    0.0
    >>> round(confidence_bias(["dog", "dog", "cat", "dog"], y_proba), 6)
    0.25
    """
    confidence, correct, weight = check_top_label(y_true, y_proba, labels, sample_weight)
    return float(np.average(confidence - correct, weights=weight))


def _calibration_error(kind: Kind, top: TopLabel, n_bins: int, strategy: Strategy) -> float:
    """ECE or MCE, by netcal where it has an answer."""
    if top.weight is None and _netcal_has_an_answer(top.confidence, n_bins, strategy):
        return _netcal_error(kind, top, n_bins, strategy)
    return _own_error(kind, top, n_bins, strategy)


def _netcal_has_an_answer(confidence: Float, n_bins: int, strategy: Strategy) -> bool:
    """netcal raises an error when ties make two quantile edges coincide."""
    return bool(np.diff(bin_edges(confidence, None, n_bins, strategy)).all())


def _netcal_error(kind: Kind, top: TopLabel, n_bins: int, strategy: Strategy) -> float:
    from netcal import metrics  # lazily: it imports pandas and torch

    metric = getattr(metrics, kind)(bins=int(n_bins), equal_intervals=strategy == "uniform")
    return float(metric.measure(top.confidence, top.correct.astype(int)))


def _own_error(kind: Kind, top: TopLabel, n_bins: int, strategy: Strategy) -> float:
    bins = bin_confidences(*top, bin_edges(top.confidence, top.weight, n_bins, strategy))
    if kind == "MCE":
        return float(bins.gap.max())
    return float(bins.gap @ bins.weight / bins.weight.sum())
