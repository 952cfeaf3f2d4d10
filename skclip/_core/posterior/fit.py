"""A fit of the linear form: choose the prior, solve for the mode, put a posterior around it.

:func:`fit_posterior` is the whole of it; everything else here is one of its steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from skclip._core.linear.hyperprior import Hyperprior, plain_hyperprior, text_hyperprior
from skclip._core.linear.leave_one_out import Groups, left_out_logits, left_out_weight
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import DEFAULT_TOL, LinearSolution, logits, solve_map
from skclip._core.linear.span import Span
from skclip._core.linear.temperature_scaling import fit_log_temperature
from skclip._core.model import Averaging
from skclip._core.posterior.block import BlockGaussian, Frame, prior_of
from skclip._core.posterior.draws import standard_normal
from skclip._core.posterior.gaussian_model import ClassMeans, GaussianModel
from skclip._core.posterior.laplace import curvature_at, laplace, max_rank
from skclip._core.posterior.tempering import (
    LeftOut,
    Tempering,
    choose,
    left_out_means,
    left_out_variance,
)
from skclip._core.posterior.variational import (
    FramedRows,
    Observations,
    VariationalSolution,
    maximize_bound,
    n_bound_draws,
)
from skclip._core.solve.status import Report

__all__ = ["PosteriorFit", "PosteriorSettings", "Solver", "fit_posterior", "single_precision"]

# Bytes of a posterior's factor above which it is kept in float32.
_SINGLE_PRECISION_BYTES = 2**26


@dataclass(frozen=True)
class Solver:
    """ "newton-cg" or "lbfgs", its certificate, and its iterations (None: what suits it)."""

    name: str = "newton-cg"
    tol: float | None = None
    max_iter: int | None = None

    @property
    def gradient_tol(self) -> float:
        """The certificate of what has no other rule to stop."""
        return DEFAULT_TOL if self.tol is None else self.tol

    @property
    def iterations(self) -> int:
        return self.max_iter or (100 if self.name == "newton-cg" else 1000)

    @property
    def rounds(self) -> int:
        """Of the variational bound."""
        return self.max_iter or 100


@dataclass(frozen=True)
class PosteriorSettings:
    """What is put around the mode, and how predictions average over it.

    `kind` is "map", "laplace" or "variational"; `covariance` that of a class's weights as in
    :meth:`BlockGaussian.absorb`; `temperatures` the candidates of the posterior temperature,
    of which left-out rows choose.
    """

    kind: Literal["map", "laplace", "variational"]
    covariance: str
    temperatures: Sequence[float]
    averaging: Averaging


@dataclass(frozen=True)
class PosteriorFit:
    """The model, and what a user may want to know of how it came about.

    `solution` is the solver's report on the model's mean, `others` those of what was solved
    on the way. `bound` is the variational one.
    """

    model: GaussianModel
    solution: Report
    others: list[Report]
    bound: float | None = None


@dataclass(frozen=True)
class _Mode:
    """One problem with its mode, the logits (n, c) there, and what leave-one-out needs."""

    problem: LinearProblem
    span: Span
    groups: Groups | None
    hyperprior: Hyperprior
    solution: LinearSolution
    scores: Tensor
    temperature: float
    temperature_is_free: bool


@dataclass(frozen=True)
class _Posterior:
    """Coordinates of the mean, precisions, the solver's report and the bound, if it has one."""

    point: Tensor
    gaussian: BlockGaussian
    solution: Report
    bound: float | None = None
    tempering: Tempering | None = None


def fit_posterior(
    problem: LinearProblem,
    settings: PosteriorSettings,
    solver: Solver,
    *,
    expected_precision: bool,
    temperature: float | None,
    groups: Groups | None = None,
    n_views: float = 1.0,
) -> PosteriorFit:
    """The model of a problem, from its rows alone.

    Parameters
    ----------
    expected_precision : bool
        Take the prior precision that is expected of such a task; else the problem's own.
    temperature : float or None
        Of the logits; None chooses it by leave-one-out.
    groups : Groups, optional
        Rows that are left out together.
    n_views : float
        Views that a row is the mean of.
    """
    mode = _fit_mode(problem, solver, expected_precision, temperature, groups, n_views)
    problem = mode.problem
    frame = Frame.of(problem, mode.span)
    rows = FramedRows.in_span(problem, mode.span)
    prior = prior_of(problem, mode.span)
    posteriors = _posteriors(mode, rows, prior, settings, solver)
    best = posteriors[0]
    for other in posteriors[1:]:
        if other.tempering is not None and best.tempering is not None:
            best = other if other.tempering.loss < best.tempering.loss else best
    shift, b = frame.weights(best.point, problem.logit_scale)
    tempering = best.tempering
    model = GaussianModel(
        W=problem.prior_mean + shift,
        b=b - b.mean(),
        b_shift=float(b.mean()),
        logit_scale=problem.logit_scale,
        temperature=mode.temperature if tempering is None else tempering.temperature,
        posterior_temperature=0.0 if tempering is None else tempering.posterior_temperature,
        frame=frame,
        posterior=single_precision(best.gaussian),
        averaging=settings.averaging,
        prior_precision=problem.prior_precision,
        bias_variance=problem.bias_variance,
        class_means=ClassMeans.of(problem),
    )
    solved = [mode.solution, *(p.solution for p in posteriors)]
    return PosteriorFit(
        model=model,
        solution=best.solution,
        others=[other for other in solved if other is not best.solution],
        bound=best.bound,
    )


def single_precision(gaussian: BlockGaussian) -> BlockGaussian:
    """The same with its factor in float32, where that is large."""
    factor = gaussian.factor
    if factor.numel() * factor.element_size() <= _SINGLE_PRECISION_BYTES:
        return gaussian
    return replace(gaussian, factor=factor.float())


# -- the mode -------------------------------------------------------------------------


def _fit_mode(
    problem: LinearProblem,
    solver: Solver,
    expected_precision: bool,
    temperature: float | None,
    groups: Groups | None,
    n_views: float,
) -> _Mode:
    scores = problem.prior_logits()
    if problem.has_text:
        hyperprior = text_hyperprior(problem, n_views, scores)
    else:
        hyperprior = plain_hyperprior(problem)
    if expected_precision:
        lam = torch.full_like(problem.prior_precision, hyperprior.precision)
        problem = replace(problem, prior_precision=lam)
    span = Span.of(problem)
    solution = solve_map(
        problem,
        span=span,
        tol=solver.tol,
        max_iter=solver.iterations,
        solver=solver.name,
        prior_logits=scores,
    )
    if solution.logits is None:
        scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
    else:
        scores = solution.logits
    free = temperature is None
    if temperature is None:
        temperature = _temperature(problem, span, scores, hyperprior, groups)
    return _Mode(problem, span, groups, hyperprior, solution, scores, temperature, free)


def _temperature(
    problem: LinearProblem,
    span: Span,
    scores: Tensor,
    hyperprior: Hyperprior,
    groups: Groups | None,
) -> float:
    """That of left-out rows, within what is expected."""
    t, loss = fit_log_temperature(
        left_out_logits(problem, span, scores, groups=groups),
        problem.y,
        left_out_weight(problem, groups, hyperprior.lone_row_weight),
        centre=hyperprior.log_temperature,
        width=hyperprior.temperature_width,
    )
    if not math.isfinite(loss):
        raise ValueError(
            "The leave-one-out loss must be finite; it is not. Check X for very large values, "
            "or pass a number as temperature."
        )
    return math.exp(t)


# -- the posterior --------------------------------------------------------------------


def _posteriors(
    mode: _Mode,
    rows: FramedRows,
    prior: BlockGaussian,
    settings: PosteriorSettings,
    solver: Solver,
) -> list[_Posterior]:
    """Candidates, of which the first is taken unless another's left-out loss is smaller."""
    if settings.kind == "variational":
        data = Observations.of(rows, mode.problem)
        return _variational(mode, data, prior, settings, solver)
    gaussian = laplace(rows, prior, mode.scores, settings.covariance)
    found = _Posterior(mode.solution.coordinates, gaussian, mode.solution)
    if settings.kind == "map":
        return [found]
    left_out = _laplace_left_out(mode, rows, prior, gaussian, mode.scores)
    return [_tempered(mode, settings, left_out, found)]


def _variational(
    mode: _Mode,
    data: Observations,
    prior: BlockGaussian,
    settings: PosteriorSettings,
    solver: Solver,
) -> list[_Posterior]:
    """The best bound at every posterior temperature; each starts at the one before."""
    out, point = [], mode.solution.coordinates
    for beta in settings.temperatures:
        one = replace(settings, temperatures=(beta,))
        if beta == 0:
            # The bound's limit when the spread vanishes is the log posterior of the mode.
            scores = data.logits(point)
            gaussian = laplace(data, prior, scores, settings.covariance)
            found = _Posterior(point, gaussian, mode.solution, -mode.solution.objective)
            left_out = _laplace_left_out(mode, data, prior, gaussian, scores)
        else:
            solution = maximize_bound(
                data,
                prior,
                settings.covariance,
                beta=beta,
                seed=settings.averaging.seed,
                tol=solver.gradient_tol,
                max_iter=solver.rounds,
                start=point,
                max_rank=max_rank(prior),
            )
            point = solution.point
            found = _Posterior(point, solution.posterior, solution, solution.bound)
            left_out = partial(_variational_left_out, mode, data, prior, settings, solution)
        out.append(_tempered(mode, one, left_out, found))
    return out


def _tempered(
    mode: _Mode,
    settings: PosteriorSettings,
    left_out: Callable[[], tuple[Tensor, Tensor]],
    found: _Posterior,
) -> _Posterior:
    """With the candidate temperatures that predict left-out rows best.

    `left_out` makes their logits and variances, which nobody needs where nothing is chosen.
    """
    free = mode.temperature_is_free
    if len(settings.temperatures) == 1 and not free:
        only = Tempering(math.nan, settings.temperatures[0], mode.temperature)
        return replace(found, tempering=only)
    scores, variance = left_out()
    n, c = scores.shape
    averaging = settings.averaging
    tempering = choose(
        LeftOut(
            scores=scores,
            variance=variance,
            y=mode.problem.y,
            weight=left_out_weight(mode.problem, mode.groups, mode.hyperprior.lone_row_weight),
        ),
        standard_normal(min(averaging.n_draws, n_bound_draws(n, c)), c, averaging.seed),
        settings.temperatures,
        temperature=mode.temperature,
        free=free,
        hyperprior=mode.hyperprior,
        what=averaging.what,
    )
    return replace(found, tempering=tempering)


# -- left-out rows --------------------------------------------------------------------


def _laplace_left_out(
    mode: _Mode, rows: FramedRows, prior: BlockGaussian, gaussian: BlockGaussian, scores: Tensor
) -> Callable[[], tuple[Tensor, Tensor]]:
    """Makes logits and variances (n, c) of every row by Laplace's posterior without it.

    `scores` (n, c) are the logits at the mode that the posterior is put around.
    """

    def left_out() -> tuple[Tensor, Tensor]:
        curvature = curvature_at(scores, rows.sample_weight)
        variance = _left_out_variance(mode, rows, prior, gaussian, curvature)
        return left_out_logits(mode.problem, mode.span, scores, groups=mode.groups), variance

    return left_out


def _variational_left_out(
    mode: _Mode,
    data: Observations,
    prior: BlockGaussian,
    settings: PosteriorSettings,
    solution: VariationalSolution,
) -> tuple[Tensor, Tensor]:
    """Logits and variances (n, c) of every row by the variational posterior without it."""
    influence = solution.posterior
    if settings.covariance != "full":
        influence = data.absorbed_by(prior, solution.curvature, "full", max_rank=max_rank(prior))
    force = -solution.probabilities
    force[torch.arange(len(force), device=force.device), data.y] += 1.0
    scores = left_out_means(
        data.logits(solution.point),
        data.logit_variance(influence),
        solution.curvature,
        data.sample_weight[:, None] * force,
        data.sample_weight,
        mode.groups,
    )
    return scores, _left_out_variance(mode, data, prior, solution.posterior, solution.curvature)


def _left_out_variance(
    mode: _Mode,
    rows: FramedRows,
    prior: BlockGaussian,
    gaussian: BlockGaussian,
    curvature: Tensor,
) -> Tensor:
    return left_out_variance(
        rows.logit_variance(gaussian),
        curvature,
        rows.logit_variance(prior),
        rows.sample_weight,
        mode.groups,
    )
