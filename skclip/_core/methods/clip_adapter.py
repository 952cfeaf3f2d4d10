r"""CLIP-Adapter: a bottleneck network beside the image features, trained by a recipe.

.. math::
    f(x) = r \,\mathrm{ReLU}(U\,\mathrm{ReLU}(D x)) + (1 - r)\, x, \qquad
    z_c = \tau \Big\langle \frac{f(x)}{\|f(x)\|}, \frac{t_c}{\|t_c\|} \Big\rangle

(Gao et al., "CLIP-Adapter: better vision-language models with feature adapters", IJCV 2024).
Dropout of hidden units, kept at prediction, makes draws of an approximate posterior (Gal and
Ghahramani, "Dropout as a Bayesian approximation", ICML 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from skclip._core.model import Averaging, AveragingModel
from skclip._core.posterior.cosine import cosine_logits
from skclip._core.problem import Problem
from skclip._core.solve.sgd import Recipe, train

__all__ = [
    "Bottleneck",
    "BottleneckModel",
    "dropout_masks",
    "fit_bottleneck",
    "initial_bottleneck",
]


@dataclass(frozen=True)
class Bottleneck:
    """Weights down (h, d) and up (d, h), and the share `ratio` of what they make."""

    down: Tensor
    up: Tensor
    ratio: float

    def adapt(self, X: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, d) blended features, of any norm; the mask (h,) or (n, h) is of hidden units."""
        hidden = torch.relu(X @ self.down.T)
        if mask is not None:
            hidden = hidden * mask
        return self.ratio * torch.relu(hidden @ self.up.T) + (1.0 - self.ratio) * X

    def logits(
        self, X: Tensor, prototypes: Tensor, logit_scale: float, mask: Tensor | None = None
    ) -> Tensor:
        """(n, c) scaled cosines of the blended features and the prototypes."""
        adapted = F.normalize(self.adapt(X, mask), dim=1)
        return cosine_logits(adapted, prototypes, logit_scale)


@dataclass(frozen=True)
class BottleneckModel(AveragingModel):
    """The network before text prototypes (c, d); with dropout, predictions average over masks."""

    network: Bottleneck
    prototypes: Tensor
    logit_scale: float
    dropout: float
    averaging: Averaging

    @property
    def n_classes(self) -> int:
        return len(self.prototypes)

    @property
    def has_spread(self) -> bool:
        return self.dropout > 0

    def logits(self, X: Tensor) -> Tensor:
        return self.network.logits(X, self.prototypes, self.logit_scale)

    def draws(
        self, X: Tensor, n_draws: int | None = None, seed: int | None = None
    ) -> Iterator[Tensor]:
        """Every draw has one mask for all rows."""
        if not self.has_spread:
            yield self.logits(X)
            return
        n, seed = self._count_and_seed(n_draws, seed)
        generator = torch.Generator().manual_seed(seed)
        down = self.network.down
        for mask in dropout_masks(n, len(down), self.dropout, generator, down):
            yield self.network.logits(X, self.prototypes, self.logit_scale, mask)


def initial_bottleneck(
    n_features: int, n_hidden: int, ratio: float, generator: torch.Generator, like: Tensor
) -> Bottleneck:
    """Kaiming-uniform weights as of ``torch.nn.Linear``: uniform within 1 / sqrt(inputs).

    Drawn on the CPU in float64, so that a seed means the same on every device.
    """

    def layer(n_out: int, n_in: int) -> Tensor:
        uniform = torch.rand(n_out, n_in, generator=generator, dtype=torch.float64)
        return ((2.0 * uniform - 1.0) / math.sqrt(n_in)).to(like)

    return Bottleneck(layer(n_hidden, n_features), layer(n_features, n_hidden), ratio)


def fit_bottleneck(
    problem: Problem,
    start: Bottleneck,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    dropout: float = 0.0,
    callback: Callable[[int, float], None] | None = None,
) -> Bottleneck:
    """Weights that minimise the cross-entropy by the recipe; every row has its own mask."""
    down = start.down.clone().requires_grad_(True)
    up = start.up.clone().requires_grad_(True)
    network = Bottleneck(down, up, start.ratio)
    weight = problem.sample_weight / problem.sample_weight.mean()

    def loss(rows: Tensor, epoch: int) -> Tensor:
        mask = None
        if dropout > 0:
            mask = dropout_masks(len(rows), len(down), dropout, generator, down)
        scores = network.logits(problem.X[rows], problem.prior_mean, problem.logit_scale, mask)
        losses = F.cross_entropy(scores, problem.y[rows], reduction="none")
        return (losses * weight[rows]).mean()

    train([down, up], loss, len(problem.X), recipe, generator, callback=callback)
    return Bottleneck(down.detach(), up.detach(), start.ratio)


def dropout_masks(
    n: int, h: int, dropout: float, generator: torch.Generator, like: Tensor
) -> Tensor:
    """(n, h) zeros, and 1 / (1 - dropout) where a unit is kept."""
    kept = torch.rand(n, h, generator=generator, dtype=torch.float64) >= dropout
    return (kept.double() / (1.0 - dropout)).to(like)
