r"""Image rows and text rows as one training set.

.. math::
    \tfrac12 \frac{\sum_n a_n \mathrm{loss}(x_n, y_n)}{\sum_n a_n}
    + \tfrac12 \frac1m \sum_{i=1}^m \mathrm{loss}(s_i, z_i)
    + \frac{\omega}{2} \|W - T\|^2

over images x with labels y and texts s with labels z (Lin et al., "Multimodality helps
unimodality: cross-modal few-shot learning with multimodal models", CVPR 2023). Times
:math:`2 \sum a` it is the linear form's objective on all rows, where a text has weight
:math:`\sum a / m` and the prior precision is :math:`2 \omega \sum a`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.posterior.cosine import cosine_logits
from skclip._core.problem import Problem
from skclip._core.solve.sgd import Recipe, train

__all__ = ["CrossModalProblem", "as_linear_problem", "fit_cross_modal"]


@dataclass(frozen=True, kw_only=True)
class CrossModalProblem(Problem):
    """A problem with text rows (m, d) and their codes text_y (m,); T is the prior mean."""

    text: Tensor
    text_y: Tensor


def as_linear_problem(problem: CrossModalProblem, weight_decay: float) -> LinearProblem:
    """The convex problem on all rows, in which both modalities weigh the same."""
    total = problem.sample_weight.sum()
    share = (total / len(problem.text)).expand(len(problem.text))
    return LinearProblem.of(
        problem,
        X=torch.cat([problem.X, problem.text]),
        y=torch.cat([problem.y, problem.text_y]),
        sample_weight=torch.cat([problem.sample_weight, share]),
        prior_precision=(2.0 * weight_decay * total).expand(problem.n_classes),
    )


def fit_cross_modal(
    problem: CrossModalProblem,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    cosine: bool,
    callback: Callable[[int, float], None] | None = None,
) -> Tensor:
    """Weights (c, d) trained on batches of images and as many texts, drawn with replacement.

    Logits are cosines, or inner products where `cosine` is False. The recipe's weight
    decay is on W - T.
    """
    R = torch.zeros_like(problem.prior_mean).requires_grad_(True)
    weight = problem.sample_weight / problem.sample_weight.mean()
    m = len(problem.text)

    def logits(rows: Tensor) -> Tensor:
        W = problem.prior_mean + R
        if cosine:
            return cosine_logits(rows, W, problem.logit_scale)
        return problem.logit_scale * (rows @ W.T)

    def loss(rows: Tensor, epoch: int) -> Tensor:
        texts = torch.randint(m, (len(rows),), generator=generator).to(rows.device)
        images = F.cross_entropy(logits(problem.X[rows]), problem.y[rows], reduction="none")
        of_text = F.cross_entropy(logits(problem.text[texts]), problem.text_y[texts])
        return 0.5 * (images * weight[rows]).mean() + 0.5 * of_text

    train([R], loss, len(problem.X), recipe, generator, callback=callback)
    return (problem.prior_mean + R).detach()
