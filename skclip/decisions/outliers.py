"""How much a row looks like none of the classes, from what a fitted classifier offers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, logsumexp, softmax
from sklearn.utils.validation import check_is_fitted

from skclip.adapters.base import BaseAdapterClassifier
from skclip.decisions.wrapped import last_step, unwrap
from skclip.utils.rows import unit_rows

__all__ = ["KINDS", "KINDS_OF_LOGITS", "ood_score", "resolved_kind"]


def ood_score(estimator: Any, X: ArrayLike, kind: str = "auto") -> np.ndarray:
    r"""Score of every row for not belonging to any class: larger is more outlying.

    A post-hoc score: nothing is fitted, and no outliers are needed. It ranks;
    :class:`skclip.OpenSetClassifier` has a threshold with a stated rate of false alarms. The sign
    is the opposite of scikit-learn's outlier detectors, whose `score_samples` is large for inliers.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier, or a pipeline that ends in one, whose other steps then
        transform X.
    X : array-like or list of n_samples inputs
        What `estimator` predicts from.
    kind : str, default="auto"
        What to look at:

        - "auto": "energy" where the classifier has a logit for every class, which is best on
          average over the tasks of the user guide of what needs no draws; else "entropy".
        - "msp": one minus the largest class probability [1]_. Of any classifier.
        - "entropy": of the class probabilities, in nats. Of any classifier.
        - "energy": :math:`-\log \sum_c \exp z_c` of the logits [2]_, which sees the scale that
          the softmax divides out. Of adapters, and of classifiers with a score per class.
        - "mutual_information": of label and weights, in nats: how much draws from the
          posterior disagree, ``acquisition(X, "bald")``. Of classifiers with a posterior.
        - "prototype_distance": one minus the cosine to the nearest text prototype, as given and
          not adapted [3]_. Of classifiers with prototypes.

    Returns
    -------
    ndarray of shape (n_samples,)
        Scores; only their order compares across kinds.

    Raises
    ------
    ValueError
        If `kind` is unknown, or needs what the classifier does not have.

    Notes
    -----
    Which kind is best depends on what comes in; the user guide has a table on real features.
    Scores that include the class boundaries (msp, entropy, mutual information) are also high for
    ambiguous rows of known classes.

    References
    ----------
    .. [1] D. Hendrycks, K. Gimpel, "A baseline for detecting misclassified and
       out-of-distribution examples in neural networks", ICLR 2017.
    .. [2] W. Liu, X. Wang, J. Owens, Y. Li, "Energy-based out-of-distribution detection",
       NeurIPS 2020.
    .. [3] Y. Ming, Z. Cai, J. Gu, Y. Sun, W. Li, Y. Li, "Delving into out-of-distribution
       detection with vision-language representations", NeurIPS 2022.

    Examples
    --------
    >>> from skclip import BayesAdapterClassifier, ood_score
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 5, random_state=0)
    >>> classifier = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    >>> known = ood_score(classifier, data.X_test, "prototype_distance")
    >>> strange = ood_score(classifier, -data.X_test, "prototype_distance")
    >>> bool(strange.min() > known.max())
    True
    """
    if kind not in ("auto", *KINDS):
        choices = ", ".join(map(repr, ("auto", *KINDS)))
        raise ValueError(f"kind must be one of {choices}; got {kind!r}.")
    check_is_fitted(estimator)
    kind = resolved_kind(kind, estimator)
    estimator, X = unwrap(estimator, X)
    return _SCORES[kind](estimator, X)


def resolved_kind(kind: str, estimator: Any) -> str:
    """What "auto" stands for."""
    if kind != "auto":
        return kind
    return "energy" if _has_logits(last_step(estimator)) else "entropy"


def _has_logits(estimator: Any) -> bool:
    """Whether there is a number for every class that is not normalised over the classes."""
    if isinstance(estimator, BaseAdapterClassifier):
        return True
    is_linear = hasattr(estimator, "decision_function") and len(estimator.classes_) > 2
    return is_linear and not hasattr(estimator, "estimator_")


def _msp(estimator: Any, X: ArrayLike) -> np.ndarray:
    return 1 - estimator.predict_proba(X).max(axis=1)


def _entropy(estimator: Any, X: ArrayLike) -> np.ndarray:
    return entr(estimator.predict_proba(X)).sum(axis=1)


def _energy_of_logits(logits: np.ndarray) -> np.ndarray:
    return -logsumexp(logits, axis=1)


def _energy(estimator: Any, X: ArrayLike) -> np.ndarray:
    if isinstance(estimator, BaseAdapterClassifier):
        return _energy_of_logits(estimator.logits(X))
    if hasattr(estimator, "decision_function"):
        scores = np.asarray(estimator.decision_function(X))
        if scores.ndim == 2:
            return _energy_of_logits(scores)
    raise ValueError(
        "kind='energy' needs a logit for every class; got "
        f"{type(estimator).__name__}, which has none. Use kind='msp' or 'entropy'."
    )


def _mutual_information(estimator: Any, X: ArrayLike) -> np.ndarray:
    if not hasattr(estimator, "acquisition"):
        raise ValueError(
            "kind='mutual_information' needs a posterior over the weights; got "
            f"{type(estimator).__name__}, which has none. Use BayesAdapterClassifier."
        )
    return estimator.acquisition(X, kind="bald")


def _prototype_distance(estimator: Any, X: ArrayLike) -> np.ndarray:
    text = getattr(estimator, "text_prototypes_", None)
    if text is None:
        raise ValueError(
            "kind='prototype_distance' needs a classifier with prototypes; got "
            f"{type(estimator).__name__} without. Use kind='msp' or 'entropy'."
        )
    return 1 - (unit_rows(X, "X") @ unit_rows(text, "prototypes").T).max(axis=1)


_SCORES = {
    "msp": _msp,
    "entropy": _entropy,
    "energy": _energy,
    "mutual_information": _mutual_information,
    "prototype_distance": _prototype_distance,
}
KINDS = tuple(_SCORES)
# The same of logits (n, c), for models that are not estimators.
KINDS_OF_LOGITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "msp": lambda logits: 1 - softmax(logits, axis=1).max(axis=1),
    "entropy": lambda logits: entr(softmax(logits, axis=1)).sum(axis=1),
    "energy": _energy_of_logits,
}
