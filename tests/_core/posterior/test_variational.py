"""The variational bound: its limits, its gradients, and that it is a bound."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import solve_map
from skclip._core.linear.span import Span
from skclip._core.posterior.block import Frame, prior_of
from skclip._core.posterior.draws import RowDraws
from skclip._core.posterior.variational import (
    GaussianObjective,
    Observations,
    divergence,
    kinds_of_rows,
    maximize_bound,
    n_bound_draws,
)
from skclip._core.solve.status import Status

from ..conftest import make_problem

KINDS = ["isotropic", "diagonal", "full"]


def setting(problem):
    span = Span.of(problem)
    phi, _ = Frame.of(problem, span).coordinates(problem.X)
    data = Observations(
        phi=phi,
        outside_square=torch.zeros(len(phi), dtype=phi.dtype),
        base=problem.logit_scale * (problem.X @ problem.prior_mean.T),
        y=problem.y,
        sample_weight=problem.sample_weight,
        logit_scale=problem.logit_scale,
    )
    return data, prior_of(problem, span), span


def maximize(data, prior, kind, beta=1.0, **changes):
    settings = {"beta": beta, "seed": 0, "tol": 1e-7, "max_iter": 200, "n_draws": 64, **changes}
    return maximize_bound(data, prior, kind, **settings)


@pytest.mark.parametrize("bias_variance", [0.0, 0.1, math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_never_decreases(kind, bias_variance):
    data, prior, _ = setting(make_problem(tau=15.0, bias_variance=bias_variance, metric=True))
    solution = maximize(data, prior, kind, tol=1e-9)
    history = torch.tensor(solution.history, dtype=torch.float64)
    assert len(history) > 1
    assert torch.all(history.diff() >= -1e-9 * history.abs().max())
    assert solution.status is Status.CONVERGED
    assert solution.gradient_norm < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_vanishing_temperature_is_the_mode(kind):
    problem = make_problem(bias_variance=0.1)
    data, prior, span = setting(problem)
    mode = solve_map(problem, tol=1e-10, max_iter=200, span=span)
    solution = maximize(data, prior, kind, beta=1e-10)
    torch.testing.assert_close(solution.point, mode.coordinates, atol=1e-5, rtol=0)
    assert solution.bound == pytest.approx(-mode.objective, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_without_weight_on_the_rows_the_posterior_is_the_prior(kind):
    problem = make_problem(bias_variance=0.1)
    data, prior, _ = setting(
        replace(problem, sample_weight=torch.full_like(problem.sample_weight, 1e-12))
    )
    solution = maximize(data, prior, kind)
    torch.testing.assert_close(solution.point, torch.zeros_like(solution.point), atol=1e-9, rtol=0)
    torch.testing.assert_close(data.logit_variance(solution.posterior), data.logit_variance(prior))
    assert solution.bound == pytest.approx(0.0, abs=1e-9)


def test_the_bound_is_below_the_log_evidence():
    """Two classes, one feature: the evidence is an integral over the difference of weights."""
    X = torch.tensor([[1.0], [0.8], [-0.5], [1.5], [-1.2]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 1])
    problem = LinearProblem(
        X=X,
        y=y,
        sample_weight=torch.ones(5, dtype=torch.float64),
        prior_mean=torch.tensor([[0.3], [-0.2]], dtype=torch.float64),
        prior_precision=torch.tensor([1.0, 2.0], dtype=torch.float64),
        logit_scale=2.0,
    )
    spread = math.sqrt(1.0 + 0.5)
    grid = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    difference = 0.5 + spread * grid
    margin = 2.0 * X * difference * torch.where(y == 0, 1.0, -1.0)[:, None]
    likelihood = torch.nn.functional.logsigmoid(margin).sum(dim=0).exp()
    density = torch.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    log_evidence = float(torch.trapezoid(likelihood * density, grid).log())
    data, prior, _ = setting(problem)
    bound = maximize(data, prior, "full", n_draws=1024).bound
    assert bound <= log_evidence
    # The posterior of two weights is nearly Gaussian, but not independent over classes.
    assert bound > log_evidence - 0.5


def test_the_objective_has_the_stated_gradients():
    """Means: y - E[p]; variances: -E[p (1 - p)] / 2, up to the error of the draws."""
    problem = make_problem(n=6, d=3, tau=3.0)
    data, prior, _ = setting(problem)
    objective = GaussianObjective(data, prior, RowDraws(2**14, torch.arange(6), 4, seed=0))
    objective.std = 0.5 + torch.rand(6, 4, dtype=torch.float64)
    point = 0.1 * torch.randn(4, 3, dtype=torch.float64)
    value, gradient = objective.value_and_gradient(point)
    for c in range(4):
        for j in range(3):
            step = torch.zeros_like(point)
            step[c, j] = 1e-5
            above, _ = objective.value_and_gradient(point + step)
            below, _ = objective.value_and_gradient(point - step)
            assert (above - below) / 2e-5 == pytest.approx(float(gradient[c, j]), rel=1e-5)
    curvature = objective.curvature(point)
    std = objective.std
    moved = std.clone()
    moved[2, 1] = (std[2, 1] ** 2 + 1e-3).sqrt()
    objective.std = moved
    slope = (objective.value_and_gradient(point)[0] - value) / 1e-3
    assert slope == pytest.approx(0.5 * float(curvature[2, 1]), rel=0.02)


def test_the_fixed_point_is_an_optimum():
    """Scaling the covariance of any class up or down lowers the bound."""
    data, prior, _ = setting(make_problem(tau=8.0))
    solution = maximize(data, prior, "diagonal", n_draws=512)
    objective = GaussianObjective(data, prior, RowDraws(512, kinds_of_rows(data), 4, seed=0))

    def bound(posterior):
        objective.std = data.logit_variance(posterior).sqrt()
        value, _ = objective.value_and_gradient(solution.point)
        return -value - float(divergence(posterior, prior).sum())

    best = bound(solution.posterior)
    assert best == pytest.approx(solution.history[-1])
    for factor in (0.7, 1.4):
        for c in range(4):
            diagonal = solution.posterior.diagonal.clone()
            diagonal[c] *= factor
            assert bound(replace(solution.posterior, diagonal=diagonal)) < best


def test_a_richer_covariance_has_a_higher_bound():
    """Without a metric the forms are nested."""
    data, prior, _ = setting(make_problem(tau=10.0))
    bounds = [maximize(data, prior, kind).bound for kind in KINDS]
    assert bounds[0] < bounds[1] < bounds[2]


def test_a_weight_of_two_is_the_row_twice():
    problem = make_problem(weighted=False)
    weight = problem.sample_weight.clone()
    weight[::3] = 2.0
    rows = torch.repeat_interleave(torch.arange(30), weight.long())
    twice = replace(
        problem, X=problem.X[rows], y=problem.y[rows], sample_weight=torch.ones(len(rows)).double()
    )
    heavy, _, _ = setting(replace(problem, sample_weight=weight))
    double, prior, _ = setting(twice)
    left = maximize(heavy, prior, "full")
    right = maximize(double, prior, "full")
    assert left.bound == pytest.approx(right.bound, rel=1e-6)
    torch.testing.assert_close(left.point, right.point, rtol=0, atol=1e-6)


def test_copies_of_a_row_and_no_others_are_of_one_kind_in_any_order():
    problem = make_problem(n=40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).repeat(2)
    data, *_ = setting(problem)
    twice, *_ = setting(
        replace(
            problem,
            X=problem.X[order],
            y=problem.y[order],
            sample_weight=0.5 * problem.sample_weight[order],
        )
    )
    kind = kinds_of_rows(data)
    assert kind.unique().tolist() == list(range(40))
    assert torch.equal(kinds_of_rows(twice), kind[order])


def test_the_reported_bound_is_the_bound():
    """Eight draws: those that all rows share are fitted, and make a bound that is none."""
    too_high, reported = [], []
    for seed in range(8):
        data, prior, _ = setting(make_problem(n=40, tau=10.0))
        solution = maximize(data, prior, "full", seed=seed, n_draws=8, tol=1e-5)
        objective = GaussianObjective(
            data, prior, RowDraws(2**10, torch.arange(40), 4, seed=100 + seed)
        )
        objective.std = data.logit_variance(solution.posterior).sqrt()
        value, _ = objective.value_and_gradient(solution.point)
        bound = -value - float(divergence(solution.posterior, prior).sum())
        too_high.append(solution.history[-1] - bound)
        reported.append(solution.bound - bound)
    too_high, reported = torch.tensor(too_high), torch.tensor(reported)
    assert abs(float(reported.mean())) < 3 * float(reported.std()) / math.sqrt(len(reported))
    assert float(reported.abs().mean()) < 1.0
    assert float(too_high.mean()) < 1.0


def test_the_number_of_draws_falls_with_the_size():
    assert n_bound_draws(100, 10) == 64
    assert n_bound_draws(16_000, 1000) == 8
    assert n_bound_draws(1000, 200) % 2 == 0
