"""How well a score tells foreign samples from familiar ones."""

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from skclip.utils.messages import listing

__all__ = ["ood_auroc"]


def ood_auroc(score_in, score_out):
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

    Raises
    ------
    ValueError
        If the scores are empty, not one per sample, or missing (NaN).

    See Also
    --------
    error_detection_auroc : Of finding wrong predictions instead.

    Notes
    -----
    Only the order of the scores matters, and infinite scores are accepted. The numbers of
    the two kinds of samples do not matter either, but their kinds do: the same score may
    be excellent for far and useless for near outliers. The computation is
    :func:`sklearn.metrics.roc_auc_score`, on ranks.

    References
    ----------
    D. Hendrycks, K. Gimpel. "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks". ICLR, 2017.

    Examples
    --------
    >>> from skclip.metrics import ood_auroc
    >>> ood_auroc([0.1, 0.2, 0.4], [0.3, 0.9])
    0.8333333333333334
    """
    inside, outside = _check_scores(score_in, "score_in"), _check_scores(score_out, "score_out")
    is_outside = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(is_outside, rankdata(np.concatenate([inside, outside]))))


def _check_scores(scores, name):
    scores = np.asarray(scores, dtype=np.float64)
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
