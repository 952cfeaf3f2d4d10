"""A temperature for logits, with a weak prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["fit_log_temperature", "weighted_log_loss"]

_MAX_ITER = 60
_BRACKET = 5.0


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
    low, high = -_BRACKET, _BRACKET
    t = centre
    z = scores - scores.amax(dim=1, keepdim=True)
    chosen = z.gather(1, y[:, None]).squeeze(1)
    for _ in range(_MAX_ITER):
        beta = math.exp(-t)
        P = torch.softmax(beta * z, dim=1)
        mean = (P * z).sum(dim=1)
        variance = (P * z.square()).sum(dim=1) - mean.square()
        gap = beta * float(torch.dot(weight, mean - chosen))
        slope = -gap + (t - centre) / width**2
        curvature = gap + beta**2 * float(torch.dot(weight, variance)) + 1.0 / width**2
        low, high = (low, t) if slope > 0 else (t, high)
        new = t - slope / curvature if curvature > 0 else low
        new = new if low < new < high else 0.5 * (low + high)
        if abs(new - t) < 1e-10:
            break
        t = new
    loss = float(weighted_log_loss(scores / math.exp(t), y, weight))
    return t, loss + 0.5 * ((t - centre) / width) ** 2
