r"""Selective classification: how the risk falls as unsure predictions are rejected.

Confidence is the largest class probability; a classifier with threshold t accepts the
samples whose confidence is at least t. Coverage is the accepted share of all samples and
risk the error rate among the accepted.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score

from skclip.metrics.probabilities import TopLabel, check_top_label
from skclip.metrics.weights import as_repetitions

__all__ = [
    "risk_coverage_curve",
    "area_under_risk_coverage",
    "area_under_generalized_risk_coverage",
    "excess_aurc",
    "coverage_at_risk",
    "risk_at_coverage",
    "error_detection_auroc",
]

Float = NDArray[np.float64]

# Room for the rounding of what is compared: 3 * 0.1 asks for a coverage of 0.3.
_ROUNDING = 1e-12


class _Tied(NamedTuple):
    """Samples grouped by confidence, the most confident first."""

    confidence: Float  # (g,) distinct, descending
    weight: Float  # (g,) total weight of each group
    errors: Float  # (g,) weight of its wrong predictions


def risk_coverage_curve(y_true, y_proba, *, labels=None, sample_weight=None):
    r"""Risk and coverage of the classifier that rejects below a confidence threshold.

    For a threshold t on the confidence :math:`\kappa(x) = \max_k p_k(x)`,

    .. math::

        \mathrm{coverage}(t) = \frac{1}{n} \sum_i [\kappa(x_i) \ge t], \qquad
        \mathrm{risk}(t) = \frac{\sum_i [\kappa(x_i) \ge t] \, [\hat y_i \ne y_i]}
        {\sum_i [\kappa(x_i) \ge t]} .

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    coverages : ndarray of shape (n_thresholds,)
        Accepted share of all samples, increasing, in (0, 1]; the last is 1.
    risks : ndarray of shape (n_thresholds,)
        Error rate among the accepted, in [0, 1]; the last is the error rate of all.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct confidences, decreasing. A sample is accepted if its confidence is at
        least the threshold, so that tied samples are accepted together.

    Raises
    ------
    ValueError
        If the probabilities, labels or weights are not as described.

    See Also
    --------
    area_under_risk_coverage : The curve as one number.
    RiskCoverageDisplay : The curve as a figure.

    Notes
    -----
    Cost: O(n c + n log n). The risk is not monotone, and noisy at small coverage.

    References
    ----------
    R. El-Yaniv, Y. Wiener. "On the Foundations of Noise-free Selective Classification".
    JMLR, 2010.

    Examples
    --------
    >>> from skclip.metrics import risk_coverage_curve
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]]
    >>> coverages, risks, thresholds = risk_coverage_curve(y_true, y_proba)
    >>> coverages
    array([0.25, 0.5 , 1.  ])
    >>> risks
    array([0.  , 0.  , 0.25])
    >>> thresholds
    array([0.9, 0.8, 0.6])
    """
    return _curve(check_top_label(y_true, y_proba, labels, sample_weight))


def area_under_risk_coverage(y_true, y_proba, *, labels=None, sample_weight=None):
    r"""Mean risk over all coverages (AURC).

    With the samples in order of decreasing confidence and :math:`e_i` equal to 1 where
    prediction i is wrong,

    .. math::

        \mathrm{AURC} = \frac{1}{n} \sum_{k=1}^{n} \frac{1}{k} \sum_{i=1}^{k} e_i .

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights. Whole weights are repetitions of a row; other weights are
        taken relative to the smallest positive one.

    Returns
    -------
    area : float
        Fraction in [0, 1]; lower is better. Often reported times 1000.

    Raises
    ------
    ValueError
        If the probabilities, labels or weights are not as described.

    See Also
    --------
    excess_aurc : Less the area that no ranking of the same predictions can go below.
    risk_coverage_curve : The curve itself.

    Notes
    -----
    Tied confidences leave the order open. The value is the expectation of the sum above
    over a uniformly random order within ties: where a group of g tied samples, w of them
    wrong, follows m samples with E errors, the j-th of the group is taken with
    :math:`(E + j w / g) / (m + j)`. So the result does not depend on the order of the
    samples; without ties it is exactly the sum above, and a constant confidence gives the
    error rate. A sample of weight v counts as v tied samples, where v need not be whole.

    References
    ----------
    Y. Geifman, G. Uziel, R. El-Yaniv. "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers". ICLR, 2019.

    Examples
    --------
    >>> from skclip.metrics import area_under_risk_coverage
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    >>> round(area_under_risk_coverage(y_true, y_proba), 4)  # (0 + 1/2 + 1/3 + 1/4) / 4
    0.2708
    """
    return _area(_observations(check_top_label(y_true, y_proba, labels, sample_weight)))


def area_under_generalized_risk_coverage(y_true, y_proba, *, labels=None, sample_weight=None):
    r"""Mean, over all coverages, of the share of samples accepted and wrong (AUGRC).

    The generalised risk divides the accepted errors by all samples, not by the accepted
    ones, so that the first few accepted samples weigh no more than others:

    .. math::

        \mathrm{AUGRC} = \int_0^1 \mathrm{risk}(c) \, c \, \mathrm{d}c
        = (1 - \mathrm{AUROC}) \, a (1 - a) + \tfrac12 (1 - a)^2 ,

    with a the accuracy and AUROC that of :func:`error_detection_auroc`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    area : float
        Fraction in [0, 0.5]; lower is better. The probability that a sample drawn at random
        is wrong and is accepted before another one drawn at random.

    Raises
    ------
    ValueError
        If the probabilities, labels or weights are not as described.

    See Also
    --------
    area_under_risk_coverage : Errors among the accepted; sensitive to the most confident ones.

    Notes
    -----
    The curve is linear between distinct confidences, so that tied samples are accepted
    bit by bit and their order is irrelevant.

    References
    ----------
    J. Traub, T. J. Bungert, C. T. Lüth, M. Baumgartner, K. H. Maier-Hein, L. Maier-Hein,
    P. F. Jaeger. "Overcoming Common Flaws in the Evaluation of Selective Classification
    Systems". NeurIPS, 2024.

    Examples
    --------
    >>> from skclip.metrics import area_under_generalized_risk_coverage
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    >>> area_under_generalized_risk_coverage(y_true, y_proba)  # (0 + 1/2 + 1 + 1) / 4 / 4
    0.15625
    """
    tied = _tied(*check_top_label(y_true, y_proba, labels, sample_weight))
    total = tied.weight.sum()
    wrong_before = np.cumsum(tied.errors) - tied.errors
    return float(tied.weight @ (wrong_before + tied.errors / 2) / total**2)


def excess_aurc(y_true, y_proba, *, labels=None, sample_weight=None):
    r"""Area under the risk-coverage curve beyond that of a perfect ranking (E-AURC).

    A perfect ranking puts every correct prediction before every wrong one. With w wrong
    predictions among n, its area is

    .. math::

        \mathrm{AURC}^{*} = \frac{1}{n} \sum_{j=1}^{w} \frac{j}{n - w + j} ,

    the least that any confidence can reach with these predictions.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights. Whole weights are repetitions of a row; other weights are
        taken relative to the smallest positive one.

    Returns
    -------
    excess : float
        Fraction in [0, 1]; 0 is a perfect ranking.

    Raises
    ------
    ValueError
        If the probabilities, labels or weights are not as described.

    See Also
    --------
    area_under_risk_coverage : The area itself, which also falls with the error rate.

    References
    ----------
    Y. Geifman, G. Uziel, R. El-Yaniv. "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers". ICLR, 2019.

    Examples
    --------
    >>> from skclip.metrics import excess_aurc
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> excess_aurc(y_true, [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    0.0
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    >>> round(excess_aurc(y_true, y_proba), 4)
    0.2083
    """
    tied = _observations(check_top_label(y_true, y_proba, labels, sample_weight))
    wrong = tied.errors.sum()
    right = tied.weight.sum() - wrong
    perfect = _Tied(
        np.array([1.0, 0.0]), weight=np.array([right, wrong]), errors=np.array([0.0, wrong])
    )
    # Not negative in exact arithmetic: no ranking is better than the perfect one.
    return max(0.0, _area(tied) - _area(perfect))


def coverage_at_risk(y_true, y_proba, *, target_risk, labels=None, sample_weight=None):
    """Largest coverage whose risk does not exceed a target.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    target_risk : float
        Largest error rate among the accepted samples, fraction in [0, 1].
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    coverage : float
        Fraction in [0, 1]; 0 if no threshold keeps the risk.

    Raises
    ------
    ValueError
        If the target, probabilities, labels or weights are not as described.

    See Also
    --------
    risk_at_coverage : The risk at a coverage.
    risk_coverage_curve : Every threshold, with its coverage and risk.

    Notes
    -----
    The threshold is chosen on the samples that are scored, so the value describes the
    curve; it does not guarantee the risk on other samples.

    Examples
    --------
    >>> from skclip.metrics import coverage_at_risk
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]]
    >>> coverage_at_risk(y_true, y_proba, target_risk=0.1)
    0.5
    """
    if not 0 <= target_risk <= 1:
        raise ValueError(
            f"target_risk must be a fraction in [0, 1]; got {target_risk!r}. "
            "For 5 % pass target_risk=0.05."
        )
    coverages, risks, _ = _curve(check_top_label(y_true, y_proba, labels, sample_weight))
    return float(coverages[risks <= target_risk + _ROUNDING].max(initial=0.0))


def risk_at_coverage(y_true, y_proba, *, coverage, labels=None, sample_weight=None):
    """Risk at the smallest coverage that reaches a target.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    coverage : float
        Share of the samples to accept at least, fraction in (0, 1]. Tied samples are
        accepted together, so more may be.
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    risk : float
        Error rate among the accepted samples, fraction in [0, 1].

    Raises
    ------
    ValueError
        If the coverage, probabilities, labels or weights are not as described.

    See Also
    --------
    coverage_at_risk : The coverage at a risk.
    risk_coverage_curve : Every threshold, with its coverage and risk.

    Examples
    --------
    >>> from skclip.metrics import risk_at_coverage
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]]
    >>> risk_at_coverage(y_true, y_proba, coverage=0.75)  # accepts the tie as a whole
    0.25
    """
    if not 0 < coverage <= 1:
        raise ValueError(
            f"coverage must be a fraction in (0, 1]; got {coverage!r}. For 80 % pass coverage=0.8."
        )
    coverages, risks, _ = _curve(check_top_label(y_true, y_proba, labels, sample_weight))
    return float(risks[np.searchsorted(coverages, coverage - _ROUNDING)])


def error_detection_auroc(y_true, y_proba, *, labels=None, sample_weight=None):
    """Area under the ROC curve of finding wrong predictions by their low confidence.

    The probability that a wrong prediction has a lower confidence than a correct one, ties
    counted half.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, strings or integers.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities, fractions in [0, 1] with rows that sum to 1.
    labels : array-like of shape (n_classes,), default=None
        The label of each column of `y_proba`, usually ``estimator.classes_``. None: the
        sorted distinct labels of `y_true`, which must then be as many as the columns.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    auroc : float
        Fraction in [0, 1]; 0.5 is chance, 1 is best. NaN, with an
        `UndefinedMetricWarning`, when all predictions are correct or all are wrong.

    Raises
    ------
    ValueError
        If the probabilities, labels or weights are not as described.

    See Also
    --------
    excess_aurc : Also a measure of the ranking alone, weighted to high confidence.

    Notes
    -----
    It judges the ranking given the predictions: a less accurate classifier may well have
    the higher value. The computation is :func:`sklearn.metrics.roc_auc_score`.

    References
    ----------
    D. Hendrycks, K. Gimpel. "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks". ICLR, 2017.

    Examples
    --------
    >>> from skclip.metrics import error_detection_auroc
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]]
    >>> round(error_detection_auroc(y_true, y_proba), 4)
    0.8333
    """
    confidence, correct, weight = check_top_label(y_true, y_proba, labels, sample_weight)
    if correct.all() or not correct.any():
        state = "correct" if correct.all() else "wrong"
        warnings.warn(
            "error_detection_auroc needs both correct and wrong predictions; got only "
            f"{state} ones, so the result is NaN. Score more samples.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(roc_auc_score(~correct, -confidence, sample_weight=weight))


def _tied(confidence: Float, correct: NDArray[np.bool_], weight: Float | None) -> _Tied:
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    starts = np.flatnonzero(np.diff(sorted_confidence, prepend=np.inf))
    mass = np.ones(len(order)) if weight is None else weight[order]
    return _Tied(
        sorted_confidence[starts],
        np.add.reduceat(mass, starts),
        np.add.reduceat(mass * ~correct[order], starts),
    )


def _observations(top: TopLabel) -> _Tied:
    """Groups of ties whose weights are numbers of observations."""
    repeats = None if top.weight is None else as_repetitions(top.weight)
    return _tied(top.confidence, top.correct, repeats)


def _curve(top: TopLabel) -> tuple[Float, Float, Float]:
    tied = _tied(*top)
    accepted = np.cumsum(tied.weight)
    return accepted / accepted[-1], np.cumsum(tied.errors) / accepted, tied.confidence


def _area(tied: _Tied) -> float:
    """Expected mean of (errors among the first k) / k over random orders within ties."""
    size, wrong = tied.weight, tied.errors
    # Observations and errors before each group.
    before, wrong_before = np.cumsum(size) - size, np.cumsum(wrong) - wrong
    rate = np.divide(wrong, size, out=np.zeros_like(size), where=size > 0)
    # sum_{j=1..g} (E + r j) / (m + j) = r g + (E - r m) sum_{j=1..g} 1 / (m + j), and the
    # last sum is digamma(m + g + 1) - digamma(m + 1), which also means something if g is
    # not whole. A group of one needs no detour, and then the result is exact.
    harmonic = digamma(before + size + 1) - digamma(before + 1)
    of_ties = wrong + (wrong_before - rate * before) * harmonic
    of_one = (wrong_before + wrong) / (before + 1)
    return float(np.where(size == 1, of_one, of_ties).sum() / size.sum())
