r"""The cosine form of BayesAdapter, trained by stochastic gradients: the paper's recipe.

.. math::
    p(y = c \mid x, W) = \mathrm{softmax}_c(\tau \langle x, w_c / \|w_c\| \rangle), \quad
    q(w_c) = N(m_c, s_c^2 I), \quad p(w_c) = N(t_c, \sigma_0^2 I),

with one scalar ``log s_c`` per class (Morales-Alvarez et al., "BayesAdapter: enhanced
uncertainty estimation in CLIP few-shot adaptation", arXiv 2412.09718). The
prototypes' norm matters here: it sets the scale of the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from skclip._core.model import Averaging, AveragingModel
from skclip._core.problem import Problem
from skclip._core.solve.sgd import Recipe, train

__all__ = [
    "CosineModel",
    "CosineProblem",
    "cosine_logits",
    "fit_cosine_map",
    "fit_cosine_posterior",
    "kl_to_prior",
]


@dataclass(frozen=True, kw_only=True)
class CosineProblem(Problem):
    """A problem of unit rows with an isotropic prior per class, of deviations prior_std (c,)."""

    prior_std: Tensor


@dataclass(frozen=True)
class CosineModel(AveragingModel):
    """Cosine logits over the temperature, under weights of mean (c, d) and deviation std (c,)."""

    mean: Tensor
    std: Tensor
    logit_scale: float
    temperature: float
    averaging: Averaging

    @property
    def n_classes(self) -> int:
        return len(self.mean)

    def logits(self, X: Tensor) -> Tensor:
        return cosine_logits(X, self.mean, self.logit_scale) / self.temperature

    def draws(
        self, X: Tensor, n_draws: int | None = None, seed: int | None = None
    ) -> Iterator[Tensor]:
        n, seed = self._count_and_seed(n_draws, seed)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(n):
            noise = _normal(tuple(self.mean.shape), generator, self.mean)
            W = self.mean + self.std[:, None] * noise
            yield cosine_logits(X, W, self.logit_scale) / self.temperature


def cosine_logits(X: Tensor, W: Tensor, logit_scale: float) -> Tensor:
    """``tau <x, w / |w|>``: (..., n, c) from X (n, d) and W (..., c, d)."""
    return logit_scale * (X @ F.normalize(W, dim=-1).mT)


def kl_to_prior(mean: Tensor, log_std: Tensor, prior_mean: Tensor, prior_std: Tensor) -> Tensor:
    """Twice the Kullback-Leibler divergence, less a constant, as the recipe writes it.

    ``sum_c d s_c^2/sigma_c^2 + |m_c - t_c|^2/sigma_c^2 + d (log sigma_c^2 - log s_c^2)``.
    """
    d = mean.shape[1]
    variance_ratio = (2 * (log_std - prior_std.log())).exp()
    distance = (mean - prior_mean).square().sum(dim=1) / prior_std.square()
    return (d * variance_ratio + distance + 2 * d * (prior_std.log() - log_std)).sum()


def fit_cosine_posterior(
    problem: CosineProblem,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    averaging: Averaging,
    temperature: float = 1.0,
    n_samples: int = 3,
    kl_scale: float = 1.0 / 1000.0,
    callback: Callable[[int, float], None] | None = None,
) -> CosineModel:
    """Variational posterior by the recipe, start at the prior.

    The loss of a step in epoch e of E is the cross-entropy averaged over `n_samples`
    draws of W and the batch, plus ``(e / E) kl_scale / (c d)`` times :func:`kl_to_prior`.
    """
    mean = problem.prior_mean.clone().requires_grad_(True)
    log_std = problem.prior_std.log().clone().requires_grad_(True)
    weight = problem.sample_weight / problem.sample_weight.mean()
    c, d = mean.shape

    def loss(rows: Tensor, epoch: int) -> Tensor:
        noise = _normal((n_samples, c, d), generator, mean)
        W = mean + log_std.exp()[:, None] * noise
        scores = cosine_logits(problem.X[rows], W, problem.logit_scale)
        targets = problem.y[rows].expand(n_samples, -1)
        losses = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
        fit = (losses.view(n_samples, -1) * weight[rows]).mean()
        ramp = (epoch + 1) / recipe.epochs * kl_scale / (c * d)
        return fit + ramp * kl_to_prior(mean, log_std, problem.prior_mean, problem.prior_std)

    train([mean, log_std], loss, len(problem.X), recipe, generator, callback=callback)
    std = log_std.detach().exp()
    return CosineModel(mean.detach(), std, problem.logit_scale, temperature, averaging)


def fit_cosine_map(
    problem: CosineProblem,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    penalty: Tensor | None = None,
    adapt: Callable[[Tensor], Tensor] | None = None,
    residual_scale: float = 1.0,
    callback: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, float]:
    r"""Point estimate by the recipe: cross-entropy plus ``mean_c penalty_c |w_c - t_c|^2``.

    With no penalty this is the zero-shot-initialised linear probe (ZS-LP) of Silva-Rodriguez
    et al., "A closer look at the few-shot adaptation of large vision-language models",
    CVPR 2024; their CLAP has one multiplier per class.

    Parameters
    ----------
    penalty : Tensor of shape (c,), optional
        Multipliers of the squared distances.
    adapt : callable, optional
        Squared distances (c,) at the end of an epoch -> multipliers of the next.
    residual_scale : float
        alpha in W = T + alpha R: what is trained, and what the recipe's weight decay is on, is
        R. It starts at zero.
    """
    start = problem.prior_mean
    R = torch.zeros_like(start).requires_grad_(True)
    weight = problem.sample_weight / problem.sample_weight.mean()

    def distance() -> Tensor:
        return (residual_scale * R).square().sum(dim=1)

    def loss(rows: Tensor, epoch: int) -> Tensor:
        scores = cosine_logits(problem.X[rows], start + residual_scale * R, problem.logit_scale)
        losses = F.cross_entropy(scores, problem.y[rows], reduction="none")
        value = (losses * weight[rows]).mean()
        if penalty is not None:
            value = value + (penalty * distance()).mean()
        return value

    def after_epoch(epoch: int, value: float) -> None:
        nonlocal penalty
        if adapt is not None:
            penalty = adapt(distance().detach())
        if callback is not None:
            callback(epoch, value)

    final = train([R], loss, len(problem.X), recipe, generator, callback=after_epoch)
    return (start + residual_scale * R).detach(), final


def _normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers that are the same for every device and precision."""
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return noise.to(device=like.device, dtype=like.dtype)
