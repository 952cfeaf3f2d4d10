r"""How strange a label is for a row, from its class probabilities: larger is stranger.

With probabilities :math:`p_{(1)} \ge p_{(2)} \ge \dots` and r the rank of label y:

- "margin": :math:`\log p_{(1)} - \log p_y`.
- "aps" (adaptive prediction sets): :math:`p_{(1)} + \dots + p_{(r - 1)}`, the mass of the labels
  that are more likely.
- "raps" (regularised): the same and 0.01 for every rank beyond the fifth, which cuts long tails.
- "lac" (least ambiguous set-valued classifier): :math:`1 - p_y`.

The first three are 0 for the top label, whatever its probability. So it is in every set, and
what a left-out image does to a probability near 1, which is a matter of the last digits, decides
nothing, as it would in the usual APS, which counts the label's own mass. "lac" has the smallest
sets where probabilities are right, some of them empty.
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
    """Mass of the labels that are more likely, ties in the order of classes.

    >>> aps(np.log([[0.25, 0.5, 0.25]])).tolist()
    [[0.5, 0.0, 0.75]]
    """
    order = np.argsort(-log_proba, axis=-1, kind="stable")
    proba = np.exp(np.take_along_axis(log_proba, order, axis=-1))
    out = np.empty_like(proba)
    np.put_along_axis(out, order, np.cumsum(proba, axis=-1) - proba, axis=-1)
    return out


def raps(log_proba: np.ndarray) -> np.ndarray:
    """The same and 0.01 for every rank beyond the fifth.

    >>> raps(np.log(np.full((1, 8), 0.125)))[0, [0, 4, 7]].round(3).tolist()
    [0.0, 0.5, 0.905]
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
