r"""How strange a label is for a row, from its class probabilities: larger is stranger.

With probabilities :math:`p_{(1)} \ge p_{(2)} \ge \dots` and r the rank of label y:

- "lac" (least ambiguous set-valued classifier): :math:`1 - p_y`. Of all scores it has the smallest
  sets on average where probabilities are right, and empty ones where no label is likely enough.
- "aps" (adaptive prediction sets): :math:`p_{(1)} + \dots + p_{(r)}`, without a random part: the
  top label's score is its probability.
- "raps" (regularised): aps plus 0.01 for every rank beyond the fifth, which cuts long tails.
- "margin": :math:`\log p_{(1)} - \log p_y`. The top label has the score 0 whatever its probability,
  so that it is in every set: sets are never empty, and cover at least as often as the
  classifier is right.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["SCORES", "aps", "lac", "margin", "raps"]

_RAPS_PENALTY, _RAPS_FREE_RANKS = 0.01, 5


def lac(log_proba: np.ndarray) -> np.ndarray:
    """1 - p of every label.

    >>> lac(np.log([[0.5, 0.25, 0.25]])).tolist()
    [[0.5, 0.75, 0.75]]
    """
    return -np.expm1(log_proba)


def aps(log_proba: np.ndarray) -> np.ndarray:
    """Mass of the labels that are at least as likely, ties in the order of classes.

    >>> aps(np.log([[0.25, 0.5, 0.25]])).tolist()
    [[0.75, 0.5, 1.0]]
    """
    order = np.argsort(-log_proba, axis=-1, kind="stable")
    mass = np.cumsum(np.exp(np.take_along_axis(log_proba, order, axis=-1)), axis=-1)
    out = np.empty_like(mass)
    np.put_along_axis(out, order, mass, axis=-1)
    return out


def raps(log_proba: np.ndarray) -> np.ndarray:
    """The same and 0.01 for every rank beyond the fifth.

    >>> raps(np.log(np.full((1, 8), 0.125)))[0, [0, 4, 7]].round(3).tolist()
    [0.125, 0.625, 1.03]
    """
    rank = np.argsort(np.argsort(-log_proba, axis=-1, kind="stable"), axis=-1) + 1
    return aps(log_proba) + _RAPS_PENALTY * np.maximum(0, rank - _RAPS_FREE_RANKS)


def margin(log_proba: np.ndarray) -> np.ndarray:
    """Log-probability of the top label less that of every label.

    >>> margin(np.log([[0.5, 0.25, 0.25]])).round(3).tolist()
    [[0.0, 0.693, 0.693]]
    """
    return log_proba.max(axis=-1, keepdims=True) - log_proba


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "lac": lac,
    "aps": aps,
    "raps": raps,
    "margin": margin,
}
