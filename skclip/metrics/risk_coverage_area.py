"""Areas under risk-coverage curves: how well a confidence ranks, in one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from skclip.metrics.probabilities import Labels, TopLabel, Weights, check_top_label
from skclip.metrics.risk_coverage import Tied, tied
from skclip.metrics.weights import as_repetitions

__all__ = ["area_under_generalized_risk_coverage", "area_under_risk_coverage", "excess_aurc"]


def area_under_risk_coverage(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: Labels = None, sample_weight: Weights = None
) -> float:
    r"""Mean risk over all coverages (AURC).

    With the samples in order of decreasing confidence and :math:`e_i` equal to 1 where
    prediction i is wrong,

    .. math::

        \mathrm{AURC} = \frac{1}{n} \sum_{k=1}^{n} \frac{1}{k} \sum_{i=1}^{k} e_i .

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights. Whole weights are repetitions of a row; other weights are
        taken relative to the smallest positive one.

    Returns
    -------
    area : float
        Fraction in [0, 1]; lower is better. Often reported times 1000.

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


def area_under_generalized_risk_coverage(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: Labels = None, sample_weight: Weights = None
) -> float:
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
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    area : float
        Fraction in [0, 0.5]; lower is better. The probability that a sample drawn at random
        is wrong and is accepted before another one drawn at random.

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
    groups = tied(check_top_label(y_true, y_proba, labels, sample_weight))
    total = groups.weight.sum()
    wrong_before = np.cumsum(groups.errors) - groups.errors
    return float(groups.weight @ (wrong_before + groups.errors / 2) / total**2)


def excess_aurc(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: Labels = None, sample_weight: Weights = None
) -> float:
    r"""Area under the risk-coverage curve beyond that of a perfect ranking (E-AURC).

    A perfect ranking puts every correct prediction before every wrong one. With w wrong
    predictions among n, its area is

    .. math::

        \mathrm{AURC}^{*} = \frac{1}{n} \sum_{j=1}^{w} \frac{j}{n - w + j} ,

    the least that any confidence can reach with these predictions.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights. Whole weights are repetitions of a row; other weights are
        taken relative to the smallest positive one.

    Returns
    -------
    excess : float
        Fraction in [0, 1]; 0 is a perfect ranking.

    See Also
    --------
    area_under_risk_coverage : The area itself, which also falls with the error rate; the
        same paper has both.

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
    groups = _observations(check_top_label(y_true, y_proba, labels, sample_weight))
    wrong = groups.errors.sum()
    right = groups.weight.sum() - wrong
    perfect = Tied(
        np.array([1.0, 0.0]), weight=np.array([right, wrong]), errors=np.array([0.0, wrong])
    )
    # Not negative in exact arithmetic: no ranking is better than the perfect one.
    return max(0.0, _area(groups) - _area(perfect))


def _observations(top: TopLabel) -> Tied:
    """Groups of ties whose weights are numbers of observations."""
    if top.weight is None:
        return tied(top)
    return tied(top._replace(weight=as_repetitions(top.weight)))


def _area(groups: Tied) -> float:
    """Expected mean of (errors among the first k) / k over random orders within ties."""
    size, wrong = groups.weight, groups.errors
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
