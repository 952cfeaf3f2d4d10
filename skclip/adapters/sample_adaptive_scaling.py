"""Sample-adaptive logit scaling, around any classifier."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from sklearn.base import MetaEstimatorMixin, clone

from skclip._core.methods.zero_shot_range import rescale_to_range
from skclip.adapters.base import BaseAdapterClassifier, fit_method
from skclip.adapters.near_text import linear_model
from skclip.utils.messages import listing
from skclip.utils.sklearn_private import HasMethods

__all__ = ["SampleAdaptiveScaling"]


class SampleAdaptiveScaling(MetaEstimatorMixin, BaseAdapterClassifier):
    r"""SaLS: another classifier's logits, rescaled to the range of zero-shot logits.

    Sample-adaptive logit scaling (Murugesan et al. [1]_) takes the logits s of a fitted
    classifier and the zero-shot logits :math:`z = \tau T x` of the same row, and predicts
    with the softmax of

    .. math::
        \frac{s - \min s}{\max s - \min s} (\max z - \min z) + \min z.

    It learns nothing, so that no labels are set aside, and never changes the predicted
    class. How confident the classifier was does not matter, only how it spaces the classes.

    Parameters
    ----------
    estimator : classifier
        Any classifier with predict_proba, of this package or not; a clone of it is fitted. Wrap
        one that is already fitted in scikit-learn's FrozenEstimator.
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. The rows of an array belong to the sorted labels of `y`.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from cosine to zero-shot logit. "auto" takes it from the
        prototypes' model, else 100.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm for the zero-shot logits; "auto" does.
        `estimator` gets X as it is.
    device : str, default="auto"
        Of the zero-shot logits; "auto" is CUDA where there is a usable GPU, else the CPU. A device
        without float64, such as "mps", is for predictions, in float32; the fit works on the CPU.

    Attributes
    ----------
    estimator_ : classifier
        The fitted clone.
    classes_ : ndarray of shape (n_classes,)
    text_prototypes_ : ndarray of shape (n_classes, n_features)
        The prototypes, scaled as X.
    logit_scale_ : float
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    ZeroShotRangeClassifier : The same range, imposed in training.

    Notes
    -----
    Logits are the estimator's log-probabilities, which differ from them by a shift that
    cancels. Where these come from probabilities that are exactly zero, the smallest positive
    number stands for them. Of two classes the range is all there is: the confidence is then
    that of zero-shot.

    References
    ----------
    .. [1] B. Murugesan, J. Silva-Rodriguez, I. Ben Ayed, J. Dolz, "Robust calibration of large
       vision-language adapters", ECCV 2024.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip import SampleAdaptiveScaling
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 5, random_state=0)
    >>> scaled = SampleAdaptiveScaling(LogisticRegression(C=100), data.prototypes)
    >>> scaled.fit(data.X, data.y).predict_proba(data.X_test).shape
    (250, 5)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        **BaseAdapterClassifier._parameter_constraints,
    }

    def __init__(
        self,
        estimator: Any,
        prototypes: Any = None,
        *,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        device: str | torch.device = "auto",
    ) -> None:
        self.estimator = estimator
        self.prototypes = prototypes
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.device = device

    @fit_method
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit a clone of the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Passed to the estimator where it is given.
        **fit_params
            Other arguments of the estimator's fit, such as `groups`.

        Returns
        -------
        self : SampleAdaptiveScaling

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None, or the estimator does not know the same classes.
        """
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        if sample_weight is not None:
            fit_params["sample_weight"] = sample_weight
        self.estimator_ = clone(self.estimator).fit(X, y, **fit_params)
        other = np.setxor1d(self.estimator_.classes_, self.classes_)
        if len(other):
            raise ValueError(
                "The estimator and the prototypes must know the same classes; got only one of "
                f"them for {listing(other)}. Give the estimator labelled prototypes, or drop those "
                "of classes without images."
            )
        return self._publish(linear_model(problem, problem.prior_mean))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of every class, after the row's logits were scaled.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of ``classes_``.
        """
        log_proba = self.predict_log_proba(X)
        return np.exp(log_proba, out=log_proba)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of :meth:`predict_proba`, accurate for tiny probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Natural logarithm, columns in the order of ``classes_``.
        """
        return log_softmax(self.logits(X), axis=1)

    def logits(self, X: ArrayLike) -> np.ndarray:
        """Logits of every class, rescaled.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        reference = super().logits(X)
        # The estimator normalises, or names its columns, in its own way.
        scores = torch.from_numpy(self._estimator_logits(X).astype(reference.dtype))
        return rescale_to_range(scores, torch.from_numpy(reference)).numpy()

    def _estimator_logits(self, X: ArrayLike) -> np.ndarray:
        """(n, c) log-probabilities of the estimator, all finite."""
        with np.errstate(divide="ignore"):
            if hasattr(self.estimator_, "predict_log_proba"):
                scores = np.asarray(self.estimator_.predict_log_proba(X))
            else:
                scores = np.log(self.estimator_.predict_proba(X))
        return np.where(np.isneginf(scores), np.log(np.finfo(scores.dtype).tiny), scores)
