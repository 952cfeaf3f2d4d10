"""Metrics as scorers: by name, for grid search and cross-validation."""

import numpy as np
from sklearn.metrics import brier_score_loss, log_loss

from skclip.metrics.calibration import (
    classwise_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from skclip.metrics.probabilities import check_top_label
from skclip.metrics.reliability_coverage import THRESHOLDS, reliable_coverage
from skclip.metrics.risk_coverage import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    coverage_at_risk,
    error_detection_auroc,
    excess_aurc,
)
from skclip.utils.sklearn_private import BaseScorer

__all__ = ["get_scorer", "get_scorer_names"]


def get_scorer(name):
    """A scorer for the `scoring` parameter of scikit-learn, by name.

    Parameters
    ----------
    name : str
        One of :func:`get_scorer_names`. Names that begin with ``neg_`` are errors with
        their sign reversed, so that greater is always better.

        - "neg_log_loss" (nats) and "neg_brier" (in [0, 2]): proper scores of all
          probabilities.
        - "neg_ece", "neg_adaptive_ece", "neg_mce", "neg_classwise_ece": calibration errors with
          10 bins.
        - "neg_aurc", "neg_excess_aurc", "neg_augrc": how errors fall as unsure
          predictions are rejected.
        - "error_detection_auroc": whether errors have a low confidence; 0.5 where all
          predictions are right or all are wrong.
        - "coverage_at_80", ..., "coverage_at_99": share of the samples with a
          confidence of at least 80 % (..., 99 %), if their accuracy is at least that, else 0
          (see :func:`reliability_coverage_table`).
        - "coverage_at_risk_1", "coverage_at_risk_2", "coverage_at_risk_5": largest share
          with at most 1 % (2 %, 5 %) of errors.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)`` that returns a float. It needs
        `predict_proba` and `classes_`, can be pickled, and shares one prediction with the
        other scorers of a multi-metric evaluation.

    Raises
    ------
    ValueError
        If there is no scorer of that name.

    See Also
    --------
    sklearn.metrics.get_scorer : scikit-learn's own.

    Notes
    -----
    With few images per class, folds miss classes. A class that the estimator knows and the
    fold lacks keeps its column, because columns are named by ``estimator.classes_``. A
    class that the fold has and the estimator does not know has probability 0: its samples
    count as wrong, and their log-loss is that of the smallest probability that
    :func:`sklearn.metrics.log_loss` admits, about 36 nats.

    The score of a fold is that of its samples alone. Of few samples, the calibration
    errors and coverages say little, and their means over folds are biased: see
    :doc:`/metrics` for what to optimise.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skclip import BayesAdapterClassifier
    >>> from skclip.datasets import make_clip_features
    >>> from skclip.metrics import get_scorer
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> search = GridSearchCV(
    ...     BayesAdapterClassifier(data.prototypes),
    ...     {"prior_precision": [1.0, 100.0]},
    ...     scoring=get_scorer("neg_brier"),
    ...     cv=2,
    ... )
    >>> bool(-2 < search.fit(data.X, data.y).best_score_ < 0)
    True
    """
    if name not in _SCORERS:
        raise ValueError(
            f"name must be one of {', '.join(get_scorer_names())}; got {name!r}. "
            "scikit-learn's own are in sklearn.metrics.get_scorer."
        )
    return _ProbabilityScorer(name, *_SCORERS[name])


def get_scorer_names():
    """Names that :func:`get_scorer` knows.

    Returns
    -------
    names : list of str
        Sorted.

    Examples
    --------
    >>> from skclip.metrics import get_scorer_names
    >>> "neg_aurc" in get_scorer_names()
    True
    """
    return sorted(_SCORERS)


class _ProbabilityScorer(BaseScorer):
    """A metric of probabilities whose columns are the classes of the estimator."""

    def __init__(self, name, metric, sign, kwargs):
        super().__init__(metric, sign, kwargs, response_method="predict_proba")
        self._name = name

    def __repr__(self):
        return f"get_scorer({self._name!r})"

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"estimator must have predict_proba; got {type(estimator).__name__}, which has "
                "not. Pass a probabilistic classifier."
            )
        if len(estimator.classes_) > 2:
            # The cache that all scorers of an evaluation share: one pass over the images.
            proba = method_caller(estimator, "predict_proba", X, pos_label=None)
        else:  # of two columns the cache holds one, and does not say which
            proba = estimator.predict_proba(X)
        labels, proba = _with_unknown_classes(estimator.classes_, _in_double(proba), y_true)
        return self._sign * self._score_func(y_true, proba, labels=labels, **self._kwargs, **kwargs)


def _in_double(proba):
    """float64, with rows that sum to 1 as float64 rows do, for scikit-learn's own metrics."""
    proba = np.asarray(proba)
    if proba.dtype == np.float64:
        return proba
    proba = proba.astype(np.float64)
    return proba / proba.sum(axis=1, keepdims=True)


def _with_unknown_classes(classes, proba, y_true):
    """Sorted labels of both, and probabilities that are 0 for those not in `classes`."""
    labels = np.union1d(classes, np.asarray(y_true))
    if len(labels) == len(classes):
        return classes, proba
    wide = np.zeros((len(proba), len(labels)))
    wide[:, np.searchsorted(labels, classes)] = proba
    return labels, wide


# scikit-learn's own metrics do not know problems of one class, which always have score 0.


def _log_loss(y_true, y_proba, *, labels, sample_weight=None):
    if len(labels) == 1:
        return 0.0
    return log_loss(y_true, y_proba, labels=labels, sample_weight=sample_weight)


def _brier(y_true, y_proba, *, labels, sample_weight=None):
    if len(labels) == 1:
        return 0.0
    return brier_score_loss(
        y_true, y_proba, labels=labels, sample_weight=sample_weight, scale_by_half=False
    )


def _adaptive_ece(y_true, y_proba, *, labels, sample_weight=None):
    return expected_calibration_error(
        y_true, y_proba, strategy="quantile", labels=labels, sample_weight=sample_weight
    )


def _error_detection(y_true, y_proba, *, labels, sample_weight=None):
    """Chance where there is nothing to tell apart: NaN would disqualify perfect predictions."""
    _, correct, _ = check_top_label(y_true, y_proba, labels, sample_weight)
    if correct.all() or not correct.any():
        return 0.5
    return error_detection_auroc(y_true, y_proba, labels=labels, sample_weight=sample_weight)


def _coverage_at(y_true, y_proba, *, threshold, labels, sample_weight=None):
    found = reliable_coverage(y_true, y_proba, threshold, labels, sample_weight)
    return float(found.sample_coverage[0]) if found.reliable[0] else 0.0


# name -> (metric, sign, further arguments of the metric)
_SCORERS = {
    "neg_log_loss": (_log_loss, -1, {}),
    "neg_brier": (_brier, -1, {}),
    "neg_ece": (expected_calibration_error, -1, {}),
    "neg_adaptive_ece": (_adaptive_ece, -1, {}),
    "neg_mce": (maximum_calibration_error, -1, {}),
    "neg_classwise_ece": (classwise_calibration_error, -1, {}),
    "neg_aurc": (area_under_risk_coverage, -1, {}),
    "neg_excess_aurc": (excess_aurc, -1, {}),
    "neg_augrc": (area_under_generalized_risk_coverage, -1, {}),
    "error_detection_auroc": (_error_detection, 1, {}),
    **{
        f"coverage_at_{round(100 * threshold)}": (_coverage_at, 1, {"threshold": threshold})
        for threshold in THRESHOLDS
    },
    **{
        f"coverage_at_risk_{percent}": (coverage_at_risk, 1, {"target_risk": percent / 100})
        for percent in (1, 2, 5)
    },
}
