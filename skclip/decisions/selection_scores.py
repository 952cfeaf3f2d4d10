"""What is compared with the threshold of a selective classifier, larger for surer rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["SELECTION_SCORES", "called_score"]


def _margin(proba: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        two = np.log(np.sort(proba, axis=1)[:, -2:])
    return two[:, 1] - two[:, 0]


# Scores (n,) of probabilities (n, c); none is negative.
SELECTION_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "confidence": lambda proba: proba.max(axis=1),
    "margin": _margin,
}


def called_score(score: Callable[[Any, Any], ArrayLike], estimator: Any, X: Any, n: int) -> Any:
    """Scores (n,) of a function of a fitted estimator and rows, checked."""
    found = np.asarray(score(estimator, X), dtype=np.float64)
    if found.shape != (n,) or np.isnan(found).any():
        raise ValueError(
            f"selection_score must return {n} numbers, one for each row, none "
            f"of them NaN; got shape {found.shape} with {int(np.isnan(found).sum())} NaN."
        )
    return found
