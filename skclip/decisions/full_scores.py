"""Full conformal counts: every label of a new row is tried, and judged like the images.

The row is given a label and joins the support. Each of the n + 1 is then scored by the model of the
n others: all are treated alike, so that the rank of the row's score is uniform at its right label.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skclip.adapters.augmented import Augmented, AugmentedLogits
from skclip.decisions.left_out_scores import LEAST_LOG_RATIO, NUMBERS_IN_CACHE, ROUNDING, Support
from skclip.utils.threads import deserve, few_threads

__all__ = ["SCORES_OF_FULL", "FullScores"]

SCORES_OF_FULL = ("lac", "margin")


@dataclass(frozen=True)
class FullScores:
    """Models with a new row and without each image, see ``skclip.adapters.augmented``."""

    support: Support
    estimator: Any
    augmented: Augmented
    score: str

    def count(self, X: Any, by_class: bool) -> np.ndarray:
        """(m, c) support images that conform no better than the rows, these being of each label."""
        y = torch.from_numpy(self.support.y)
        score = _margins if self.score == "margin" else _minus_log_proba
        with few_threads():
            deserve(len(X) * len(y) * self.support.n_classes)
            parts = []
            for found in self.augmented.logits(self.estimator, X, NUMBERS_IN_CACHE):
                images, rows = score(found, y)
                if by_class:
                    own = (images[:, torch.arange(len(y)), y] >= rows[:, y] - ROUNDING).float()
                    parts.append(torch.zeros_like(rows).index_add_(1, y, own))
                else:
                    parts.append(images.ge_(rows[:, None] - ROUNDING).sum(dim=1))
            return torch.cat(parts).double().numpy()


# Both take logits of m rows, and give scores (m, n, c) of the n images of labels y (n,) where the
# row has each of c labels, and of the row (m, c).


def _margins(found: AugmentedLogits, y: Tensor) -> tuple[Tensor, Tensor]:
    keys, bump, rows = found
    top, best = keys.max(dim=2, keepdim=True)
    # The largest of the other logits: the second where the label's own is the largest.
    second = keys.scatter(2, best, -torch.inf).amax(dim=2, keepdim=True)
    others = top.expand_as(keys).scatter(2, best, second)
    moved = keys + bump[:, :, None]
    images = _less_own(torch.maximum(moved, others), keys, moved, y)
    return images, rows.amax(dim=1, keepdim=True) - rows


def _minus_log_proba(found: AugmentedLogits, y: Tensor) -> tuple[Tensor, Tensor]:
    """They are ordered as one minus probabilities."""
    keys, bump, rows = found
    moved = keys + bump[:, :, None]
    top = torch.maximum(keys.amax(dim=2), moved.amax(dim=2))[:, :, None]
    share = (keys - top).clamp_(min=LEAST_LOG_RATIO).exp_()
    # What the label takes from the sum, and gives; never less than nothing.
    total = (share.sum(dim=2, keepdim=True) - share).clamp_(min=0.0)
    total += (moved - top).clamp_(min=LEAST_LOG_RATIO).exp_()
    images = _less_own(total.log_().add_(top), keys, moved, y)
    return images, -torch.log_softmax(rows, dim=1)


def _less_own(values: Tensor, keys: Tensor, moved: Tensor, y: Tensor) -> Tensor:
    """Values (m, n, c) less the logit of each image's label, moved where the row has it too.

    A difference of equal numbers is 0, whatever they were rounded to.
    """
    own = (slice(None), torch.arange(len(y)), y)
    same = values[own] - moved[own]
    values -= keys[own][:, :, None]
    values[own] = same
    return values
