"""For every class, whether adapting to images beat the prompts."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

__all__ = ["VERDICTS", "ClassGain", "gains_by_class"]

VERDICTS = ("better", "worse", "not to be told apart", "too few to tell")
_FEWEST, _CONFIDENCE = 5, 0.95
_SMALLEST = 1e-12


class ClassGain(NamedTuple):
    """What adapting gained on the images of a class.

    Attributes
    ----------
    label : label
    n_images : int
    accuracy, zero_shot_accuracy : float
        Shares recognised after adapting, and by the prompts alone; NaN without images.
    log_gain : float
        Mean of the log-probability of the class after adapting, minus that of the prompts, in
        nats; above 0 adapting is better.
    half_width : float
        Of its 95 % interval over images, by Student's t.
    """

    label: Any
    n_images: int
    accuracy: float
    zero_shot_accuracy: float
    log_gain: float
    half_width: float

    @property
    def verdict(self) -> str:
        """ "better", "worse", "not to be told apart" or, below 5 images, "too few to tell"."""
        better, worse, tied, few = VERDICTS
        if self.n_images < _FEWEST:
            return few
        if abs(self.log_gain) <= self.half_width:
            return tied
        return better if self.log_gain > 0 else worse


def gains_by_class(
    codes: NDArray[np.intp],
    proba: NDArray[np.floating[Any]],
    zero_shot_proba: NDArray[np.floating[Any]],
    labels: NDArray[Any],
) -> list[ClassGain]:
    """One for each class, in the order of the columns.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Column of each row's class.
    proba, zero_shot_proba : ndarray of shape (n, n_classes)
    labels : ndarray of shape (n_classes,)
    """
    every = np.arange(len(codes))
    logs = [np.log(np.clip(p[every, codes], _SMALLEST, None)) for p in (proba, zero_shot_proba)]
    right = [p.argmax(axis=1) == codes for p in (proba, zero_shot_proba)]
    found = []
    for code, label in enumerate(labels.tolist()):
        rows = codes == code
        n = int(rows.sum())
        shares = [float(r[rows].mean()) if n else np.nan for r in right]
        difference = (logs[0] - logs[1])[rows]
        half = np.nan
        if n > 1:
            quantile = student.ppf((1 + _CONFIDENCE) / 2, n - 1)
            half = float(quantile * difference.std(ddof=1) / np.sqrt(n))
        gain = float(difference.mean()) if n else np.nan
        found.append(ClassGain(label, n, shares[0], shares[1], gain, half))
    return found
