"""The data of one fit: the fields that all problems share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from torch import Tensor

__all__ = ["Problem"]


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
