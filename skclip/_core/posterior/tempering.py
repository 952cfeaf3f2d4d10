r"""How much of the posterior to average over, chosen by leave-one-out.

The untempered posterior of few-shot classification is too wide (the cold-posterior
effect; Wenzel et al., "How good is the Bayes posterior in deep neural networks really?",
ICML 2020). Its covariance is scaled by a temperature T in [0, 1]; the left-out
predictive of a row has mean :math:`z^{\mathrm{loo}}` and variance
:math:`T q / (1 - h q)`, and T minimises the penalised log-loss of their average, together
with the temperature of the logits where that is free: averaging flattens, so that it
asks for sharper logits. T = 0 predicts at the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skclip._core.linear.hyperprior import Hyperprior
from skclip._core.linear.leave_one_out import Groups
from skclip._core.posterior.draws import average, logit_draws

__all__ = [
    "POSTERIOR_TEMPERATURES",
    "LeftOut",
    "Tempering",
    "choose",
    "left_out_means",
    "left_out_variance",
]

POSTERIOR_TEMPERATURES = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_SMALLEST_REMAINDER = 1e-3
# Steps of the log temperature, downwards from that of the mean.
_LOG_STEP = 0.1
_MAX_STEPS = 8


@dataclass(frozen=True)
class LeftOut:
    """Left-out logits (n, c), variances (n, c) or None; y and scoring weights (n,)."""

    scores: Tensor
    variance: Tensor | None
    y: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Tempering:
    """Penalised loss of the left-out rows, and both temperatures."""

    loss: float
    posterior_temperature: float
    temperature: float


def left_out_variance(
    variance: Tensor,
    curvature: Tensor,
    ceiling: Tensor,
    sample_weight: Tensor,
    groups: Groups | None,
) -> Tensor:
    """Variances (n, c) of the logits of every row by the posterior without it.

    ``q / (1 - h q)`` with variance q and curvature ``h = a p (1 - p)``; of a row of weight
    a > 1 one copy is left out. With groups, h is summed over the group, which is exact
    for identical rows. The prior's variance is the ceiling.
    """
    leverage = variance * _left_out(curvature, sample_weight, groups)
    return torch.minimum(variance / (1.0 - leverage).clamp(min=_SMALLEST_REMAINDER), ceiling)


def left_out_means(
    scores: Tensor,
    variance: Tensor,
    curvature: Tensor,
    force: Tensor,
    sample_weight: Tensor,
    groups: Groups | None,
) -> Tensor:
    """Logits (n, c) of every row by the variational posterior without it.

    One fixed-point step, ``z - q f / (1 - h q)`` with ``h = a E[p (1 - p)]`` and the force
    ``f = a (y - E[p])``; groups as in :func:`left_out_variance`.
    """
    leverage = variance * _left_out(curvature, sample_weight, groups)
    pull = variance * _left_out(force, sample_weight, groups)
    return scores - pull / (1.0 - leverage).clamp(min=_SMALLEST_REMAINDER)


def _left_out(values: Tensor, sample_weight: Tensor, groups: Groups | None) -> Tensor:
    """(n, c) what leaves with a row: its value (of one copy), or the sum over its group."""
    if groups is None:
        return values / sample_weight.clamp(min=1.0)[:, None]
    present = groups.present[..., None].to(values.dtype)
    summed = (values[groups.rows] * present).sum(dim=1)
    out = torch.empty_like(values)
    out[groups.rows[groups.present]] = summed[torch.nonzero(groups.present)[:, 0]]
    return out


def choose(
    left: LeftOut,
    noise: Tensor,
    candidates: Sequence[float],
    *,
    temperature: float,
    free: bool,
    hyperprior: Hyperprior,
    what: str = "probabilities",
) -> Tempering:
    """The candidate posterior temperature of the smallest loss; the first of equals.

    Parameters
    ----------
    noise : Tensor of shape (s, c)
        Standard normal draws.
    temperature : float
        Of the logits; where `free`, the one that suits predictions at the mean.
    what : {"probabilities", "logits"}
    """

    def evaluate(T: float, t: float) -> float:
        scores = left.scores / math.exp(t)
        if T > 0 and left.variance is not None:
            std = (T * left.variance).sqrt() / math.exp(t)
            log_proba = average(logit_draws(scores, std, noise), what)
        else:
            log_proba = torch.log_softmax(scores, dim=1)
        losses = -log_proba.gather(1, left.y[:, None]).squeeze(1)
        penalty = (t - hyperprior.log_temperature) / hyperprior.temperature_width
        return float(torch.dot(left.weight, losses)) + (0.5 * penalty**2 if free else 0.0)

    best: Tempering | None = None
    for T in candidates:
        t = math.log(temperature)
        value = evaluate(T, t)
        for _ in range(_MAX_STEPS if free and T > 0 else 0):
            new_value = evaluate(T, t - _LOG_STEP)
            if not new_value < value:
                break
            t, value = t - _LOG_STEP, new_value
        if best is None or value < best.loss:
            best = Tempering(value, T, math.exp(t))
    if best is None:
        raise ValueError("At least one candidate temperature is needed; got none.")
    return best
