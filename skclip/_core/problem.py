"""The data of one fit: the fields that all problems share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["Problem", "weight_of_certificate"]

# Weight and length of a row beyond which neither relaxes what is asked of a gradient.
_MOST = 100.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Support rows, labels, weights, and the text that the weights start from.

    All tensors share device and dtype: X (n, d); y (n,) int64 codes 0..c-1; sample_weight
    (n,), not negative; prior_mean (c, d), the text prototypes, or zeros where `has_text` is
    false; logit_scale > 0.
    """

    X: Tensor
    y: Tensor
    sample_weight: Tensor
    prior_mean: Tensor
    logit_scale: float
    has_text: bool = True

    @property
    def n_classes(self) -> int:
        return len(self.prior_mean)

    @classmethod
    def of(cls, problem: Problem, **more: Any) -> Self:
        """The same data, with what this kind of problem adds or replaces."""
        shared = {field.name: getattr(problem, field.name) for field in fields(Problem)}
        return cls(**{**shared, **more})


def weight_of_certificate(sample_weight: Tensor, rows: Tensor) -> float:
    """What a gradient is divided by to be compared with `tol`.

    That is the sum of the weights, where these count rows and the rows (n, d) are of ordinary
    length. The prior pulls as hard whatever the weights are: divided by weights of millions its
    pull is less than any `tol`, and the certificate would hold far from the optimum. So would it
    for rows that are much longer, and, with a gradient that is small at the start already, for
    rows shorter than 1: each asks for as much more.
    """
    total = float(sample_weight.double().sum())
    lengths = torch.linalg.vector_norm(rows, dim=1).double()
    square = float(sample_weight.double() @ lengths.square()) / total
    length = square**0.5 or 1.0
    return min(1.0, length, _MOST / length) * min(total, _MOST * len(sample_weight))
