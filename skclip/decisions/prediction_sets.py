"""Sets of labels that hold the right one, from the support set alone."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from skclip.adapters.augmented import Augmented, augmented_models
from skclip.adapters.base import fit_method
from skclip.adapters.images import group_codes
from skclip.adapters.left_out import LeftOut
from skclip.decisions.abstention import checked_labels
from skclip.decisions.conformity_scores import SCORES
from skclip.decisions.full_scores import SCORES_OF_FULL, FullScores
from skclip.decisions.left_out_fits import fitted_on, leave_out
from skclip.decisions.left_out_scores import FoldScores, Support, left_out_log_proba
from skclip.decisions.step_scores import StepScores
from skclip.decisions.wrapped import PassesProbabilities, is_frozen, last_step, unwrap
from skclip.exceptions import GuaranteeWarning
from skclip.utils.messages import listing
from skclip.utils.sklearn_private import HasMethods, Interval, StrOptions

__all__ = ["PredictionSetClassifier"]


class PredictionSetClassifier(
    PassesProbabilities, MetaEstimatorMixin, ClassifierMixin, BaseEstimator
):
    r"""Sets of labels that hold the right one with a given probability, without spare rows.

    Every support image is judged by a model that was fitted without it, and the labels of a new row
    by the same models. A label is in the set unless fewer than a share alpha = 1 -
    `confidence_level` of the images conform less than it does:

    .. math::
        C(x) = \Big\{ y : \# \{ i : S_i \ge S_{-i}(x, y) \} + \tfrac12 > \alpha (n + 1) \Big\} ,

    with the score :math:`S_i` of image i under the model without it, and that of label y of row x,
    :math:`S_{-i}(x, y)`, under the same model. With models that are fitted without a fold of
    images this is CV+ [1]_, with one image each the jackknife+ [2]_.

    **What is guaranteed.** If the images of the support and the new one are independent draws of
    one distribution (exchangeable), and each left-out model is what *fitting again* gives, then the
    set holds the right label with probability of at least ``guaranteed_coverage_``, over the
    support and the new row together, for every distribution: :math:`1 - 2 \alpha - 1 / (n + 1)`
    for single images, less the smaller one of :math:`2 (1 - 1/K) / (n/K + 1)` and
    :math:`(1 - K/n) / (K + 1)` for K folds. In practice coverage is close to :math:`1 - \alpha`.
    The number of images of each class is fixed in a K-shot support and not in what comes later,
    which these theorems do not know.

    **Left-out models in closed form** (a "step") are exact for two classifiers:
    :class:`skclip.GaussianDAClassifier`, by downdates of means and scatter, and
    :class:`skclip.ProKeRClassifier`, by its inverse kernel. The theorem is theirs where nothing in
    them was chosen by looking at the image that is left out: `alpha` of the one (without text it is
    1), and `beta`, `ridge` and `temperature` of the other must be numbers that the user gives.
    What is "auto" was chosen on all images: then ``guaranteed_coverage_`` is NaN.

    **What is not.** For :class:`skclip.BayesAdapterClassifier` with text, and for the optimum of
    :class:`skclip.LinearProbeClassifier`, :class:`skclip.CLAPClassifier` and
    :class:`skclip.TaskResClassifier`, left-out models are one Newton step away from the fit, and
    prior and temperature are those of all rows. No theorem covers approximate models:
    ``guaranteed_coverage_`` is NaN, and coverage is measured (:doc:`/guarantees`).
    ``method="refit"`` has the theorem for every classifier, and costs a fit per fold. With one
    image per class, the model without it knows the class by its text only: sets are
    larger than they need to be, and without text hold every label.

    **Full conformal sets**, ``method="full"``, promise more: :math:`1 - \alpha`, not
    :math:`1 - 2 \alpha`. Every label of a new row is tried: with it the row joins the support, each
    of the n + 1 is scored by the model of the n others, and the label is in the set unless the
    row is among the strangest,

    .. math::
        C(x) = \Big\{ y : \# \{ i : S_i^{(x, y)} \ge S(x, y) \} + 1 > \alpha (n + 1) \Big\} .

    That takes a fit per label and image, but for ProKeR, whose inverse kernel does not know
    labels; its parameters must be numbers for the promise, as above.

    Parameters
    ----------
    estimator : classifier with predict_proba
        Or a pipeline that ends in one.
    confidence_level : float in (0, 1), default=0.9
        Share of new rows whose set is to hold the right label.
    conformity_score : {"margin", "lac", "aps", "raps"}, default="margin"
        How strange a label is: the log-ratio of the most likely label to it, one minus its
        probability, or the mass of the labels that are more likely ("raps": with a penalty for
        ranks beyond the fifth). With "lac" sets are smallest, and some are empty where the
        classifier is right more often than `confidence_level`. With the others the predicted label
        is in every set, so that they cover at least as often as the classifier is right.
    class_conditional : bool, default=False
        Compare with images of the label's own class only, so that every class is covered, not only
        the average row. It takes :math:`1 / \alpha - 1` images of a class (9 at 0.9); labels of
        smaller classes are compared with all images, with a warning.
    method : {"auto", "step", "refit", "full"}, default="auto"
        How left-out models are made: by one step, which "auto" takes where there is one, or by
        fitting again. "full" is for :class:`skclip.ProKeRClassifier` of up to 16,384 rows, the
        scores "margin" and "lac" and single images; it takes :math:`1 / \alpha - 1` images (9 at
        0.9) to leave a label out.
    cv : int, default=None
        Folds to fit again, at least 2. None leaves out every image by itself up to 32 images,
        and has 10 folds beyond, fewer where no class has as many images. Without effect on a step.
    n_jobs : int, default=None
        Fits at a time, see :class:`joblib.Parallel`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimator_ : classifier
        Fitted on the whole support; the point prediction is its.
    method_ : {"step", "refit", "full"}
    n_support_ : int
        Number of images.
    support_codes_, support_images_ : ndarray of shape (n_samples,)
        Position of each support row's label in ``classes_``, and the number of its image.
    support_log_proba_ : ndarray of shape (n_samples, n_classes)
        Log-probabilities of every support row under the model without its image.
    left_out_changes_ : dict of str to ndarray
        Steps to the left-out models, see ``skclip.adapters.left_out``; only of a step.
    augmented_ : dict
        What the models that know the row are made of, see ``skclip.adapters.augmented``; only of
        "full".
    estimators_ : list of classifier
        The models without a fold each; only of refits.
    folds_ : ndarray of shape (n_samples,)
        Fold of each support row; only of refits.
    is_conditional_ : ndarray of shape (n_classes,), bool
        Whether a label is compared with images of its own class only.
    level_, conformity_score_ : float, str
        The parameters of this fit.
    support_scores_ : ndarray of shape (n_samples,)
        Score of the label of every support row under the model without its image.
    is_exact_ : bool
        Whether left-out models are those that fitting again gives.
    guaranteed_coverage_ : float
        Coverage that holds for every distribution; NaN where models are not exact.
    n_features_in_ : int
        Only where the estimator has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Only where the estimator has it.

    See Also
    --------
    SelectiveClassifier : One label or none.
    mapie.classification.SplitConformalClassifier : Sets from calibration rows, if there are any.

    Notes
    -----
    The half image in the definition makes the average coverage exact to 1 / (2 (n + 1)) rather than
    conservative by up to 1 / (n + 1), which with a few images per class is several percent; the
    guarantee accounts for it.

    With n images, c classes and a step, a row costs O(n c) at most for "margin" and "lac", and less
    where images matter to few classes, beyond what its coordinates do: O(n d), and O(n^2) for
    ProKeR. "aps" and "raps" are computed anew under every left-out model, which takes much longer.
    Refitting costs a prediction per fold. Rows are taken in blocks, whose memory is bounded.

    Full conformal sets of ProKeR cost O(n^2 + n c) per row, all labels together. A label that is
    tried adds a residual :math:`e_y` to the row, and by the inverse of the larger kernel matrix,
    which is the same for all labels, :math:`\omega \tau / \vartheta` times :math:`q_i / (\sigma
    Q'_{ii})` to one logit of image i, that of y; with affinities k of the row and the images,
    :math:`Q = (K + \lambda I)^{-1}`, :math:`q = Q k`, :math:`\sigma = 1 + \lambda - k^\top q` and
    :math:`Q'_{ii} = Q_{ii} + q_i^2 / \sigma`. For GaussianDA a label moves a mean, and with it
    the distance of every image to it under every left-out precision: O(n c^2), no cheaper.

    References
    ----------
    .. [1] Y. Romano, M. Sesia, E. J. Candes, "Classification with valid and adaptive coverage",
       NeurIPS 2020.
    .. [2] R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, "Predictive inference with the
       jackknife+", Annals of Statistics, 2021.

    Examples
    --------
    >>> from skclip import BayesAdapterClassifier, PredictionSetClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 10, n_test_per_class=100, random_state=0)
    >>> sets = PredictionSetClassifier(BayesAdapterClassifier(data.prototypes))
    >>> members = sets.fit(data.X, data.y).predict_set(data.X_test)
    >>> members.shape
    (1000, 10)
    >>> bool(0.85 < members[range(1000), data.y_test].mean() < 0.97)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "conformity_score": [StrOptions(set(SCORES))],
        "class_conditional": ["boolean"],
        "method": [StrOptions({"auto", "step", "refit", "full"})],
        "cv": [Interval(Integral, 2, None, closed="left"), None],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: Any,
        confidence_level: float = 0.9,
        *,
        conformity_score: str = "margin",
        class_conditional: bool = False,
        method: str = "auto",
        cv: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.confidence_level = confidence_level
        self.conformity_score = conformity_score
        self.class_conditional = class_conditional
        self.method = method
        self.cv = cv
        self.n_jobs = n_jobs

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit the estimator, and the models without some images.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
            The support set.
        y : array-like of shape (n_samples,)
            Labels.
        groups : array-like of shape (n_samples,), default=None
            Image of each row where an image has several (augmented views); they are left out
            together, count as one image, and are passed to the estimator if its `fit` takes them.

        Returns
        -------
        self : PredictionSetClassifier

        Raises
        ------
        ValueError
            If the estimator has no `predict_proba`, a group has several labels, ``method="step"``
            is not possible, or there are fewer images than folds.

        Warns
        -----
        GuaranteeWarning
            If sets cannot leave any label out because there are too few images for
            `confidence_level`, or, with `class_conditional`, in some class.
        """
        self._check_probabilistic()
        X, y, groups = indexable(X, y, groups)
        y = checked_labels(y, warn=True)
        images = np.arange(len(y)) if groups is None else group_codes(groups, y)
        self._publish_estimator(fitted_on(self.estimator, X, y, None if groups is None else images))
        self.support_codes_, self.support_images_ = np.searchsorted(self.classes_, y), images
        self.n_support_ = int(images.max()) + 1
        self.level_, self.conformity_score_ = self.confidence_level, self.conformity_score
        self._leave_out(X, y, None if groups is None else images)
        self.support_scores_ = self._support.scores(self.support_log_proba_, self.conformity_score_)
        self._warn_of_few_images()
        return self

    def _leave_out(self, X: Any, y: np.ndarray, groups: np.ndarray | None) -> None:
        """Set what left-out models are made of: steps, or fitted estimators."""
        augmented = self._augmented(y, groups) if self.method == "full" else None
        left_out = leave_out(
            *(self.estimator, self.estimator_, X, y, groups),
            method="step" if augmented else self.method,
            cv=self.cv,
            n_jobs=self.n_jobs,
        )
        self.method_ = "full" if augmented else left_out.method
        self.support_log_proba_ = left_out_log_proba(
            left_out, self.estimator_, X, self.support_images_
        )
        self.is_exact_ = left_out.step is None or left_out.step.is_exact
        if augmented is not None:
            self.augmented_ = augmented.state()
        elif left_out.step is not None:
            self.left_out_changes_ = left_out.step.arrays()
        else:
            self.estimators_, self.folds_ = left_out.models, left_out.folds
        self.guaranteed_coverage_ = self._guarantee() if self.is_exact_ else np.nan

    def _augmented(self, y: np.ndarray, groups: np.ndarray | None) -> Augmented:
        last = last_step(self.estimator_)
        possible = groups is None and self.conformity_score in SCORES_OF_FULL
        found = augmented_models(last, y) if possible and not is_frozen(self.estimator) else None
        if found is None:
            raise ValueError(
                "method='full' needs ProKeRClassifier of up to 16,384 rows, "
                "conformity_score='margin' or 'lac', and no groups; got "
                f"{type(last).__name__} of {len(y)} rows, {self.conformity_score!r} and "
                f"{'no ' if groups is None else ''}groups. Use method='auto'."
            )
        return found

    def _guarantee(self) -> float:
        """Coverage by the theorems for jackknife+, CV+ of fewer folds, and full conformal sets."""
        if self.method_ == "full":
            return self.confidence_level
        n = self.n_support_
        n_folds = n if self.method_ == "step" else len(self.estimators_)
        lost = 0.0
        if n_folds < n:
            lost = min(2 * (1 - 1 / n_folds) / (n / n_folds + 1), (1 - n_folds / n) / (n_folds + 1))
        bound = 1 - 2 * (1 - self.confidence_level) - 1 / (n + 1) - lost
        return max(0.0, bound)

    def _left_out_scores(self) -> StepScores | FoldScores | FullScores:
        support, own, score = self._support, self.support_log_proba_, self.conformity_score_
        if self.method_ == "refit":
            columns = [np.searchsorted(self.classes_, m.classes_) for m in self.estimators_]
            return FoldScores(support, self.estimators_, columns, self.folds_, own, score)
        last = last_step(self.estimator_)
        if self.method_ == "full":
            return FullScores(support, last, Augmented.of_state(self.augmented_), score)
        left_out = LeftOut.of_arrays(self.left_out_changes_, self.is_exact_)
        return StepScores(support, last, left_out, own, score)

    @property
    def _own_share(self) -> float:
        """What a new row adds to the images that are as strange as it is, see the definitions."""
        return 1.0 if self.method_ == "full" else 0.5

    @property
    def _support(self) -> Support:
        return Support.of(self.support_codes_, self.support_images_, len(self.classes_))

    def _warn_of_few_images(self) -> None:
        alpha = 1 - self.confidence_level
        fewest = int(np.ceil(self._own_share / alpha - 1 - 1e-9))
        if self.n_support_ < fewest:
            warnings.warn(
                f"Sets at confidence_level={self.confidence_level:g} need at least {fewest} images "
                f"to leave a label out; got {self.n_support_}. Every set holds all labels: pass "
                "more images, or lower confidence_level.",
                GuaranteeWarning,
                stacklevel=3,
            )
        self.is_conditional_ = np.zeros(len(self.classes_), bool)
        if self.class_conditional:
            needed = max(1, int(np.ceil(1 / alpha - 1 - 1e-9)))
            self.is_conditional_ = self._support.class_sizes > needed - 0.5
            small = self.classes_[~self.is_conditional_]
            if len(small):
                warnings.warn(
                    f"class_conditional needs {needed} images of a class; got "
                    f"fewer of {listing(small)}. These labels are compared with images of all "
                    "classes, and are covered on average only.",
                    GuaranteeWarning,
                    stacklevel=3,
                )

    def predict_set(self, X: ArrayLike) -> np.ndarray:
        """Which labels are in the set of every row.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes), bool
            Columns in the order of ``classes_``. A row may have none with "lac".
        """
        check_is_fitted(self)
        rows = X if self.method_ == "refit" else np.asarray(unwrap(self.estimator_, X)[1])
        # Less rounding, so that n + 1 = 1 / alpha is enough.
        scores, alpha = self._left_out_scores(), 1 - self.level_ + 1e-12
        conditional, members = self.is_conditional_, np.zeros(0, bool)
        if not conditional.all():
            count = scores.count(rows, by_class=False)
            members = count + self._own_share > alpha * (self.n_support_ + 1)
        if conditional.any():
            count = scores.count(rows, by_class=True)
            own = count + self._own_share > alpha * (self._support.class_sizes + 1)
            members = np.where(conditional, own, members if members.size else own)
        return members

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The point prediction: that of the estimator, in the set or not.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)
