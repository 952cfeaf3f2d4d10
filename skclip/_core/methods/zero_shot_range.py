r"""Adapters whose logits stay in the range of their zero-shot logits, row by row.

Adaptation stretches the range of a row's logits, and with it the confidence (Murugesan,
Silva-Rodriguez, Ben Ayed, Dolz, "Robust calibration of large vision-language adapters",
ECCV 2024). With zero-shot logits z of a row, three remedies: map the logits to
:math:`[\min z, \max z]` after training (SaLS), or inside the loss (ZS-Norm), or add what
leaves that range to the loss (penalty).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import LinearSolution, log_softmax_gap
from skclip._core.linear.span import Span
from skclip._core.methods.chunks import row_chunks
from skclip._core.posterior.cosine import CosineProblem, cosine_logits
from skclip._core.problem import Problem, weight_of_certificate
from skclip._core.solve import lbfgs
from skclip._core.solve.sgd import Recipe, train

__all__ = ["fit_range_optimum", "fit_range_recipe", "range_excess", "rescale_to_range"]

# Width, in logits, over which the corner of the penalty is rounded for a smooth solver.
CORNER = 0.1


def rescale_to_range(scores: Tensor, reference: Tensor) -> Tensor:
    """Rows of `scores` (n, c) mapped affinely so that their range is that of `reference` (n, k).

    A row of equal scores says nothing and is mapped to the reference's smallest.
    """
    low = scores.amin(dim=1, keepdim=True)
    spread = scores.amax(dim=1, keepdim=True) - low
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    floor = reference.amin(dim=1, keepdim=True)
    stretch = (reference.amax(dim=1, keepdim=True) - floor) / spread
    return (scores - low) * stretch + floor


def range_excess(scores: Tensor, reference: Tensor, corner: float = 0.0) -> Tensor:
    """(n,) mean over classes of how far scores (n, c) are outside the range of `reference` (n, k).

    The first `corner` logits outside the range count by their square over ``2 corner``, so
    that the excess is differentiable.
    """
    low, high = reference.amin(dim=1, keepdim=True), reference.amax(dim=1, keepdim=True)
    # The nearest point of the range moves only where the distance is zero.
    outside = (scores - scores.detach().clamp(low, high)).abs()
    if corner > 0:
        outside = torch.where(
            outside < corner, outside.square() / (2 * corner), outside - 0.5 * corner
        )
    return outside.mean(dim=1)


def text_range(problem: Problem, unit_text: Tensor) -> Tensor:
    """(n, 2) lowest and highest logit of every row, by text (c, d) as it is."""
    out = problem.X.new_empty(len(problem.X), 2)
    for where in row_chunks(len(out), problem.n_classes):
        scores = problem.logit_scale * (problem.X[where] @ unit_text.T)
        out[where] = torch.stack(torch.aminmax(scores, dim=1), dim=1)
    return out


def fit_range_recipe(
    problem: CosineProblem,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    penalty: float | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> Tensor:
    """Weights (c, d) by the recipe from the prior mean.

    With a `penalty`, cross-entropy plus that many times the excess; with None, the
    cross-entropy of rescaled logits.
    """
    weight = problem.sample_weight / problem.sample_weight.mean()
    reference = text_range(problem, F.normalize(problem.prior_mean, dim=1))
    W = problem.prior_mean.clone().requires_grad_(True)

    def loss(rows: Tensor, epoch: int) -> Tensor:
        scores = cosine_logits(problem.X[rows], W, problem.logit_scale)
        if penalty is None:
            scores = rescale_to_range(scores, reference[rows])
        losses = F.cross_entropy(scores, problem.y[rows], reduction="none")
        if penalty is not None:
            losses = losses + penalty * range_excess(scores, reference[rows])
        return (losses * weight[rows]).mean()

    train([W], loss, len(problem.X), recipe, generator, callback=callback)
    return W.detach()


def fit_range_optimum(
    problem: LinearProblem, penalty: float, *, tol: float, max_iter: int
) -> LinearSolution:
    r"""Minimise the convex form with linear logits :math:`s = \tau W x`,

    .. math::
        \sum_n a_n \left( -\log \mathrm{softmax}_{y_n}(s_n) + \mu\, e_n(s_n) \right)
        + \tfrac12 \sum_c \lambda_c \|w_c - t_c\|^2,

    with the excess e and its corner rounded. Without bias and metric.
    """
    span = Span.of(problem)
    Z, tau, a = span.Z, problem.logit_scale, problem.sample_weight
    reference = text_range(problem, problem.prior_mean)
    total = weight_of_certificate(a, problem.X)
    lam = problem.prior_precision[:, None]

    def value_and_gradient(D: Tensor) -> tuple[float, Tensor]:
        W = problem.prior_mean + span.weights(D)
        gradient = lam * D
        value = 0.5 * float((lam * D.square()).double().sum())
        for where in row_chunks(len(Z), problem.n_classes):
            scores, y = tau * (problem.X[where] @ W.T), problem.y[where]
            loss, P = log_softmax_gap(scores, y)
            loss = loss + penalty * range_excess(scores, reference[where], CORNER)
            P[torch.arange(len(P), device=P.device), y] -= 1.0
            slope = P.add_(_excess_slope(scores, reference[where]), alpha=penalty)
            slope.mul_(a[where, None])
            gradient.addmm_(slope.T, Z[where], alpha=tau)
            value += float(torch.dot(loss.double(), a[where].double()))
        return value, gradient

    def certificate(gradient: Tensor) -> float:
        return float(gradient.norm(dim=1).max()) / (tau * total)

    # Half of the largest curvature of the log-likelihood in a logit.
    diagonal = lam + 0.125 * tau**2 * span.energy
    start = torch.zeros_like(diagonal)
    result = lbfgs.minimize(
        value_and_gradient, start, 1.0 / diagonal, certificate, tol=tol, max_iter=max_iter
    )
    W = problem.prior_mean + span.weights(result.point)
    return LinearSolution(
        W=W,
        b=W.new_zeros(len(W)),
        coordinates=result.point,
        objective=result.objective,
        gradient_norm=result.gradient_norm,
        n_iter=result.n_iter,
        status=result.status,
    )


def _excess_slope(scores: Tensor, reference: Tensor) -> Tensor:
    """(n, c) derivative of the rounded excess in the scores."""
    above = (scores - reference.amax(dim=1, keepdim=True)).clamp(0.0, CORNER)
    below = (reference.amin(dim=1, keepdim=True) - scores).clamp(0.0, CORNER)
    return (above - below) / (CORNER * scores.shape[1])
