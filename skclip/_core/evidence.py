r"""Prior precision and temperature from the support set alone, by leave-one-out.

For every candidate precision the mode is solved for, warm-started from its neighbour, and
its leave-one-out logits are scored. Few rows tell little, so log precision and log
temperature t have Gaussian priors: the choice minimises

.. math::
    \sum_n w_n \,\mathrm{loss}_n(z^{\mathrm{loo}}_n / e^t)
    + \frac{(\log \lambda / \lambda_0)^2}{2 \sigma_\lambda^2}
    + \frac{(t - t_0)^2}{2 \sigma_t^2}.

A row that is alone in its class says nothing about how well a class is learned: it leaves
its class with the prior alone. So :math:`w_n = a_n (1 - o_n / N_{y_n})` with the weight
:math:`o_n` that is left out with it and its class's total :math:`N`; at one shot both
choices are those of their priors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skclip._core.leave_one_out import Groups, left_out_logits
from skclip._core.linear import LinearProblem, LinearSolution, Span, logits, solve_map
from skclip._core.temperature import fit_log_temperature, weighted_log_loss

__all__ = ["Choice", "Hyperprior", "plain_hyperprior", "select", "text_hyperprior"]


@dataclass(frozen=True)
class Hyperprior:
    """Centre and width of the log precision and the log temperature; candidates' factors."""

    precision: float
    precision_width: float
    log_temperature: float = -0.2
    temperature_width: float = 0.1
    factors: Sequence[float] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Choice:
    """The chosen precision (c,), temperature, the mode there, and its mean LOO score."""

    prior_precision: Tensor
    temperature: float
    solution: LinearSolution
    log_likelihood: float


def text_hyperprior(problem: LinearProblem) -> Hyperprior:
    r"""Centre :math:`30 (\tau / 100)^2 (c / 30)^{1/2} (\ell / 0.09 \log c)^{-1/2}`.

    Precisions are relative to the square of the logit scale. More classes need a firmer prior; a text that misleads on the support set, shown by a
    large zero-shot log-loss l, deserves a looser one. The log-loss is shrunk by ten
    pseudo-rows towards 0.09 log c, that of a good text prior.
    """
    c = len(problem.prior_mean)
    a = problem.sample_weight
    scores = problem.logit_scale * (problem.X @ problem.prior_mean.T)
    typical = 0.09 * math.log(c)
    total = float(weighted_log_loss(scores, problem.y, a))
    loss = (total + 10 * typical) / (float(a.sum()) + 10)
    scale = (problem.logit_scale / 100.0) ** 2
    return Hyperprior(30.0 * scale * (c / 30) ** 0.5 * (loss / typical) ** -0.5, 0.5)


def plain_hyperprior() -> Hyperprior:
    """Without text, on features of unit variance: centre 1, LogisticRegression's default.

    Columns of very unequal scale want a weak prior on the large ones, hence the width.
    """
    factors = tuple(10.0**power for power in torch.linspace(3, -5, 13).tolist())
    return Hyperprior(1.0, 3.0, log_temperature=0.0, temperature_width=0.2, factors=factors)


def select(
    problem: LinearProblem,
    span: Span,
    *,
    hyperprior: Hyperprior,
    search: bool,
    temperature: float | None,
    groups: Groups | None,
    tol: float,
    max_iter: int,
    solver: str = "newton-cg",
) -> Choice:
    """The candidate of the best penalised leave-one-out score.

    Parameters
    ----------
    search : bool
        Whether to search the precisions ``hyperprior.precision`` times its factors, from
        large to small; else the problem's own is the only candidate.
    temperature : float or None
        A fixed temperature, or None to fit one for each candidate.
    """
    weight = left_out_weight(problem, groups)
    factors = sorted(hyperprior.factors, reverse=True) if search else [1.0]
    best: Choice | None = None
    best_score, start = math.inf, None
    for factor in factors:
        candidate, penalty = problem, 0.0
        if search:
            lam = torch.full_like(problem.prior_precision, factor * hyperprior.precision)
            candidate = replace(problem, prior_precision=lam)
            penalty = 0.5 * (math.log(factor) / hyperprior.precision_width) ** 2
        solution = solve_map(
            candidate, tol=tol, max_iter=max_iter, solver=solver, span=span, start=start
        )
        start = solution.coordinates
        scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
        left_out = left_out_logits(candidate, span, scores, groups=groups)
        t, score = _best_temperature(left_out, problem.y, weight, hyperprior, temperature)
        if score + penalty < best_score:
            best_score = score + penalty
            loss = weighted_log_loss(left_out / math.exp(t), problem.y, problem.sample_weight)
            mean = -float(loss) / float(problem.sample_weight.sum())
            best = Choice(candidate.prior_precision, math.exp(t), solution, mean)
    if best is None:
        raise ValueError(
            "The leave-one-out score must be finite for at least one prior precision; got none. "
            "Check X for very large values, or pass a number as prior_precision."
        )
    return best


def left_out_weight(problem: LinearProblem, groups: Groups | None) -> Tensor:
    """w (n,): the row's weight times the share of its class that stays when it is left out."""
    a = problem.sample_weight
    own = a.clamp(max=1.0) if groups is None else groups.own
    total = a.new_zeros(len(problem.prior_mean)).index_add(0, problem.y, a)[problem.y]
    return a * (1.0 - own / total.clamp(min=torch.finfo(a.dtype).tiny)).clamp(min=0.0)


def _best_temperature(
    scores: Tensor, y: Tensor, weight: Tensor, prior: Hyperprior, temperature: float | None
) -> tuple[float, float]:
    """(log temperature, weighted log-loss with the temperature's penalty)."""
    if temperature is not None:
        return math.log(temperature), float(weighted_log_loss(scores / temperature, y, weight))
    return fit_log_temperature(
        scores, y, weight, centre=prior.log_temperature, width=prior.temperature_width
    )
