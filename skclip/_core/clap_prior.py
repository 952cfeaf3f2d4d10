r"""The prior that makes the posterior mode CLAP's optimum.

CLAP (Silva-Rodriguez et al., "A closer look at the few-shot adaptation of large
vision-language models", CVPR 2024) minimises, over n rows and c classes,

.. math::
    \frac{1}{n} \sum_n \mathrm{loss}_n + \frac{1}{c} \sum_c \mu_c \|w_c - t_c\|^2

with the multiplier :math:`\mu_c` the mean zero-shot probability of the true class over
class c's rows. Times n this is the negative log posterior under
:math:`w_c \sim N(t_c, \lambda_c^{-1} I)` with :math:`\lambda_c = 2 n \mu_c / c`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clap_multipliers", "clap_precision"]

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


def clap_precision(scores: Tensor, y: Tensor, sample_weight: Tensor) -> Tensor:
    """(c,) prior precisions; n is the sum of the weights. Multipliers are at least 1e-6."""
    multipliers = clap_multipliers(scores, y, sample_weight).clamp(min=_SMALLEST_MULTIPLIER)
    return 2.0 * sample_weight.sum() / scores.shape[1] * multipliers
