"""The model of the linear form: Gaussian weights, one independent block per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skclip._core.model import Averaging, AveragingModel
from skclip._core.posterior.block import BlockGaussian, Frame
from skclip._core.posterior.draws import logit_draws, standard_normal
from skclip._core.problem import Problem

__all__ = ["ClassMeans", "GaussianModel"]

# Share of the covariance, and draws, by which a model that predicts at its mean knows what it
# does not know: of those in docs/tables/posterior_use.rst, which are of development tasks, that
# which tells classes it was not taught best.
_UNCERTAINTY_TEMPERATURE = 0.03
_UNCERTAINTY_DRAWS = 256
# The same for all: what a mode says does not depend on a random state.
_UNCERTAINTY_SEED = 0


@dataclass(frozen=True)
class ClassMeans:
    """Mean (c, d) and total weight (c,) of the rows of each class that were learned from."""

    mean: Tensor
    total: Tensor

    @classmethod
    def of(
        cls, problem: Problem, before: ClassMeans | None = None, position: Tensor | None = None
    ) -> ClassMeans:
        """Those of a problem's rows, with those `before` of the classes at `position`."""
        total = problem.X.new_zeros(problem.n_classes)
        sums = torch.zeros_like(problem.prior_mean)
        total.index_add_(0, problem.y, problem.sample_weight)
        sums.index_add_(0, problem.y, problem.sample_weight[:, None] * problem.X)
        if before is not None and position is not None:
            total[position] += before.total
            sums[position] += before.total[:, None] * before.mean
        mean = sums / torch.where(total > 0, total, torch.ones_like(total))[:, None]
        return cls(mean, total)


@dataclass(frozen=True)
class GaussianModel(AveragingModel):
    """Weights of mean W (c, d), b (c,) and covariance `posterior_temperature` times A_c^-1.

    The precisions A_c in `posterior` are of coordinates in `frame`. b has mean zero, and b_shift
    is what was taken from it: a class that arrives later has a bias of zero before that.
    prior_precision (c,) and bias_variance are the prior's, for such classes; `class_means`
    tell them where the old ones are.
    """

    W: Tensor
    b: Tensor
    b_shift: float
    logit_scale: float
    temperature: float
    posterior_temperature: float
    frame: Frame
    posterior: BlockGaussian
    averaging: Averaging
    prior_precision: Tensor
    bias_variance: float
    class_means: ClassMeans

    @property
    def n_classes(self) -> int:
        return len(self.W)

    @property
    def has_spread(self) -> bool:
        return self.posterior_temperature > 0

    @property
    def posterior_is_isotropic(self) -> bool:
        """Whether the covariance of each class's weights is one number times the identity."""
        gaussian = self.posterior
        weights = gaussian.diagonal[:, : self.frame.basis.shape[1]]
        one_number = not len(gaussian.owner) and bool((weights == gaussian.outside[:, None]).all())
        return self.has_spread and one_number and self.frame.metric is None

    def logits(self, X: Tensor) -> Tensor:
        b, W = self.b / self.temperature, self.W / self.temperature
        return torch.addmm(b, X, W.T, alpha=self.logit_scale)

    def coordinates(self, X: Tensor) -> Tensor:
        return self.frame.coordinates(X)[0]

    def logit_variance(self, X: Tensor) -> Tensor:
        """(n, c) variances of the logits at posterior temperature 1."""
        variance = self.posterior.variance(*self.frame.coordinates(X))
        return (self.logit_scale / self.temperature) ** 2 * variance

    def draws(
        self, X: Tensor, n_draws: int | None = None, seed: int | None = None
    ) -> Iterator[Tensor]:
        if not self.has_spread:
            return iter([self.logits(X)])
        n, seed = self._count_and_seed(n_draws, seed)
        return self._draws(X, self.posterior_temperature, n, seed)

    def uncertainty_draws(self, X: Tensor) -> Iterator[Tensor]:
        if self.has_spread:
            return self.draws(X)
        return self._draws(X, _UNCERTAINTY_TEMPERATURE, _UNCERTAINTY_DRAWS, _UNCERTAINTY_SEED)

    def _draws(self, X: Tensor, temperature: float, n: int, seed: int) -> Iterator[Tensor]:
        std = (temperature * self.logit_variance(X)).sqrt()
        return logit_draws(self.logits(X), std, standard_normal(n, self.n_classes, seed))
