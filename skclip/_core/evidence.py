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
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skclip._core.leave_one_out import Groups, left_out_logits
from skclip._core.linear import LinearProblem, LinearSolution, Span, logits, solve_map
from skclip._core.temperature import fit_log_temperature, weighted_log_loss

__all__ = ["Choice", "Hyperprior", "plain_hyperprior", "select", "text_hyperprior"]


@dataclass(frozen=True)
class Hyperprior:
    """Centre and width of the log precision and the log temperature; what to try.

    Candidates are the centre times powers of `step`, at most `reach` of them on each side;
    a direction is given up after `patience` candidates in a row that are no better.
    """

    precision: float
    precision_width: float
    log_temperature: float = -0.2
    temperature_width: float = 0.15
    step: float = 10**0.5
    reach: int = 3
    patience: int = 1


@dataclass(frozen=True)
class Choice:
    """The chosen precision (c,), temperature, the mode there, and its mean LOO score."""

    prior_precision: Tensor
    temperature: float
    solution: LinearSolution
    log_likelihood: float


def text_hyperprior(problem: LinearProblem) -> Hyperprior:
    r"""What precision and temperature are likely, from the classes and the text's own fit.

    With the zero-shot log-loss of the support rows relative to that of a good text prior,
    :math:`\ell / 0.09 \log c` (shrunk towards 1 by ten pseudo-rows), the centres are

    .. math::
        \lambda_0 = 40 \Big(\frac{\tau}{100}\Big)^2 \Big(\frac{c}{30}\Big)^{1/2}
                    \Big(\frac{\ell}{0.09 \log c}\Big)^{-1/4}, \qquad
        t_0 = -0.2 + 0.2 \log \frac{\ell}{0.09 \log c}.

    Precisions are relative to the square of the logit scale; more classes need a firmer
    prior; a text that misleads deserves a looser one and less confidence.
    """
    c = len(problem.prior_mean)
    a = problem.sample_weight
    scores = problem.logit_scale * (problem.X @ problem.prior_mean.T)
    typical = 0.09 * math.log(max(c, 2))
    total = float(weighted_log_loss(scores, problem.y, a))
    relative = (total + 10 * typical) / (float(a.sum()) + 10) / typical
    precision = 40.0 * (problem.logit_scale / 100.0) ** 2 * (c / 30) ** 0.5 * relative**-0.25
    return Hyperprior(precision, 0.5, log_temperature=-0.2 + 0.2 * math.log(relative))


def plain_hyperprior() -> Hyperprior:
    """Without text, on features of unit variance: centre 1, LogisticRegression's default.

    Columns of very unequal scale want a weak prior on the large ones, hence the width.
    """
    return Hyperprior(
        precision=1.0,
        precision_width=3.0,
        log_temperature=0.0,
        temperature_width=0.2,
        step=5.0,
        reach=7,
        patience=2,
    )


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
        Whether to search precisions, the same for all classes; else the problem's own is
        the only candidate.
    temperature : float or None
        A fixed temperature, or None to fit one for each candidate.
    """
    weight = left_out_weight(problem, groups)

    def evaluate(exponent: int, start: Tensor | None) -> tuple[float, Choice]:
        candidate, penalty = problem, 0.0
        if search:
            value = hyperprior.precision * hyperprior.step**exponent
            lam = torch.full_like(problem.prior_precision, value)
            candidate = replace(problem, prior_precision=lam)
            distance = exponent * math.log(hyperprior.step) / hyperprior.precision_width
            penalty = 0.5 * distance**2
        solution = solve_map(
            candidate, tol=tol, max_iter=max_iter, solver=solver, span=span, start=start
        )
        scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
        left_out = left_out_logits(candidate, span, scores, groups=groups)
        t, score = _best_temperature(left_out, problem.y, weight, hyperprior, temperature)
        loss = weighted_log_loss(left_out / math.exp(t), problem.y, problem.sample_weight)
        mean = -float(loss) / float(problem.sample_weight.sum())
        return score + penalty, Choice(candidate.prior_precision, math.exp(t), solution, mean)

    centre_score, centre = evaluate(0, None)
    best_score, best = centre_score, centre
    # At one shot nothing is left to compare; the priors' centres stand.
    if search and float(weight.sum()) > 0:
        for sign in (-1, 1):
            if sign > 0 and best is not centre and hyperprior.patience == 1:
                break  # the score fell on the other side already
            start, failures = centre.solution.coordinates, 0
            for exponent in range(1, hyperprior.reach + 1):
                score, choice = evaluate(sign * exponent, start)
                start = choice.solution.coordinates
                failures = 0 if score < best_score else failures + 1
                if score < best_score:
                    best_score, best = score, choice
                if failures == hyperprior.patience:
                    break
    if not math.isfinite(best_score):
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
