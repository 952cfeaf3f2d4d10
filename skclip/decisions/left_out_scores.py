r"""How many support images conform less than a label of a new row, each judged without itself.

Image i has the score :math:`S_i` of its label by the model without it; the same model gives every
label of a new row x a score :math:`S_{-i}(x, y)`. CV+ and the jackknife+ (Romano, Sesia, Candes,
NeurIPS 2020; Barber, Candes, Ramdas, Tibshirani, Annals of Statistics 2021) count the images with
:math:`S_i \ge S_{-i}(x, y)`. Both sides are by one model that knows neither, so that what
leaving out does to a model does not matter.

Rows of one image are left out together and count as one, shared among them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from skclip.decisions.conformity_scores import SCORES
from skclip.decisions.left_out_fits import LeftOutFits, fitted_on, leave_out
from skclip.decisions.wrapped import unwrap
from skclip.utils.sklearn_private import safe_indexing

__all__ = [
    "FoldScores",
    "LEAST_LOG_RATIO",
    "NUMBERS_IN_CACHE",
    "ROUNDING",
    "Support",
    "all_columns",
    "fit_and_leave_out",
    "left_out_log_proba",
]

# Logits of all classes under all models that stay in the processor's cache.
NUMBERS_IN_CACHE = 2**19
# Of logits in single precision: equal scores count as equal.
ROUNDING = 1e-6
# Denormal numbers, e^-88 and less, are slow.
LEAST_LOG_RATIO = -60.0


@dataclass(frozen=True)
class Support:
    """Codes of labels (n,), of images (n,), and the weight (n,) of each row, 1 per image in all."""

    y: np.ndarray
    images: np.ndarray
    weight: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, y: np.ndarray, images: np.ndarray, n_classes: int) -> "Support":
        return cls(y, images, 1.0 / np.bincount(images)[images], n_classes)

    def scores(self, log_proba: np.ndarray, score: str) -> np.ndarray:
        """(n,) of the labels, of log-probabilities (n, c) by the models without the images."""
        return SCORES[score](log_proba)[np.arange(len(self.y)), self.y]

    @property
    def class_sizes(self) -> np.ndarray:
        """(c,) images of each class."""
        return np.bincount(self.y, self.weight, minlength=self.n_classes)


@dataclass(frozen=True)
class FoldScores:
    """Models without a fold each: refits, for classifiers of every kind.

    fold (n,) is the model that a row was not in; own (n, c) log-probabilities by it; columns
    say which of the classes each model knows.
    """

    support: Support
    models: list[Any]
    columns: list[np.ndarray]
    fold: np.ndarray
    own: np.ndarray
    score: str

    @property
    def scores(self) -> np.ndarray:
        """(n,) of the labels."""
        return self.support.scores(self.own, self.score)

    def count(self, X: Any, by_class: bool) -> np.ndarray:
        """(m, c) support images that conform no better than each label of the rows."""
        total: Any = 0.0
        old, weight = self.scores, self.support.weight
        for k, (model, columns) in enumerate(zip(self.models, self.columns, strict=True)):
            new = SCORES[self.score](all_columns(model, X, columns, self.support.n_classes))
            out = np.empty_like(new)
            rows = np.flatnonzero(self.fold == k)
            if not by_class:
                out = _count_at_least(new, old[rows], weight[rows])
            else:
                for c in range(self.support.n_classes):
                    own = rows[self.support.y[rows] == c]
                    out[:, c] = _count_at_least(new[:, c], old[own], weight[own])
            total = total + out
        return np.asarray(total)


def all_columns(model: Any, X: Any, columns: np.ndarray, n_classes: int) -> np.ndarray:
    """Log-probabilities (m, c): of classes that a model does not know minus infinity."""
    with np.errstate(divide="ignore"):
        known = np.log(np.asarray(model.predict_proba(X), dtype=np.float64))
    out = np.full((len(known), n_classes), -np.inf)
    out[:, columns] = known
    return out


def _count_at_least(new: np.ndarray, old: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weight of the `old` scores that are at least each of the `new`."""
    order = np.argsort(old)
    below = np.append(0.0, np.cumsum(weight[order]))
    return below[-1] - below[np.searchsorted(old[order], new - 1e-12)]


def left_out_log_proba(fits: LeftOutFits, fitted: Any, X: Any, images: np.ndarray) -> np.ndarray:
    """(n, c) log-probabilities of the support by the models without the image of each row.

    `fitted` is the classifier of all rows, or a pipeline that ends in it.
    """
    if fits.step is not None:
        last, rows = unwrap(fitted, X)
        return log_softmax(fits.step.own_logits(last, rows, images), axis=1)
    out = np.empty((len(images), len(fitted.classes_)))
    for k, model in enumerate(fits.models):
        rows = np.flatnonzero(fits.folds == k)
        columns = np.searchsorted(fitted.classes_, model.classes_)
        out[rows] = all_columns(model, safe_indexing(X, rows), columns, out.shape[1])
    return out


def fit_and_leave_out(
    estimator: Any, X: Any, y: np.ndarray, groups: np.ndarray | None
) -> tuple[Any, np.ndarray, np.ndarray]:
    """A fit on all rows, probabilities (m, c) of every image by a model without it, its row (m,).

    Of several rows of an image the first stands for it.
    """
    fitted = fitted_on(estimator, X, y, groups)
    images = np.arange(len(y)) if groups is None else groups
    fits = leave_out(estimator, fitted, X, y, groups)
    first = np.unique(images, return_index=True)[1]
    return fitted, np.exp(left_out_log_proba(fits, fitted, X, images))[first], first
