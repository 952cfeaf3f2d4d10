"""Classifiers around classifiers: what they hand on, and what is inside of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skclip.adapters.input_checks import take_features_seen
from skclip.utils.callbacks import CallbackSupportMixin
from skclip.utils.documentation import DocumentationLinkMixin

__all__ = ["PassesProbabilities", "WrapsClassifier", "is_frozen", "last_step", "unwrap"]


def last_step(estimator: Any) -> Any:
    """The classifier that predicts, inside of pipelines and frozen estimators."""
    while isinstance(estimator, FrozenEstimator | Pipeline):
        frozen = isinstance(estimator, FrozenEstimator)
        estimator = estimator.estimator if frozen else estimator[-1]
    return estimator


def unwrap(estimator: Any, X: ArrayLike) -> tuple[Any, ArrayLike]:
    """The classifier that predicts, and X as the steps before it hand it on."""
    while isinstance(estimator, FrozenEstimator | Pipeline):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator, X


def is_frozen(estimator: Any) -> bool:
    """Whether fitting leaves the classifier that predicts as it is."""
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return isinstance(estimator, FrozenEstimator)


def _delegates(name: str) -> Callable[[Any], bool]:
    """Available where the wrapped estimator has the method."""
    return available_if(lambda self: hasattr(getattr(self, "estimator_", self.estimator), name))


class WrapsClassifier(DocumentationLinkMixin, CallbackSupportMixin):
    """For classifiers around a probabilistic `estimator`: its inputs, and what its fit knows."""

    estimator: Any
    estimator_: Any
    classes_: np.ndarray

    def _check_probabilistic(self) -> None:
        if not hasattr(self.estimator, "predict_proba"):
            raise ValueError(
                "estimator must have predict_proba; got "
                f"{type(self.estimator).__name__}, which has not. Wrap it in scikit-learn's "
                "CalibratedClassifierCV."
            )

    def _publish_estimator(self, fitted: Any) -> None:
        self.estimator_, self.classes_ = fitted, fitted.classes_
        take_features_seen(self, fitted)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # of BaseEstimator
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        return tags


class PassesProbabilities(WrapsClassifier):
    """For those that act on the probabilities of `estimator_` and do not change them."""

    @_delegates("predict_proba")
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of every class: those of the estimator.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @_delegates("predict_log_proba")
    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of :meth:`predict_proba`, from the estimator.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @_delegates("decision_function")
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Scores of the estimator.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)
