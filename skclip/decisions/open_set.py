"""A classifier that says where an image is of none of its classes."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from skclip.adapters.base import fit_method
from skclip.adapters.images import group_codes
from skclip.decisions.abstention import (
    abstention_label,
    checked_labels,
    with_abstentions,
)
from skclip.decisions.left_out_fits import LeftOutFits, fitted_on, leave_out
from skclip.decisions.outliers import KINDS, KINDS_OF_LOGITS, ood_score, resolved_kind
from skclip.decisions.unseen import check_unseen_features
from skclip.decisions.wrapped import PassesProbabilities, unwrap
from skclip.exceptions import GuaranteeWarning
from skclip.utils.labels import check_spelling
from skclip.utils.sklearn_private import HasMethods, Interval, StrOptions, safe_indexing

__all__ = ["OpenSetClassifier", "score_threshold"]


class OpenSetClassifier(PassesProbabilities, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    r"""A classifier that says "unknown", with a stated rate of false alarms.

    An image is unknown where its :func:`skclip.ood_score` exceeds a threshold. The threshold is
    one that a share `false_alarm_rate` of images of known classes exceeds, and it comes from
    the support alone: every support image is scored by a model that was fitted without it, since
    the classifier knows the images that it was fitted on. Nothing is known of the unknown, so
    that nothing is said of how much of it is found.

    **What is guaranteed.** With a :class:`~sklearn.frozen.FrozenEstimator`, whose calibration rows
    it was not fitted on: if these rows and a new one of a known class are independent draws of
    one distribution, the probability of a false alarm is at most `false_alarm_rate`, over
    calibration rows and the new row together, for every classifier.

    **What is not.** From the support alone the rate is an *estimate* (``is_guaranteed_`` is False):
    the scores of left-out images are those of models with an image less, and so are larger.
    Measured rates are at :doc:`/guarantees`; with few images per class false alarms are
    rarer than stated. The rate is that of images whose classes are as frequent as in
    the support; where a class that is hard to recognise becomes more frequent, so do false alarms.

    Parameters
    ----------
    estimator : classifier with predict_proba
        Or a pipeline that ends in one. A :class:`~sklearn.frozen.FrozenEstimator` of a fitted
        classifier is not fitted again: all rows calibrate it.
    false_alarm_rate : float in (0, 1), default=0.05
        Share of images of known classes that may be called unknown.
    kind : str, default="auto"
        What :func:`skclip.ood_score` looks at.
    outlier_label : "auto" or label, default="auto"
        What :meth:`predict` returns in place of a class. "auto" is ``"unknown"`` for string
        labels and -1 for numbers; it must not be a class.
    method : {"auto", "step", "refit"}, default="auto"
        How left-out models are made: by one Newton step, which "auto" takes where there is one and
        `kind` is a function of logits, or by fitting again. Without effect with a frozen estimator.
    cv : int, default=None
        Folds to fit again, at least 2, see :class:`skclip.PredictionSetClassifier`.
    n_jobs : int, default=None
        Fits at a time, see :class:`joblib.Parallel`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes of the estimator, without the label of outliers.
    estimator_ : classifier
        Fitted on the whole support.
    threshold_ : float
        Rows with a larger score are unknown; infinite where there are too few images to say so.
    outlier_label_ : label
    kind_ : str
        What the score looks at.
    method_ : {"step", "refit", "calibration"}
        Where the scores come from.
    is_guaranteed_ : bool
        Whether the rate is proved, not estimated.
    n_support_ : int
        Number of images.
    support_scores_ : ndarray of shape (n_samples,)
        Score of every row by a model without its image.
    n_features_in_ : int
        Only where the estimator has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Only where the estimator has it.

    See Also
    --------
    ood_score : The score, which ranks.
    SelectiveClassifier : Abstains where the classifier is likely to be wrong.

    Notes
    -----
    With n images a rate below 1 / (n + 1) cannot be had: nothing is called unknown, with a
    warning. 19 images are needed for 5 %. The threshold is the largest score that more than
    :math:`\alpha (n + 1) - 1` images reach, views of one image sharing a vote.

    With one image per class a model without it knows the class by its text only, if it has one:
    thresholds are too high, and fewer outliers are found. Without a text it does not know
    the class at all, and a threshold means nothing; take spare rows and a frozen estimator.

    A step costs one prediction of the support, refitting a fit per fold.

    References
    ----------
    .. [1] W. J. Scheirer, A. Rocha, A. Sapkota, T. E. Boult, "Toward open set recognition", IEEE
       Transactions on Pattern Analysis and Machine Intelligence, 2013.
    .. [2] S. Bates, E. Candes, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with conformal
       p-values", Annals of Statistics, 2023.

    Examples
    --------
    >>> from skclip import BayesAdapterClassifier, OpenSetClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 10, n_test_per_class=100, random_state=0)
    >>> classifier = OpenSetClassifier(BayesAdapterClassifier(data.prototypes))
    >>> classifier = classifier.fit(data.X, data.y)
    >>> bool(classifier.is_outlier(data.X_test).mean() < 0.06)
    True
    >>> classifier.predict(-data.X_test[:4])
    array([-1, -1, -1, -1])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "kind": [StrOptions({"auto", *KINDS})],
        "outlier_label": "no_validation",
        "method": [StrOptions({"auto", "step", "refit"})],
        "cv": [Interval(Integral, 2, None, closed="left"), None],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: Any,
        false_alarm_rate: float = 0.05,
        *,
        kind: str = "auto",
        outlier_label: Any = "auto",
        method: str = "auto",
        cv: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.false_alarm_rate = false_alarm_rate
        self.kind = kind
        self.outlier_label = outlier_label
        self.method = method
        self.cv = cv
        self.n_jobs = n_jobs

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit the estimator, and choose the threshold by the models without some images.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
            The support set; of a frozen estimator rows that it was not fitted on.
        y : array-like of shape (n_samples,)
            Labels, all of known classes.
        groups : array-like of shape (n_samples,), default=None
            Image of each row where an image has several (augmented views); they are left out
            together, count as one image, and are passed to the estimator if its `fit` takes them.

        Returns
        -------
        self : OpenSetClassifier

        Raises
        ------
        ValueError
            If the estimator has no `predict_proba` or not what `kind` needs, a group has several
            labels, ``method="step"`` is not possible, or there are fewer images than folds.

        Warns
        -----
        GuaranteeWarning
            If there are too few images for `false_alarm_rate`: nothing is called unknown. Also if a
            frozen classifier of this package was fitted on the rows.
        """
        self._check_probabilistic()
        X, y, groups = indexable(X, y, groups)
        y = checked_labels(y, warn=True)
        images = np.arange(len(y)) if groups is None else group_codes(groups, y)
        codes = None if groups is None else images
        self.is_guaranteed_ = isinstance(self.estimator, FrozenEstimator)
        if self.is_guaranteed_:
            self._publish_estimator(clone(self.estimator).fit(X, y))
            check_spelling(y, self.classes_)
            check_unseen_features(self.estimator_, X)
        else:
            self._publish_estimator(fitted_on(self.estimator, X, y, codes))
        self.outlier_label_ = abstention_label(
            self.outlier_label, self.classes_, parameter="outlier_label", text="unknown"
        )
        self.kind_ = resolved_kind(self.kind, self.estimator_)
        self.support_scores_ = self._support_scores(X, y, codes)
        self.n_support_ = int(images.max()) + 1
        weight = 1.0 / np.bincount(images)[images]
        self.threshold_ = score_threshold(self.support_scores_, weight, self.false_alarm_rate)
        if np.isinf(self.threshold_):
            fewest = int(np.ceil(1 / self.false_alarm_rate - 1e-9)) - 1
            warnings.warn(
                f"A false_alarm_rate of {self.false_alarm_rate:g} needs at least {fewest} images; "
                f"got {self.n_support_}. Nothing will be called unknown: pass more images, or "
                "raise false_alarm_rate.",
                GuaranteeWarning,
                stacklevel=2,
            )
        return self

    def _support_scores(self, X: Any, y: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """(n,) scores of the rows, by models that have not seen them."""
        if self.is_guaranteed_:
            self.method_ = "calibration"
            return ood_score(self.estimator_, X, self.kind_)
        of_logits = KINDS_OF_LOGITS.get(self.kind_)
        method = self.method if of_logits else "refit"
        fits = leave_out(
            *(self.estimator, self.estimator_, X, y, groups),
            method=method,
            cv=self.cv,
            n_jobs=self.n_jobs,
        )
        self.method_ = fits.method
        if fits.step is not None and of_logits is not None:
            last, rows = unwrap(self.estimator_, X)
            images = np.arange(len(y)) if groups is None else groups
            return of_logits(fits.step.own_logits(last, rows, images))
        return self._scores_of_refits(fits, X)

    def _scores_of_refits(self, fits: LeftOutFits, X: Any) -> np.ndarray:
        assigned = np.asarray(fits.folds)
        scores = np.empty(len(assigned))
        for k, model in enumerate(fits.models):
            rows = np.flatnonzero(assigned == k)
            scores[rows] = ood_score(model, safe_indexing(X, rows), self.kind_)
        return scores

    def is_outlier(self, X: ArrayLike) -> np.ndarray:
        """Whether each row is of none of the classes.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,), bool
        """
        check_is_fitted(self)
        return ood_score(self.estimator_, X, self.kind_) > self.threshold_

    def accept(self, X: ArrayLike) -> np.ndarray:
        """Whether each row is of one of the classes: what is not an outlier.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,), bool
        """
        return ~self.is_outlier(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class, or the label of outliers.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries are in ``classes_`` or equal to ``outlier_label_``.
        """
        check_is_fitted(self)
        return with_abstentions(self.estimator_.predict(X), self.is_outlier(X), self.outlier_label_)


def score_threshold(scores: np.ndarray, weight: np.ndarray, rate: float) -> float:
    """Largest score that more than rate (n + 1) - 1 of n images reach; infinite where that is < 0.

    A new exchangeable row exceeds it with a probability of at most `rate`: its rank from above
    among n + 1 is then at most rate (n + 1).
    """
    allowed = rate * (weight.sum() + 1) - 1 + 1e-9
    if allowed < 0:
        return np.inf
    order = np.argsort(-scores, kind="stable")
    first = int(np.argmax(np.cumsum(weight[order]) > allowed))
    return float(scores[order[first]])
