"""Prior precision and temperature from the support set alone, by leave-one-out.

For every precision of a grid the mode is solved for, warm-started from its neighbour; its
leave-one-out logits are scored by their log-loss at the best temperature. Few rows tell
little, so both choices have a weak log-normal prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skclip._core.leave_one_out import (
    fit_log_temperature,
    leave_one_out_logits,
    leverage,
    weighted_log_loss,
)
from skclip._core.linear import LinearProblem, LinearSolution, Span, logits, solve_map

__all__ = ["Choice", "select_precision"]

# On the scale where tau = 100 and rows have unit norm: chosen on splits of support pools.
_LOG_TEMPERATURE_CENTRE = -math.log(1.2)
_LOG_TEMPERATURE_WIDTH = 0.2
_TEXT_PRECISION_CENTRE = 50.0
_LOG_PRECISION_WIDTH = 1.0
_TEXT_GRID = (1000.0, 464.0, 215.0, 100.0, 46.4, 21.5, 10.0, 4.64)
# Without text: features of unit variance, where 1 is LogisticRegression's default.
_PLAIN_PRECISION_CENTRE = 1.0
_PLAIN_LOG_PRECISION_WIDTH = 3.0
# Columns of very unequal scale want a weak prior on the large ones: hence down to 1e-5.
_PLAIN_GRID = (1000.0, 200.0, 40.0, 8.0, 2.0, 0.5, 0.1, 0.02, 5e-3, 1e-3, 2e-4, 4e-5, 1e-5)


@dataclass(frozen=True)
class Choice:
    """The chosen precision (c,), temperature, the mode there, and its mean LOO score."""

    prior_precision: Tensor
    temperature: float
    solution: LinearSolution
    log_likelihood: float


def select_precision(
    problem: LinearProblem,
    span: Span,
    *,
    search: bool,
    temperature: float | None,
    has_text: bool,
    tol: float,
    max_iter: int,
) -> Choice:
    """Best candidate by penalised leave-one-out log-loss.

    Parameters
    ----------
    search : bool
        Whether to search the grid; else the problem's own precision is the only candidate.
    temperature : float or None
        A fixed temperature, or None to fit one for each candidate.
    """
    centre = _TEXT_PRECISION_CENTRE if has_text else _PLAIN_PRECISION_CENTRE
    width = _LOG_PRECISION_WIDTH if has_text else _PLAIN_LOG_PRECISION_WIDTH
    grid = (_TEXT_GRID if has_text else _PLAIN_GRID) if search else (None,)
    best, best_score, start = None, math.inf, None
    for value in grid:
        candidate = problem
        penalty = 0.0
        if value is not None:
            lam = torch.full_like(problem.prior_precision, value)
            candidate = replace(problem, prior_precision=lam)
            penalty = 0.5 * (math.log(value / centre) / width) ** 2
        solution = solve_map(candidate, tol=tol, max_iter=max_iter, span=span, start=start)
        start = (solution.W, solution.b)
        log_t, loss, score = _score(candidate, span, solution, temperature)
        if score + penalty < best_score:
            best_score = score + penalty
            mean = -loss / float(problem.sample_weight.sum())
            best = Choice(candidate.prior_precision, math.exp(log_t), solution, mean)
    if best is None:
        raise ValueError(
            "The leave-one-out score must be finite for at least one prior precision; got none. "
            "Check X for very large values, or pass a number as prior_precision."
        )
    return best


def _score(
    problem: LinearProblem, span: Span, solution: LinearSolution, temperature: float | None
) -> tuple[float, float, float]:
    """(log temperature, LOO log-loss, the same plus the temperature's penalty)."""
    scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
    P = torch.softmax(scores, dim=1)
    a = problem.sample_weight
    q = leverage(problem, span, a[:, None] * P * (1 - P))
    left_out = leave_one_out_logits(scores, P, q, problem.y, a)
    if temperature is not None:
        log_t = math.log(temperature)
        loss = float(weighted_log_loss(left_out / temperature, problem.y, a))
        return log_t, loss, loss
    log_t, score = fit_log_temperature(
        left_out, problem.y, a, centre=_LOG_TEMPERATURE_CENTRE, width=_LOG_TEMPERATURE_WIDTH
    )
    loss = float(weighted_log_loss(left_out / math.exp(log_t), problem.y, a))
    return log_t, loss, score
