"""A classifier that abstains where it is not sure enough."""

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Bunch, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skclip.adapters.base import fit_method
from skclip.adapters.images import group_codes
from skclip.decisions.abstention import (
    SelectiveScore,
    abstention_label,
    checked_labels,
    score_accepted,
    with_abstentions,
)
from skclip.decisions.drift import Drift, compare_confidences
from skclip.decisions.held_out import held_out_rows, tell_of_held_out
from skclip.decisions.left_out_scores import fit_and_leave_out
from skclip.decisions.risk_control import certify, coverage_threshold, nothing_certified
from skclip.decisions.selection_scores import SELECTION_SCORES, called_score
from skclip.decisions.unseen import check_unseen_features
from skclip.decisions.wrapped import PassesProbabilities
from skclip.exceptions import GuaranteeWarning
from skclip.utils.labels import check_spelling
from skclip.utils.messages import listing
from skclip.utils.sklearn_private import (
    HasMethods,
    Interval,
    StrOptions,
    check_method_params,
    check_sample_weight,
    safe_indexing,
)

__all__ = ["SelectiveClassifier"]


class SelectiveClassifier(PassesProbabilities, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    r"""A classifier that abstains where its largest probability is below a threshold.

    It accepts the rows with :math:`\kappa(x) = \max_c p(c \mid x) \ge t` and abstains on the
    others. The threshold t is given, or chosen on calibration rows that the estimator was not
    fitted on: for a share of accepted rows, or so that the share of wrong predictions
    among the accepted rows stays below a target, with a guarantee.

    **What is guaranteed** with `target_risk` r and `confidence_level` 1 - delta: if the
    calibration rows and new rows are independent draws of one distribution, then

    .. math::
        P\bigl(P(\hat y \ne y \mid \kappa(x) \ge t) \le r\bigr) \ge 1 - \delta ,

    the inner probability over a new row and the outer one over the calibration rows: at most
    a share delta of all calibration sets gives a threshold whose accepted rows are wrong
    more often than r. It needs no calibrated probabilities, no model of the errors and no large
    sample, and says nothing about single classes, single rows, or data that have
    changed (:meth:`check_drift`). Abstaining on everything keeps the promise: this is what
    happens, with a warning, where the rows are too few. **With** `coverage` q a
    new row is accepted with probability q or more, calibration rows included in the
    randomness.

    **Without spare rows**, ``calibration="left_out"`` fits on all rows and calibrates on the same,
    each judged by a model without it: an *estimate* (``is_guaranteed_`` is False). It is not good
    enough where new images are harder than the support, and with less than 8 images per class the
    threshold 1 - r of a calibrated classifier accepts more; see :doc:`/guarantees`.

    Parameters
    ----------
    estimator : classifier with predict_proba
        Fitted on one part of the rows and calibrated on the other. A
        :class:`~sklearn.frozen.FrozenEstimator` of a fitted classifier is not fitted again: all
        rows calibrate it, and none of them should have been used to fit it.
    threshold : float in [0, 1], default=None
        Accept from this confidence on. The estimator is fitted on all rows; there is no
        calibration. One of `threshold`, `target_risk` and `coverage` must be given.
    target_risk : float in (0, 1), default=None
        Largest tolerable share of wrong predictions among the accepted rows.
    coverage : float in (0, 1], default=None
        Share of rows to accept.
    confidence_level : float in (0, 1), default=0.95
        Probability with which `target_risk` is kept.
    selection_score : {"confidence", "margin"} or callable, default="confidence"
        What is compared with the threshold: the largest probability, the log-ratio of the two
        largest ones, or ``selection_score(estimator_, X)`` of shape (n_samples,), larger for rows
        that are surer; it must not learn from the calibration rows. The guarantee holds for each.
    calibration : {"held_out", "left_out"}, default="held_out"
        Rows that calibrate: those that are not fitted on, or all, each by a model without it (see
        :class:`skclip.PredictionSetClassifier`). "left_out" takes no function as `selection_score`,
        no frozen estimator, and no parameters of `fit` but `groups`.
    calibration_size : float in (0, 1) or int, default=0.5
        Share or number of the rows that calibrate, drawn at random and not stratified, so that
        they are a sample of what is to come. Without effect with a frozen estimator, a
        given threshold, or rows that are left out.
    abstain_label : "auto" or label, default="auto"
        What :meth:`predict` returns in place of a class. "auto" is ``"abstain"`` for
        string labels and -1 for numbers; it must not be a class. A label of
        another type than the classes makes :meth:`predict` return objects.
    random_state : int, RandomState or None, default=None
        Draws the calibration rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes of the estimator, without the label of abstention.
    estimator_ : classifier
        The fitted estimator.
    threshold_ : float
        Rows with at least this confidence are accepted; infinite where nothing is.
    abstain_label_ : label
    n_calibration_ : int
        Number of calibration rows; 0 with a given threshold.
    is_guaranteed_ : bool
        Whether the goal is kept as stated above; False of an estimate and of a given threshold.
    calibration_score_ : SelectiveScore
        Risk and coverage on the calibration rows, on which the threshold was chosen; only
        after calibration. It is optimistic; use :meth:`selective_score` on other rows.
    calibration_confidence_ : ndarray of shape (n_calibration,)
        Confidences of the calibration rows, increasing; only after calibration.
    calibration_class_counts_ : ndarray of shape (n_classes,)
        Calibration rows of every class; only after calibration.
    n_features_in_ : int
        Only where the estimator has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Only where the estimator has it.

    See Also
    --------
    skclip.metrics.RiskCoverageDisplay : Risk at every coverage, without a guarantee.
    skclip.metrics.selective_table : What is accepted of every class, or group of rows.

    Notes
    -----
    The threshold for a risk comes from Learn-then-Test [1]_ with exact binomial tests from strict
    to loose: the calibration rows in order of confidence, one more at a time, as long as the
    errors among them reject a risk above the target. Several such chains, which start with a
    quarter, with three fifths and with all of the rows, share delta, and hand their shares on as
    long as they reject, so that a wrong label among the most confident rows does not end
    everything. At least :math:`\log \delta / \log(1 - r)` rows are needed: 59, 149 and 299
    for 5, 2 and 1 % at a confidence level of 0.95; with fewer than twice as many there is one
    chain. Rows with equal confidence are accepted together. The proof is in
    ``skclip.decisions.risk_control``. Selective guarantees of this kind are due to [2]_,
    whose bound pays for its binary search with a smaller coverage.

    Choosing among several selective classifiers on the calibration rows (a grid search
    over `target_risk`, say) voids the guarantee of the chosen one; choosing the
    parameters of the estimator before calibration does not. Sample weights go to the
    estimator; calibration counts rows. Rows that are views of one image are not
    independent: calibrate with one view of each, as "left_out" does with the first of `groups`.

    References
    ----------
    .. [1] A. N. Angelopoulos, S. Bates, E. J. Candes, M. I. Jordan, L. Lei, "Learn then test:
       calibrating predictive algorithms to achieve risk control", Annals of Applied
       Statistics, 2025.
    .. [2] Y. Geifman, R. El-Yaniv, "Selective classification for deep neural networks",
       NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from skclip import BayesAdapterClassifier, SelectiveClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 10, n_test_per_class=100, random_state=0)
    >>> classifier = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    >>> selective = SelectiveClassifier(FrozenEstimator(classifier), target_risk=0.05)
    >>> selective = selective.fit(data.X_test[::2], data.y_test[::2])
    >>> risk, coverage, *_ = selective.selective_score(data.X_test[1::2], data.y_test[1::2])
    >>> bool(risk <= 0.05), bool(0.5 < coverage < 1)
    (True, True)
    >>> selective.predict(data.X_test[15:24])
    array([-1,  0,  0,  0,  0,  0,  0,  0, -1])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "threshold": [Interval(Real, 0, 1, closed="both"), None],
        "target_risk": [Interval(Real, 0, 1, closed="neither"), None],
        "coverage": [Interval(Real, 0, 1, closed="right"), None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "selection_score": [StrOptions(set(SELECTION_SCORES)), callable],
        "calibration": [StrOptions({"held_out", "left_out"})],
        "calibration_size": [
            Interval(Real, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "abstain_label": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        threshold: float | None = None,
        target_risk: float | None = None,
        coverage: float | None = None,
        confidence_level: float = 0.95,
        selection_score: str | Callable[[Any, Any], ArrayLike] = "confidence",
        calibration: str = "held_out",
        calibration_size: float = 0.5,
        abstain_label: Any = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.threshold = threshold
        self.target_risk = target_risk
        self.coverage = coverage
        self.confidence_level = confidence_level
        self.selection_score = selection_score
        self.calibration = calibration
        self.calibration_size = calibration_size
        self.abstain_label = abstain_label
        self.random_state = random_state

    # -- fitting --------------------------------------------------------------------

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> Self:
        """Fit the estimator, and choose the threshold on the calibration rows.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
            What the estimator takes: features, or paths for a pipeline that reads images.
        y : array-like of shape (n_samples,)
            True labels.
        **fit_params : dict
            Passed to the estimator's `fit`, cut to its rows; routed where metadata
            routing is enabled.

        Returns
        -------
        self : SelectiveClassifier

        Raises
        ------
        ValueError
            If not exactly one of `threshold`, `target_risk` and `coverage` is given, there is no
            `predict_proba`, or labels are not written as the classes of a frozen estimator.

        Warns
        -----
        GuaranteeWarning
            If no threshold is certified to keep `target_risk`: everything is rejected. The
            message says about how many calibration rows would be needed. If a class has no
            calibration row, so that nothing was seen of it. Also if a frozen classifier of this
            package was fitted on the rows (:func:`skclip.check_unseen`).
        """
        self._check_goal()
        X, y = indexable(X, y)
        y = checked_labels(y, warn=True)
        fit_params = self._route(fit_params)
        if self.threshold is not None:
            self._fit_estimator(X, y, fit_params)
            self.threshold_, self.n_calibration_ = float(self.threshold), 0
            self.is_guaranteed_ = False
            return self
        if self.calibration == "left_out":
            self._calibrate(*self._leave_out(X, y, fit_params))
            return self
        if isinstance(self.estimator, FrozenEstimator):
            self._fit_estimator(X, y, fit_params)
            check_unseen_features(self.estimator_, X)
            check_spelling(y, self.classes_)
        else:
            train, calibration = held_out_rows(X, self.calibration_size, self.random_state)
            kept = check_method_params(X, fit_params, indices=train)
            with tell_of_held_out(y, train):
                self._fit_estimator(safe_indexing(X, train), y[train], kept)
            X, y = safe_indexing(X, calibration), y[calibration]
        self._calibrate(*self._most_probable(X), y)
        return self

    def _check_goal(self) -> None:
        goals = ("threshold", "target_risk", "coverage")
        given = [name for name in goals if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of threshold, target_risk and coverage must be given; got "
                f"{' and '.join(given) or 'none'}. target_risk=0.05 lets at most 5 % of the "
                "accepted predictions be wrong."
            )

    def _route(self, fit_params: dict[str, Any]) -> Any:
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params).estimator.fit
        return Bunch(**{name: v for name, v in fit_params.items() if v is not None})

    def _fit_estimator(self, X: Any, y: Any, fit_params: dict[str, Any]) -> None:
        self._check_probabilistic()
        self._publish(clone(self.estimator).fit(X, y, **fit_params))

    def _publish(self, fitted: Any) -> None:
        self._publish_estimator(fitted)
        self.abstain_label_ = abstention_label(self.abstain_label, self.classes_)

    def _leave_out(self, X: Any, y: np.ndarray, fit_params: dict[str, Any]) -> Any:
        """Confidence, most probable class and label (n,) of every image by a model without it."""
        groups, others = fit_params.get("groups"), sorted(set(fit_params) - {"groups"})
        if isinstance(self.estimator, FrozenEstimator) or callable(self.selection_score) or others:
            raise ValueError(
                "calibration='left_out' needs an estimator that is not frozen, no function as "
                f"selection_score, no parameters of fit but groups; got {self.estimator!r}, "
                f"{self.selection_score!r} and {others}. Pass calibration='held_out'."
            )
        self._check_probabilistic()
        codes = None if groups is None else group_codes(groups, y)
        fitted, proba, rows = fit_and_leave_out(self.estimator, X, y, codes)
        self._publish(fitted)
        return (*self._scored(proba), y[rows])

    def _calibrate(self, confidence: np.ndarray, predicted: np.ndarray, y: np.ndarray) -> None:
        wrong = predicted != y
        if self.target_risk is None:
            self.threshold_ = coverage_threshold(confidence, self.coverage, self._lowest)
        else:
            delta = 1 - self.confidence_level
            certificate = certify(confidence, wrong, self.target_risk, delta, self._lowest)
            self.threshold_ = certificate.threshold
            if np.isinf(self.threshold_):
                message = nothing_certified(confidence, wrong, self.target_risk, delta)
                warnings.warn(message, GuaranteeWarning, stacklevel=2)
        self.n_calibration_, self.is_guaranteed_ = len(y), self.calibration == "held_out"
        self.calibration_score_ = score_accepted(confidence >= self.threshold_, wrong)
        self.calibration_confidence_ = np.sort(confidence)
        self.calibration_class_counts_ = np.array([np.sum(y == label) for label in self.classes_])
        missing = self.classes_[self.calibration_class_counts_ == 0]
        if self.target_risk is not None and np.isfinite(self.threshold_) and len(missing):
            warnings.warn(
                f"Every class needs calibration rows to be part of the guarantee; got none of "
                f"{listing(missing)}. The risk is kept where these are as rare as in calibration: "
                "pass rows of them if they are not.",
                GuaranteeWarning,
                stacklevel=2,
            )

    @property
    def _lowest(self) -> float:
        """The threshold that everything reaches."""
        return -np.inf if callable(self.selection_score) else 0.0

    # -- predicting -----------------------------------------------------------------

    def _most_probable(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Confidence (n,) and most probable class (n,) of every row."""
        return self._scored(self.estimator_.predict_proba(X), X)

    def _scored(self, proba: ArrayLike, X: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The same of probabilities (n, c) of the rows."""
        proba = np.asarray(proba, dtype=np.float64)
        predicted = self.classes_[proba.argmax(axis=1)]
        if callable(self.selection_score):
            return called_score(self.selection_score, self.estimator_, X, len(proba)), predicted
        return SELECTION_SCORES[self.selection_score](proba), predicted

    def accept(self, X: ArrayLike) -> np.ndarray:
        """Whether each row is confident enough to be classified.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,), bool
        """
        check_is_fitted(self)
        return self._most_probable(X)[0] >= self.threshold_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class where a row is accepted, else the label of abstention.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries are in ``classes_`` or equal to ``abstain_label_``.
        """
        check_is_fitted(self)
        confidence, labels = self._most_probable(X)
        return with_abstentions(labels, confidence < self.threshold_, self.abstain_label_)

    # -- judging --------------------------------------------------------------------

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of the rows that are accepted and classified rightly.

        An abstention counts as not right. At a fixed `target_risk` more is better, so that
        a grid search over the estimator's parameters looks for the largest useful coverage.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        float
            Fraction in [0, 1]: coverage times one minus risk.
        """
        score = score_accepted(*self._judge(X, y, sample_weight))
        return 0.0 if score.coverage == 0 else score.coverage * (1 - score.risk)

    def selective_score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> SelectiveScore:
        """Risk and coverage on labelled rows.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; they change `risk` and `coverage`, not the counts.

        Returns
        -------
        SelectiveScore
            Named tuple of risk, coverage, n_accepted and n_wrong.
        """
        return score_accepted(*self._judge(X, y, sample_weight))

    def _judge(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        check_is_fitted(self)
        check_spelling(y := checked_labels(y), self.classes_)
        confidence, predicted = self._most_probable(X)
        check_consistent_length(y, predicted)
        weight = check_sample_weight(sample_weight, predicted, ensure_non_negative=True)
        return confidence >= self.threshold_, predicted != y, weight

    def check_drift(self, X: ArrayLike, *, significance: float = 0.01) -> Drift:
        """Whether the confidences of new rows are distributed like those of calibration.

        A two-sample Kolmogorov-Smirnov test that needs no labels. Where it finds a difference the
        rows are not draws of the distribution that was calibrated on, and the guarantee does not
        hold for them. Where it finds none, nothing is shown: errors can become more frequent.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
            New rows, some hundred of them.
        significance : float in (0, 1), default=0.01
            Warn at p-values below it: the share of false alarms where nothing has changed.

        Returns
        -------
        Drift
            Named tuple of statistic, p_value, coverage and calibration_coverage.

        Raises
        ------
        ValueError
            If the threshold was given or calibrated on the fitted rows, left out.

        Warns
        -----
        DriftWarning
            If the p-value is below `significance`.
        """
        check_is_fitted(self)
        if self.n_calibration_ == 0 or not self.is_guaranteed_:
            raise ValueError(
                "check_drift compares with calibration rows that are not fitted on; got none. Pass "
                "target_risk or coverage instead of threshold, and calibration='held_out'."
            )
        return compare_confidences(
            self._most_probable(X)[0],
            self.calibration_confidence_,
            self.threshold_,
            self.calibration_score_.coverage,
            significance,
        )

    def get_metadata_routing(self) -> MetadataRouter:
        """Where metadata goes: to the estimator's `fit`.

        Returns
        -------
        MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)
