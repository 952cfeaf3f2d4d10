r"""CLAP's multipliers, and the prior that makes the posterior mode CLAP's optimum.

CLAP (Silva-Rodriguez et al., "A closer look at the few-shot adaptation of large
vision-language models", CVPR 2024) minimises, over n rows and c classes,

.. math::
    \frac{1}{n} \sum_n \mathrm{loss}_n + \frac{1}{c} \sum_c \mu_c \|w_c - t_c\|^2

with the multiplier :math:`\mu_c` the mean zero-shot probability of the true class over
class c's rows. Times n this is the negative log posterior under
:math:`w_c \sim N(t_c, \lambda_c^{-1} I)` with :math:`\lambda_c = 2 n \mu_c / c`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from skclip._core.problem import Problem

__all__ = [
    "AdaptiveMultipliers",
    "Variant",
    "clap_multipliers",
    "multiplier_variant",
    "precision_of",
    "zero_shot_precision",
]

Variant = Literal["initial", "constant", "balanced", "corrected", "adaptive"]

# A class whose text is always wrong would have no prior at all.
_SMALLEST_MULTIPLIER = 1e-6


def clap_multipliers(scores: Tensor, y: Tensor, sample_weight: Tensor) -> Tensor:
    """(c,) multipliers from zero-shot logits (n, c); a class without rows gets their mean."""
    c = scores.shape[1]
    true = torch.softmax(scores, dim=1).gather(1, y[:, None]).squeeze(1)
    total = scores.new_zeros(c).index_add(0, y, sample_weight)
    sums = scores.new_zeros(c).index_add(0, y, sample_weight * true)
    seen = total > 0
    multipliers = sums / torch.where(seen, total, torch.ones_like(total))
    return torch.where(seen, multipliers, multipliers[seen].mean())


def multiplier_variant(multipliers: Tensor, name: Variant) -> Tensor:
    """One of the published variants (c,) from the mean probabilities of :func:`clap_multipliers`.

    "constant" is their mean, "balanced" 1, "corrected" scales them to mean 1; "initial", and
    "adaptive", which starts there, leave them alone.
    """
    if name == "constant":
        return multipliers.mean().expand_as(multipliers)
    if name == "balanced":
        return torch.ones_like(multipliers)
    if name == "corrected":
        return multipliers / multipliers.mean()
    return multipliers


class AdaptiveMultipliers:
    r"""Multipliers that grow with the distances of the weights, an augmented Lagrangian.

    After every epoch :math:`\mu_c \leftarrow \max(0, \mu_c + \rho_c h_c)` and
    :math:`\rho_c \leftarrow h_c` for :math:`h_c = \|w_c - t_c\|^2`, from
    :math:`\rho_c = 0`: the Powell-Hestenes-Rockafellar step of CLAP's own code, whose penalty
    parameter is the distance of the epoch before. `multipliers` are the latest.
    """

    def __init__(self, multipliers: Tensor) -> None:
        self.multipliers = multipliers
        self._rate = torch.zeros_like(multipliers)

    def __call__(self, distance: Tensor) -> Tensor:
        """The multipliers after an epoch that ended at squared distances (c,)."""
        self.multipliers = (self.multipliers + self._rate * distance).clamp(min=0.0)
        self._rate = distance
        return self.multipliers


def precision_of(multipliers: Tensor, total_weight: float | Tensor) -> Tensor:
    """Prior precisions 2 n mu / c (c,) with n the sum of the weights; multipliers from 1e-6 on."""
    factor = 2.0 * total_weight / len(multipliers)
    return factor * multipliers.clamp(min=_SMALLEST_MULTIPLIER)


def zero_shot_precision(problem: Problem) -> Tensor:
    """(c,) prior precisions of CLAP's own multipliers, "initial"."""
    unit = F.normalize(problem.prior_mean, dim=1)
    scores = problem.logit_scale * (problem.X @ unit.T)
    multipliers = clap_multipliers(scores, problem.y, problem.sample_weight)
    return precision_of(multipliers, problem.sample_weight.sum())
