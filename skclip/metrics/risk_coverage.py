"""Selective classification: how the risk falls as unsure predictions are rejected.

Confidence is the largest class probability; a classifier with threshold t accepts the
samples whose confidence is at least t. Coverage is the accepted share of all samples and
risk the error rate among the accepted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skclip.metrics.probabilities import Float, Labels, TopLabel, Weights, check_top_label

__all__ = ["Tied", "coverage_at_risk", "risk_at_coverage", "risk_coverage_curve", "tied"]

# Room for the rounding of what is compared: 3 * 0.1 asks for a coverage of 0.3.
_ROUNDING = 1e-12


class Tied(NamedTuple):
    """Samples grouped by confidence, the most confident first."""

    confidence: Float  # (g,) distinct, descending
    weight: Float  # (g,) total weight of each group
    errors: Float  # (g,) weight of its wrong predictions


def risk_coverage_curve(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: Labels = None, sample_weight: Weights = None
) -> tuple[Float, Float, Float]:
    r"""Risk and coverage of the classifier that rejects below a confidence threshold.

    For a threshold t on the confidence :math:`\kappa(x) = \max_k p_k(x)`,

    .. math::

        \mathrm{coverage}(t) = \frac{1}{n} \sum_i [\kappa(x_i) \ge t], \qquad
        \mathrm{risk}(t) = \frac{\sum_i [\kappa(x_i) \ge t] \, [\hat y_i \ne y_i]}
        {\sum_i [\kappa(x_i) \ge t]} .

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
    coverages : ndarray of shape (n_thresholds,)
        Accepted share of all samples, increasing, in (0, 1]; the last is 1.
    risks : ndarray of shape (n_thresholds,)
        Error rate among the accepted, in [0, 1]; the last is the error rate of all.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct confidences, decreasing. A sample is accepted if its confidence is at
        least the threshold, so that tied samples are accepted together.

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


def coverage_at_risk(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    target_risk: float,
    labels: Labels = None,
    sample_weight: Weights = None,
) -> float:
    """Largest coverage whose risk does not exceed a target.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    target_risk : float
        Largest error rate among the accepted samples, fraction in [0, 1].
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    coverage : float
        Fraction in [0, 1]; 0 if no threshold keeps the risk.

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


def risk_at_coverage(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    coverage: float,
    labels: Labels = None,
    sample_weight: Weights = None,
) -> float:
    """Risk at the smallest coverage that reaches a target.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    coverage : float
        Share of the samples to accept at least, fraction in (0, 1]. Tied samples are
        accepted together, so more may be.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    risk : float
        Error rate among the accepted samples, fraction in [0, 1].

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


def tied(top: TopLabel) -> Tied:
    """Group the samples of equal confidence."""
    confidence, correct, weight = top
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    starts = np.flatnonzero(np.diff(sorted_confidence, prepend=np.inf))
    mass = np.ones(len(order)) if weight is None else weight[order]
    return Tied(
        sorted_confidence[starts],
        np.add.reduceat(mass, starts),
        np.add.reduceat(mass * ~correct[order], starts),
    )


def _curve(top: TopLabel) -> tuple[Float, Float, Float]:
    groups = tied(top)
    accepted = np.cumsum(groups.weight)
    return accepted / accepted[-1], np.cumsum(groups.errors) / accepted, groups.confidence
