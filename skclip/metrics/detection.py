"""How well a score tells errors from correct predictions, or foreign samples from familiar ones."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score

from skclip.metrics.probabilities import Float, Labels, Weights, check_top_label
from skclip.utils.messages import listing

__all__ = ["error_detection_auroc", "ood_auroc"]


def error_detection_auroc(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: Labels = None, sample_weight: Weights = None
) -> float:
    """Area under the ROC curve of finding wrong predictions by their low confidence.

    The probability that a wrong prediction has a lower confidence than a correct one, ties
    counted half.

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
    auroc : float
        Fraction in [0, 1]; 0.5 is chance, 1 is best. NaN, with an
        `UndefinedMetricWarning`, when all predictions are correct or all are wrong.

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


def ood_auroc(score_in: ArrayLike, score_out: ArrayLike) -> float:
    """Area under the ROC curve of telling foreign samples by their higher score.

    The probability that a sample from outside the distribution has a higher score than
    one from inside, ties counted half.

    Parameters
    ----------
    score_in : array-like of shape (n_inside,)
        Scores of samples from the distribution that the classifier was made for; larger
        means more foreign. An uncertainty, such as the entropy or ``1 - max(proba)``, is
        such a score; a confidence is not.
    score_out : array-like of shape (n_outside,)
        Scores of samples from elsewhere.

    Returns
    -------
    auroc : float
        Fraction in [0, 1]; 0.5 is chance, 1 is best.

    See Also
    --------
    error_detection_auroc : Of finding wrong predictions instead; the same paper has both.

    Notes
    -----
    Only the order of the scores matters, and infinite scores are accepted. The numbers of
    the two kinds of samples do not matter either, but their kinds do: the same score may
    be excellent for far and useless for near outliers. The computation is
    :func:`sklearn.metrics.roc_auc_score`, on ranks.

    Examples
    --------
    >>> from skclip.metrics import ood_auroc
    >>> ood_auroc([0.1, 0.2, 0.4], [0.3, 0.9])
    0.8333333333333334
    """
    inside, outside = _check_scores(score_in, "score_in"), _check_scores(score_out, "score_out")
    is_outside = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(is_outside, rankdata(np.concatenate([inside, outside]))))


def _check_scores(given: ArrayLike, name: str) -> Float:
    scores = np.asarray(given, dtype=np.float64)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(
            f"{name} must be one score per sample, of shape (n_samples,), at least one; got shape "
            f"{scores.shape}. For probabilities pass 1 - proba.max(axis=1)."
        )
    missing = np.flatnonzero(np.isnan(scores))
    if missing.size:
        raise ValueError(
            f"{name} must have no missing values; got nan at position(s) {listing(missing)}. "
            "Drop those samples."
        )
    return scores
