"""The data of a fit of the linear form, with its prior."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skclip._core.problem import Problem

__all__ = ["LinearProblem"]


@dataclass(frozen=True, kw_only=True)
class LinearProblem(Problem):
    """A problem with the prior of the linear form.

    prior_precision (c,) in inverse squared weight units; metric (d, d) or None for the
    identity; bias_variance: 0 for no bias, infinity for a bias without prior. scatter_share is
    how much of the support rows' scatter within classes is in the inverse of M M' (0 where
    leaving out a row does not change the metric, or is not worth the work).
    """

    prior_precision: Tensor
    bias_variance: float = 0.0
    metric: Tensor | None = None
    scatter_share: float = 0.0

    @property
    def has_bias(self) -> bool:
        return self.bias_variance > 0

    def prior_logits(self) -> Tensor:
        """(n, c) at the prior mean, without bias; memory of the caller's own."""
        if not self.has_text:
            return self.X.new_zeros(len(self.X), self.n_classes)
        return (self.X @ self.prior_mean.T).mul_(self.logit_scale)
