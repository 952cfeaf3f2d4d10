"""Classifiers around classifiers: what they hand on, and what is inside of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

__all__ = ["PassesProbabilities", "unwrap"]


def unwrap(estimator: Any, X: ArrayLike) -> tuple[Any, ArrayLike]:
    """The classifier that predicts, and X as the steps before it hand it on."""
    while isinstance(estimator, FrozenEstimator | Pipeline):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator, X


def _delegates(name: str) -> Callable[[Any], bool]:
    """Available where the wrapped estimator has the method."""
    return available_if(lambda self: hasattr(getattr(self, "estimator_", self.estimator), name))


class PassesProbabilities:
    """For classifiers that act on the probabilities of `estimator_` and do not change them."""

    estimator: Any
    estimator_: Any

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
