"""The classifier inside of pipelines and FrozenEstimator."""

from typing import Any

from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

__all__ = ["unwrap"]


def unwrap(estimator: Any, X: ArrayLike) -> tuple[Any, ArrayLike]:
    """The classifier that predicts, and X as the steps before it hand it on."""
    while isinstance(estimator, FrozenEstimator | Pipeline):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator, X
