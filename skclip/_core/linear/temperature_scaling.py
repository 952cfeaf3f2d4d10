"""A temperature for logits, with a weak prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skclip._core.solve import one_dimensional

__all__ = ["fit_log_temperature", "weighted_log_loss"]

_BRACKET = 5.0
_BYTES_PER_CHUNK = 4 * 2**20
_LEAST_LOG_PROBABILITY = -60.0


def weighted_log_loss(scores: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Sum over rows of the weight times the negative log-likelihood."""
    return torch.dot(weight, torch.nn.functional.cross_entropy(scores, y, reduction="none"))


def fit_log_temperature(
    scores: Tensor, y: Tensor, weight: Tensor, *, centre: float, width: float
) -> tuple[float, float]:
    """Log temperature t that minimises the log-loss of ``scores / exp(t)``.

    Returns (t, penalised loss), the minimum of
    ``sum_n a_n loss_n(z_n / exp(t)) + ((t - centre) / width)^2 / 2`` over
    ``|t| <= 5``, by Newton steps on t that bisection safeguards.
    """
    top = scores.amax(dim=1)
    chosen = scores.gather(1, y[:, None]).squeeze(1) - top

    def measure(t: float) -> tuple[float, float, float]:
        beta = math.exp(-t)
        log_normaliser, mean, variance = _moments(scores, top, beta)
        gap = beta * float(torch.dot(weight, mean - chosen))
        slope = -gap + (t - centre) / width**2
        curvature = gap + beta**2 * float(torch.dot(weight, variance)) + 1.0 / width**2
        loss = float(torch.dot(weight, log_normaliser - beta * chosen))
        return loss, slope, curvature

    # About 1e-5 in float32 and 1e-11 in float64: smaller steps are rounding errors of the sums.
    smallest_step = torch.finfo(scores.dtype).eps ** 0.7
    t, loss = one_dimensional.minimize(
        measure, centre, -_BRACKET, _BRACKET, smallest_step=smallest_step
    )
    return t, loss + 0.5 * ((t - centre) / width) ** 2


def _moments(scores: Tensor, top: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) log normaliser of ``beta (z - top)``, and mean and variance of ``z - top``."""
    log_normaliser, mean, variance = (torch.empty_like(top) for _ in range(3))
    n, c = scores.shape
    step = max(1, _BYTES_PER_CHUNK // (c * scores.element_size()))
    for first in range(0, n, step):
        rows = slice(first, first + step)
        z = scores[rows] - top[rows, None]
        # Denormal numbers are slow; what this changes is below any rounding.
        P = (beta * z).clamp_(min=_LEAST_LOG_PROBABILITY).exp_()
        total = P.sum(dim=1)
        weighted = P.mul_(z)
        first_moment = weighted.sum(dim=1) / total
        second_moment = weighted.mul_(z).sum(dim=1) / total
        log_normaliser[rows] = total.log()
        mean[rows] = first_moment
        variance[rows] = second_moment - first_moment.square()
    return log_normaliser, mean, variance
