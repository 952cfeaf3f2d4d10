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
from scipy.sparse import csr_array
from scipy.special import log_softmax, logsumexp

from skclip.adapters.left_out import LeftOut
from skclip.decisions.conformity_scores import SCORES
from skclip.decisions.left_out_fits import LeftOutFits, fitted_on, leave_out
from skclip.decisions.wrapped import unwrap
from skclip.utils.sklearn_private import safe_indexing

__all__ = [
    "FoldScores",
    "StepScores",
    "Support",
    "all_columns",
    "fit_and_leave_out",
    "left_out_log_proba",
    "left_out_logits",
]

_NUMBERS_PER_BLOCK = 2**22
# Of logits in single precision: equal scores count as equal.
_ROUNDING = 1e-6


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
        return SCORES[self.score](self.own)[np.arange(len(self.own)), self.support.y]

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


def left_out_logits(estimator: Any, left_out: LeftOut, X: Any, images: np.ndarray) -> np.ndarray:
    """(n, c) logits of the support by the models without the image of each row, one step away."""
    logits, shifts = left_out.logits(estimator, X)
    rows, pairs = np.nonzero(images[:, None] == left_out.images)
    logits = logits.astype(np.float64)
    np.add.at(logits, (rows, left_out.classes[pairs]), shifts[rows, pairs])
    return logits


def left_out_log_proba(fits: LeftOutFits, fitted: Any, X: Any, images: np.ndarray) -> np.ndarray:
    """(n, c) log-probabilities of the support by the models without the image of each row.

    `fitted` is the classifier of all rows, or a pipeline that ends in it.
    """
    if fits.step is not None:
        last, rows = unwrap(fitted, X)
        return log_softmax(left_out_logits(last, fits.step, rows, images), axis=1)
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


@dataclass(frozen=True)
class StepScores:
    """Models that are one step away from the fit, see ``skclip.adapters.left_out``."""

    support: Support
    estimator: Any
    left_out: LeftOut
    own: np.ndarray  # (n, c) log-probabilities of the support by the models without them
    score: str

    @property
    def scores(self) -> np.ndarray:
        """(n,) of the labels."""
        return SCORES[self.score](self.own)[np.arange(len(self.own)), self.support.y]

    def count(self, X: Any, by_class: bool) -> np.ndarray:
        """(m, c) support images that conform no better than each label of the rows."""
        limits = {"lac": self._limits_of_lac, "margin": self._limits_of_margin}.get(self.score)
        n_images, c = int(self.support.images.max()) + 1, self.support.n_classes
        width = n_images * c
        if limits is not None:
            width = 2 * len(self.left_out.images) + len(self.own)
        step = max(1, _NUMBERS_PER_BLOCK // width)
        parts = []
        for first in range(0, len(X), step):
            logits, shifts = self.left_out.logits(self.estimator, X[first : first + step])
            logits = logits.astype(np.float32)
            logits -= logsumexp(logits, axis=1, keepdims=True)
            if limits is None:
                parts.append(self._count_any(logits, shifts, n_images, by_class))
                continue
            # Rows last: what belongs to a pair, or to an image, is contiguous.
            moved = np.ascontiguousarray(shifts.T, dtype=np.float32)
            log_proba = np.ascontiguousarray(logits.T)
            limit = limits(log_proba, moved, n_images)[self.support.images]
            limit -= self._offset[:, None] + np.float32(_ROUNDING)
            parts.append(self._count_limits(log_proba, moved, limit, by_class))
        return np.concatenate(parts)

    @property
    def _offset(self) -> np.ndarray:
        """(n,) what a label may be below the limit of an image's model to conform as its own."""
        own = self.own[np.arange(len(self.own)), self.support.y]
        top = self.own.max(axis=1) if self.score == "margin" else 0.0
        return (top - own).astype(np.float32)

    # Both limits take log_proba (c, m) and shifts (k, m), and leave log_proba + shifts in these.

    def _limits_of_lac(self, log_proba: np.ndarray, moved: np.ndarray, n_images: int) -> np.ndarray:
        """(g, m) logarithm of what the probabilities of a row sum to after an image's shifts."""
        images, classes = self.left_out.images, self.left_out.classes
        raised = np.expm1(moved)
        moved += log_proba[classes]
        raised *= np.exp(log_proba)[classes]
        by_image = csr_array(
            (np.ones(len(images), np.float32), (images, np.arange(len(images)))),
            (n_images, len(images)),
        )
        return np.log(np.maximum(1.0 + by_image @ raised, 1e-30)).astype(np.float32)

    def _limits_of_margin(
        self, log_proba: np.ndarray, moved: np.ndarray, n_images: int
    ) -> np.ndarray:
        """(g, m) largest log-probability of a row after an image's shifts, not normalised."""
        images, classes = self.left_out.images, self.left_out.classes
        moved += log_proba[classes]
        order = np.argsort(images, kind="stable")
        first = np.searchsorted(images[order], np.arange(n_images))
        out = np.maximum.reduceat(moved[order], first, axis=0)
        stays = np.ones((log_proba.shape[0], n_images), bool)
        stays[classes, images] = False
        # The most likely of the classes that an image does not move; seldom more than a few steps.
        still = np.ones(out.shape, bool)
        for column in np.argsort(-log_proba, axis=0):
            value = log_proba[column, np.arange(len(column))]
            found = still & stays[column].T
            np.maximum(out, value, out=out, where=found)
            still &= ~found
            if not still.any():
                break
        return out

    def _count_limits(
        self, log_proba: np.ndarray, moved: np.ndarray, limit: np.ndarray, by_class: bool
    ) -> np.ndarray:
        """(m, c) weight of the support rows whose limit (n, m) a label reaches: O(n c) per row.

        A label that the image moves is compared as `moved` (k, m), the others as they are.
        """
        images, classes = self.left_out.images, self.left_out.classes
        n, n_images = len(self.own), int(self.support.images.max()) + 1
        # One row of the support is a limit for each of the pairs of its image.
        rows_of = csr_array((np.ones(n), (self.support.images, np.arange(n))), (n_images, n))
        pair, row = rows_of[images].tocoo().coords
        if by_class:
            own = self.support.y[row] == classes[pair]
            pair, row = pair[own], row[own]
        label = classes[pair]
        limits = limit[row]
        reached = (moved if len(pair) == len(moved) else moved[pair]) >= limits
        reached = reached.astype(np.float32)
        if not by_class:
            reached -= log_proba[label] >= limits
        gather = csr_array(
            (self.support.weight[row].astype(np.float32), (label, np.arange(len(row)))),
            (self.support.n_classes, len(row)),
        )
        out = (gather @ reached).T
        return out if by_class else out + self._unmoved(log_proba.T, limit.T)

    def _unmoved(self, log_proba: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """(m, c) weight of the limits (m, n) that each log-probability reaches."""
        weight, out = self.support.weight, np.empty(log_proba.shape, np.float32)
        if (weight == 1).all():
            for row, (values, limits) in enumerate(zip(log_proba, np.sort(limit), strict=True)):
                out[row] = np.searchsorted(limits, values, side="right")
            return out
        for row, (values, limits) in enumerate(zip(log_proba, limit, strict=True)):
            order = np.argsort(limits)
            reached = np.append(0.0, np.cumsum(weight[order]))
            out[row] = reached[np.searchsorted(limits[order], values, side="right")]
        return out

    def _count_any(
        self, log_proba: np.ndarray, shifts: np.ndarray, n_images: int, by_class: bool
    ) -> np.ndarray:
        """For every score: the probabilities of every label by every model, one by one."""
        support = self.support
        every = np.repeat(log_proba[:, None], n_images, axis=1)  # (m, g, c)
        every[:, self.left_out.images, self.left_out.classes] += shifts
        new = SCORES[self.score](log_softmax(every, axis=2))
        out = np.zeros(log_proba.shape)
        for i, score in enumerate(self.scores):
            conforms = score >= new[:, support.images[i]] - 1e-12
            if by_class:
                conforms[:, np.arange(support.n_classes) != support.y[i]] = False
            out += support.weight[i] * conforms
        return out
