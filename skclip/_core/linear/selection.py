r"""Prior precision and temperature from the support set alone, by leave-one-out.

For every candidate precision the mode is solved for, from where its neighbours point to,
and its leave-one-out logits are scored. Few rows tell little, so log precision and log
temperature t have Gaussian priors: the choice minimises

.. math::
    \sum_n w_n \,\mathrm{loss}_n(z^{\mathrm{loo}}_n / e^t)
    + \frac{(\log \lambda / \lambda_0)^2}{2 \sigma_\lambda^2}
    + \frac{(t - t_0)^2}{2 \sigma_t^2}.

A row that is alone in its class says little about how well a class is learned: it leaves
its class with the prior alone. So :math:`w_n = a_n \max(1 - o_n / N_{y_n}, \omega)` with the
weight :math:`o_n` that is left out with it, its class's total :math:`N`, and the weight
:math:`\omega` of a lone row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skclip._core.linear.hyperprior import Hyperprior
from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.objective import LinearProblem, LinearSolution, Span, logits, solve_map
from skclip._core.linear.temperature_scaling import fit_log_temperature, weighted_log_loss
from skclip._core.solve.status import Status

__all__ = ["Choice", "left_out_weight", "select"]

# Accuracy of candidates; only the chosen one is solved to the end. A gradient of 0.005 of
# the prior's own changes the score by less than 0.001 per row, whatever the size of the
# problem; 0.1 by up to 0.05.
_RELATIVE_TOL = 0.005
# Log precisions above the centre that lead there from the prior mean, solved roughly.
_APPROACH = (math.log(100.0), math.log(10.0))
_ROUGH_TOL = 0.3

# Log precisions relative to the centre, and coordinates of the modes there.
_Trail = list[tuple[float, Tensor]]


@dataclass(frozen=True)
class Choice:
    """The chosen precision (c,), temperature, the mode there, and its mean LOO score.

    `tried` holds the log precision relative to the prior's centre, the temperature and the
    penalised loss of every candidate.
    """

    prior_precision: Tensor
    temperature: float
    solution: LinearSolution
    log_likelihood: float
    tried: list[tuple[float, float, float]]


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
    scorer = _Scorer(
        span=span,
        hyperprior=hyperprior,
        weight=left_out_weight(problem, groups, hyperprior.lone_row_weight),
        temperature=temperature,
        groups=groups,
        tol=tol,
        max_iter=max_iter,
        solver=solver,
    )
    if search:
        problem = replace(
            problem,
            prior_precision=torch.full_like(problem.prior_precision, hyperprior.precision),
        )
    searches = search and hyperprior.reach > 0 and float(scorer.weight.sum()) > 0
    trail = scorer.approach(problem)
    best = centre = scorer.evaluate(
        problem, 0.0, _extrapolate(trail, 0.0), _RELATIVE_TOL if searches else 0.0
    )
    trail = [trail[-1], (0.0, centre.solution.coordinates)]
    tried = [centre.summary()]
    if searches:
        best = _climb(scorer, best, -1, problem, trail, tried)
        # Where the score rose on one side it falls on the other.
        if best is centre or hyperprior.patience > 1:
            best = _climb(scorer, best, 1, problem, trail, tried)
    if not math.isfinite(best.score):
        raise ValueError(
            "The leave-one-out score must be finite for at least one prior precision; got none. "
            "Check X for very large values, or pass a number as prior_precision."
        )
    if best.solution.status is Status.STOPPED:
        start = best.solution.coordinates
        best = scorer.evaluate(best.problem, best.distance, start, 0.0)
    scores = best.left_out / best.temperature
    loss = weighted_log_loss(scores, problem.y, problem.sample_weight)
    return Choice(
        prior_precision=best.problem.prior_precision,
        temperature=best.temperature,
        solution=best.solution,
        log_likelihood=-float(loss / problem.sample_weight.sum()),
        tried=sorted(tried),
    )


@dataclass(frozen=True)
class _Candidate:
    """A problem at `distance` = log(precision / centre), its mode and what left-out rows say."""

    problem: LinearProblem
    distance: float
    solution: LinearSolution
    left_out: Tensor
    temperature: float
    score: float

    def summary(self) -> tuple[float, float, float]:
        return self.distance, self.temperature, self.score


@dataclass(frozen=True)
class _Scorer:
    """Solves a candidate and scores it; the arguments of :func:`select`, and row weights."""

    span: Span
    hyperprior: Hyperprior
    weight: Tensor
    temperature: float | None
    groups: Groups | None
    tol: float
    max_iter: int
    solver: str

    def approach(self, problem: LinearProblem) -> _Trail:
        """Rough modes under firmer priors, which are nearer to the prior mean."""
        trail: _Trail = []
        for distance in _APPROACH:
            precision = problem.prior_precision * math.exp(distance)
            firmer = replace(problem, prior_precision=precision)
            solution = self._solve(firmer, _extrapolate(trail, distance), _ROUGH_TOL)
            trail.append((distance, solution.coordinates))
        return trail

    def evaluate(
        self,
        problem: LinearProblem,
        distance: float,
        start: Tensor | None,
        relative_tol: float,
    ) -> _Candidate:
        solution = self._solve(problem, start, relative_tol)
        scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
        left_out = left_out_logits(problem, self.span, scores, groups=self.groups)
        t, score = self._best_temperature(left_out, problem.y)
        score += 0.5 * (distance / self.hyperprior.precision_width) ** 2
        return _Candidate(problem, distance, solution, left_out, math.exp(t), score)

    def _solve(
        self, problem: LinearProblem, start: Tensor | None, relative_tol: float
    ) -> LinearSolution:
        return solve_map(
            problem,
            tol=self.tol,
            max_iter=self.max_iter,
            solver=self.solver,
            span=self.span,
            start=start,
            relative_tol=relative_tol,
        )

    def _best_temperature(self, scores: Tensor, y: Tensor) -> tuple[float, float]:
        """(log temperature, weighted log-loss with the temperature's penalty)."""
        if self.temperature is not None:
            loss = weighted_log_loss(scores / self.temperature, y, self.weight)
            return math.log(self.temperature), float(loss)
        prior = self.hyperprior
        return fit_log_temperature(
            scores, y, self.weight, centre=prior.log_temperature, width=prior.temperature_width
        )


def _climb(
    scorer: _Scorer,
    best: _Candidate,
    sign: int,
    centre: LinearProblem,
    trail: _Trail,
    tried: list[tuple[float, float, float]],
) -> _Candidate:
    """The best of `best` and the candidates on one side of the centre, in steps from it."""
    prior = scorer.hyperprior
    failures = 0
    for count in range(1, prior.reach + 1):
        distance = sign * count * math.log(prior.step)
        problem = replace(centre, prior_precision=centre.prior_precision * math.exp(distance))
        candidate = scorer.evaluate(problem, distance, _extrapolate(trail, distance), _RELATIVE_TOL)
        trail = [trail[-1], (distance, candidate.solution.coordinates)]
        tried.append(candidate.summary())
        if candidate.score < best.score:
            best, failures = candidate, 0
        else:
            failures += 1
        if failures == prior.patience:
            break
    return best


def _extrapolate(trail: _Trail, distance: float) -> Tensor | None:
    """Where the last two modes point to: they move steadily in the logarithm of the precision."""
    if len(trail) < 2:
        return trail[-1][1] if trail else None
    (far_at, far), (near_at, near) = trail[-2:]
    return torch.lerp(far, near, (distance - far_at) / (near_at - far_at))


def left_out_weight(
    problem: LinearProblem, groups: Groups | None, lone_row_weight: float = 0.0
) -> Tensor:
    """w (n,): the row's weight times the share of its class that stays when it is left out.

    At least `lone_row_weight` times its weight.
    """
    a = problem.sample_weight
    own = a.clamp(max=1.0) if groups is None else groups.own
    total = a.new_zeros(len(problem.prior_mean)).index_add(0, problem.y, a)[problem.y]
    return a * (1.0 - own / total.clamp(min=torch.finfo(a.dtype).tiny)).clamp(min=lone_row_weight)
