"""Laplace's approximation: the precision of the weights from the curvature at the mode."""

from __future__ import annotations

import torch
from torch import Tensor

from skclip._core.posterior.block import BlockGaussian
from skclip._core.posterior.variational import Observations

__all__ = ["laplace", "max_rank"]

# Bytes that the posterior of one fit may take.
_FACTOR_BYTES = 2**28
_SMALLEST_MAX_RANK = 16


def laplace(data: Observations, prior: BlockGaussian, point: Tensor, kind: str) -> BlockGaussian:
    """Precisions from the curvature p (1 - p) at a mode, in the form of a kind."""
    P = torch.softmax(data.logits(point), dim=1)
    curvature = data.sample_weight[:, None] * P * (1 - P)
    return data.absorbed_by(prior, curvature, kind, max_rank=max_rank(prior))


def max_rank(prior: BlockGaussian) -> int:
    """Directions per class that fit the budget of memory: 256 MiB for all classes."""
    c, r = prior.diagonal.shape
    row = max(1, c * r * prior.diagonal.element_size())
    return max(_SMALLEST_MAX_RANK, _FACTOR_BYTES // row)
