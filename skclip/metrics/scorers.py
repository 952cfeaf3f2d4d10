"""Metrics as scorers: by name, for grid search and cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import brier_score_loss, log_loss

from skclip.metrics.calibration import (
    classwise_calibration_error,
    confidence_bias,
    expected_calibration_error,
    maximum_calibration_error,
)
from skclip.metrics.detection import error_detection_auroc
from skclip.metrics.probabilities import Float, Labels, Weights, check_has_probabilities, in_order
from skclip.metrics.reliability_coverage import THRESHOLDS, reliable_coverage
from skclip.metrics.risk_coverage import coverage_at_risk
from skclip.metrics.risk_coverage_area import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    excess_aurc,
)
from skclip.metrics.smooth_calibration import smooth_calibration_error
from skclip.utils.labels import as_labels, check_spelling
from skclip.utils.sklearn_private import BaseScorer

__all__ = ["get_scorer", "get_scorer_names"]


def get_scorer(name: str) -> Callable[..., float]:
    """A scorer for the `scoring` parameter of scikit-learn, by name.

    Parameters
    ----------
    name : str
        One of :func:`get_scorer_names`. Names that begin with ``neg_`` are errors with
        their sign reversed, so that greater is always better.

        - "neg_log_loss" (nats) and "neg_brier" (in [0, 2]): proper scores of all
          probabilities.
        - "neg_ece", "neg_adaptive_ece", "neg_mce", "neg_classwise_ece": calibration errors with
          10 bins; "neg_smooth_ece": without bins.
        - "neg_absolute_confidence_bias": how far mean confidence and accuracy are apart, in
          either direction.
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


def get_scorer_names() -> list[str]:
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

    def __init__(
        self, name: str, metric: Callable[..., float], sign: int, kwargs: dict[str, Any]
    ) -> None:
        super().__init__(metric, sign, kwargs, response_method="predict_proba")
        self._name = name

    def __repr__(self) -> str:
        return f"get_scorer({self._name!r})"

    def _score(
        self, method_caller: Any, estimator: Any, X: Any, y_true: ArrayLike, **kwargs: Any
    ) -> float:
        check_has_probabilities(estimator)
        check_spelling(as_labels(y_true, "y_true"), estimator.classes_, "y_true")
        if len(estimator.classes_) > 2:
            # The cache that all scorers of an evaluation share: one pass over the images.
            proba = method_caller(estimator, "predict_proba", X, pos_label=None)
        else:  # of two columns the cache holds one, and does not say which
            proba = estimator.predict_proba(X)
        proba, _ = in_order(proba, estimator.classes_, y_true)
        labels, proba = _with_unknown_classes(estimator.classes_, _in_double(proba), y_true)
        value = self._score_func(y_true, proba, labels=labels, **self._kwargs, **kwargs)
        return float(self._sign * value)


def _in_double(given: ArrayLike) -> Float:
    """float64, with rows that sum to 1 as float64 rows do, for scikit-learn's own metrics."""
    proba = np.asarray(given)
    if proba.dtype == np.float64:
        return proba
    double: Float = proba.astype(np.float64)
    double /= double.sum(axis=1, keepdims=True)
    return double


def _with_unknown_classes(
    classes: NDArray[Any], proba: Float, y_true: ArrayLike
) -> tuple[NDArray[Any], Float]:
    """Sorted labels of both, and probabilities that are 0 for those not in `classes`."""
    labels = np.union1d(classes, as_labels(y_true, "y_true"))
    if len(labels) == len(classes):
        return classes, proba
    wide = np.zeros((len(proba), len(labels)))
    wide[:, np.searchsorted(labels, classes)] = proba
    return labels, wide


# scikit-learn's own metrics do not know problems of one class, which always have score 0.


def _log_loss(y_true: ArrayLike, y_proba: Float, *, labels: NDArray[Any], **kwargs: Any) -> float:
    return log_loss(y_true, y_proba, labels=labels, **kwargs) if len(labels) > 1 else 0.0


def _brier(y_true: ArrayLike, y_proba: Float, *, labels: NDArray[Any], **kwargs: Any) -> float:
    return brier_score_loss(y_true, y_proba, labels=labels, **kwargs) if len(labels) > 1 else 0.0


def _absolute_confidence_bias(*args: Any, **kwargs: Any) -> float:
    return abs(confidence_bias(*args, **kwargs))


def _error_detection(*args: Any, **kwargs: Any) -> float:
    """Chance where there is nothing to tell apart: NaN would disqualify perfect predictions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        area = error_detection_auroc(*args, **kwargs)
    return 0.5 if np.isnan(area) else area


def _coverage_at(
    y_true: ArrayLike,
    y_proba: Float,
    *,
    threshold: float,
    labels: Labels,
    sample_weight: Weights = None,
) -> float:
    found = reliable_coverage(y_true, y_proba, threshold, labels, sample_weight)
    return float(found.sample_coverage[0]) if found.reliable[0] else 0.0


# name -> (metric, sign, further arguments of the metric)
_SCORERS: dict[str, tuple[Callable[..., float], int, dict[str, Any]]] = {
    "neg_log_loss": (_log_loss, -1, {}),
    "neg_brier": (_brier, -1, {"scale_by_half": False}),
    "neg_ece": (expected_calibration_error, -1, {}),
    "neg_adaptive_ece": (expected_calibration_error, -1, {"strategy": "quantile"}),
    "neg_mce": (maximum_calibration_error, -1, {}),
    "neg_classwise_ece": (classwise_calibration_error, -1, {}),
    "neg_smooth_ece": (smooth_calibration_error, -1, {}),
    "neg_absolute_confidence_bias": (_absolute_confidence_bias, -1, {}),
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
