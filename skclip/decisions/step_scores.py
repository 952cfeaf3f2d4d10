"""Counts over models without an image each that are one step away from the fit.

Where an image moves few classes (:class:`~skclip.adapters.left_out.LeftOutPairs`), what it leaves
alone is counted by sorting; where it moves all, every label of every model is looked at.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.special import log_softmax, logsumexp

from skclip.adapters.left_out import LeftOut, LeftOutPairs
from skclip.decisions.conformity_scores import SCORES
from skclip.decisions.left_out_scores import LEAST_LOG_RATIO, NUMBERS_IN_CACHE, ROUNDING, Support
from skclip.utils.threads import deserve, few_threads

__all__ = ["StepScores"]

_NUMBERS_PER_BLOCK = 2**22
# Scores that compare a logit with one number of the model and the row.
_BY_LIMIT = ("lac", "margin")


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
        return self.support.scores(self.own, self.score)

    def count(self, X: Any, by_class: bool) -> np.ndarray:
        """(m, c) support images that conform no better than each label of the rows."""
        n_images = int(self.support.images.max()) + 1
        with few_threads():
            deserve(len(X) * n_images * self.support.n_classes)
            if self.score in _BY_LIMIT and isinstance(self.left_out.changes, LeftOutPairs):
                step = max(1, _NUMBERS_PER_BLOCK // (2 * len(self._pairs[0]) + len(self.own)))
                blocks = (X[first : first + step] for first in range(0, len(X), step))
                return np.concatenate([self._count_pairs(b, n_images, by_class) for b in blocks])
            count, size = self._count_any, _NUMBERS_PER_BLOCK
            if self.score in _BY_LIMIT:
                count, size = self._count_all, NUMBERS_IN_CACHE
            every = self.left_out.every_logits(self.estimator, X, n_images, size)
            return np.concatenate([count(block, by_class) for block in every])

    @property
    def _offset(self) -> np.ndarray:
        """(n,) what a label may be below the limit of an image's model to conform as its own."""
        own = self.own[np.arange(len(self.own)), self.support.y]
        top = self.own.max(axis=1) if self.score == "margin" else 0.0
        return (top - own).astype(np.float32)

    # -- where an image moves all classes -------------------------------------------

    def _count_all(self, every: torch.Tensor, by_class: bool) -> np.ndarray:
        """Of logits (m, g, c), which it overwrites: every label under every model is compared."""
        limit = every.amax(dim=2)
        if self.score == "lac":  # to the logarithm of the sum of exponentials
            rest = (every - limit[:, :, None]).clamp_(min=LEAST_LOG_RATIO)
            limit += rest.exp_().sum(dim=2).log_()
        y, images = torch.from_numpy(self.support.y), torch.from_numpy(self.support.images)
        weight = torch.from_numpy(self.support.weight).to(every)
        limit = limit[:, images] - torch.from_numpy(self._offset) - ROUNDING
        if by_class:
            reached = (every[:, images, y] >= limit) * weight
            return every.new_zeros(len(every), every.shape[2]).index_add_(1, y, reached).numpy()
        if len(images) > every.shape[1]:  # one row of the support is a limit for its image
            every = every[:, images]
        return (weight @ every.ge_(limit[:, :, None])).numpy()

    # -- where an image moves few classes -------------------------------------------

    def _count_pairs(self, X: Any, n_images: int, by_class: bool) -> np.ndarray:
        logits, shifts = self.left_out.pairs(self.estimator, X)
        logits = logits.astype(np.float32)
        logits -= logsumexp(logits, axis=1, keepdims=True)
        # Rows last: what belongs to a pair, or to an image, is contiguous.
        moved = np.ascontiguousarray(shifts.T, dtype=np.float32)
        log_proba = np.ascontiguousarray(logits.T)
        limits = self._limits_of_lac if self.score == "lac" else self._limits_of_margin
        limit = limits(log_proba, moved, n_images)[self.support.images]
        limit -= self._offset[:, None] + np.float32(ROUNDING)
        return self._count_limits(log_proba, moved, limit, by_class)

    @property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (k,) and classes (k,)."""
        changes = self.left_out.changes
        return changes.images.numpy(), changes.classes.numpy()

    # Both limits take log_proba (c, m) and shifts (k, m), and leave log_proba + shifts in these.

    def _limits_of_lac(self, log_proba: np.ndarray, moved: np.ndarray, n_images: int) -> np.ndarray:
        """(g, m) logarithm of what the probabilities of a row sum to after an image's shifts."""
        images, classes = self._pairs
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
        images, classes = self._pairs
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
        images, classes = self._pairs
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

    # -- of any score ---------------------------------------------------------------

    def _count_any(self, every: torch.Tensor, by_class: bool) -> np.ndarray:
        """Of logits (m, g, c): the scores of every label by every model, one by one."""
        support = self.support
        new = SCORES[self.score](log_softmax(every.numpy(), axis=2))
        out = np.zeros((len(new), support.n_classes))
        for i, score in enumerate(self.scores):
            conforms = score >= new[:, support.images[i]] - 1e-12
            if by_class:
                conforms[:, np.arange(support.n_classes) != support.y[i]] = False
            out += support.weight[i] * conforms
        return out
