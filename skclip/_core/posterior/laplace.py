"""Laplace's approximation: the precision of the weights from the curvature at the mode."""

from __future__ import annotations

import torch
from torch import Tensor

from skclip._core.posterior.block import BlockGaussian
from skclip._core.posterior.variational import FramedRows

__all__ = ["curvature_at", "laplace", "max_rank"]

# Bytes that the posterior of one fit may take.
_FACTOR_BYTES = 2**28
_SMALLEST_MAX_RANK = 16


def laplace(rows: FramedRows, prior: BlockGaussian, scores: Tensor, kind: str) -> BlockGaussian:
    """Precisions from the curvature at a mode with logits (n, c), in the form of a kind."""
    curvature = curvature_at(scores, rows.sample_weight)
    return rows.absorbed_by(prior, curvature, kind, max_rank=max_rank(prior))


def curvature_at(scores: Tensor, sample_weight: Tensor) -> Tensor:
    """(n, c) of the loss in the logits (n, c), but for what classes share: a p (1 - p)."""
    P = torch.softmax(scores, dim=1)
    return torch.addcmul(P, P, P, value=-1.0).mul_(sample_weight[:, None])


def max_rank(prior: BlockGaussian) -> int:
    """Directions per class that fit the budget of memory: 256 MiB for all classes."""
    c, r = prior.diagonal.shape
    row = max(1, c * r * prior.diagonal.element_size())
    return max(_SMALLEST_MAX_RANK, _FACTOR_BYTES // row)
