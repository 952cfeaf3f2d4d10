"""The posterior temperature by leave-one-out, and what a left-out row's variance is."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.hyperprior import Hyperprior
from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.objective import solve_map
from skclip._core.linear.span import Span
from skclip._core.posterior.block import Frame, prior_of
from skclip._core.posterior.draws import logit_draws, standard_normal
from skclip._core.posterior.tempering import LeftOut, choose, left_out_means, left_out_variance

from ..conftest import make_problem

HYPERPRIOR = Hyperprior(1.0, log_temperature=0.0, temperature_width=10.0)


def at_the_mode(problem):
    """(scores, probabilities, curvature, prior and posterior logit variances)."""
    span = Span.of(problem)
    solution = solve_map(problem, tol=1e-10, max_iter=200, span=span)
    prior = prior_of(problem, span)
    phi, outside = Frame.of(problem, span).coordinates(problem.X)
    tau = problem.logit_scale
    scores = tau * (problem.X @ problem.prior_mean.T + phi @ solution.coordinates.T)
    P = torch.softmax(scores, dim=1)
    curvature = problem.sample_weight[:, None] * P * (1 - P)
    posterior = prior.absorb(phi, tau**2 * curvature, "full", keep=1.0)
    variances = [tau**2 * g.variance(phi, outside) for g in (prior, posterior)]
    return span, scores, P, curvature, *variances


def test_the_left_out_variance_is_that_of_the_posterior_without_the_row():
    problem = make_problem(weighted=False)
    span, _, _, curvature, ceiling, variance = at_the_mode(problem)
    prior = prior_of(problem, span)
    phi, outside = Frame.of(problem, span).coordinates(problem.X)
    left = left_out_variance(variance, curvature, ceiling, problem.sample_weight, None)
    for row in range(5):
        weight = 25.0 * curvature.clone()
        weight[row] = 0.0
        rest = prior.absorb(phi, weight, "full", keep=1.0)
        exact = 25.0 * rest.variance(phi[row : row + 1], outside[row : row + 1])[0]
        torch.testing.assert_close(left[row], exact)


def test_the_variance_of_the_prior_is_the_ceiling_of_a_left_out_one():
    """Rounding can bring 1 - h q to zero; a row cannot say less than nothing."""
    variance = torch.tensor([[1.0, 1.0, 0.5]], dtype=torch.float64)
    curvature = torch.tensor([[1.0, 0.9, 1.0]], dtype=torch.float64)
    ceiling, ones = torch.full((1, 3), 4.0).double(), torch.ones(1, dtype=torch.float64)
    left = left_out_variance(variance, curvature, ceiling, ones, None)
    torch.testing.assert_close(left, torch.tensor([[4.0, 4.0, 1.0]], dtype=torch.float64))


def test_copies_in_a_group_are_one_row_of_their_weight():
    problem = make_problem(weighted=False)
    double = replace(
        problem,
        X=problem.X.repeat(2, 1),
        y=problem.y.repeat(2),
        sample_weight=torch.full((60,), 0.5, dtype=torch.float64),
    )
    groups = Groups.of(torch.arange(30).repeat(2), double.sample_weight)
    _, _, _, curvature, ceiling, variance = at_the_mode(problem)
    single = left_out_variance(variance, curvature, ceiling, problem.sample_weight, None)
    _, _, _, curvature, ceiling, variance = at_the_mode(double)
    grouped = left_out_variance(variance, curvature, ceiling, double.sample_weight, groups)
    torch.testing.assert_close(grouped[:30], single, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(grouped[30:], single, rtol=1e-6, atol=1e-9)


def test_without_spread_the_moments_give_the_leave_one_out_of_the_mode():
    problem = make_problem(weighted=False)
    span, scores, P, curvature, _, variance = at_the_mode(problem)
    force = torch.nn.functional.one_hot(problem.y, 4) - P
    torch.testing.assert_close(
        left_out_means(scores, variance, curvature, force, problem.sample_weight, None),
        left_out_logits(problem, span, scores, threshold=0.0),
        rtol=1e-7,
        atol=1e-7,
    )


def left_out(true_spread, n=4000, c=3):
    """Rows whose labels come from logits that a draw has spread."""
    generator = torch.Generator().manual_seed(0)
    mean = 2 * torch.randn(n, c, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, c, generator=generator, dtype=torch.float64)
    P = torch.softmax(mean + true_spread * noise, dim=1)
    y = torch.multinomial(P, 1, generator=generator).squeeze(1)
    ones = torch.ones(n, dtype=torch.float64)
    return LeftOut(mean, torch.ones_like(mean), y, ones)


@pytest.mark.parametrize("true_variance", [0.0, 1.0, 10.0])
def test_the_temperature_that_made_the_labels_is_found(true_variance):
    found = choose(
        left_out(math.sqrt(true_variance)),
        standard_normal(64, 3, seed=0),
        (0.0, 0.1, 1.0, 10.0),
        temperature=1.0,
        free=False,
        hyperprior=HYPERPRIOR,
    )
    assert found.posterior_temperature in {0.0: (0.0, 0.1)}.get(true_variance, (true_variance,))


@pytest.mark.parametrize("free", [False, True])
def test_the_loss_is_that_of_the_averaged_probabilities(free):
    """Of logits with a variance of T v over the squared temperature, and the prior's penalty."""
    generator = torch.Generator().manual_seed(1)
    data = left_out(1.0, n=50)
    a, v = torch.rand(2, 50, 1, generator=generator, dtype=torch.float64) + 0.5
    data = replace(data, variance=v * data.variance, weight=a[:, 0])
    noise, T = standard_normal(32, 3, seed=0), 0.3
    hyperprior = Hyperprior(1.0, log_temperature=0.2, temperature_width=0.5)
    found = choose(data, noise, (T,), temperature=1.7, free=free, hyperprior=hyperprior)
    draws = (data.scores + (T * v).sqrt() * noise[:, None]) / found.temperature
    proba = torch.softmax(draws, dim=2).mean(dim=0)
    losses = -proba[torch.arange(50), data.y].log()
    penalty = 0.5 * ((math.log(found.temperature) - 0.2) / 0.5) ** 2
    assert found.loss == pytest.approx(float(a[:, 0] @ losses) + penalty * free, rel=1e-12)
    assert (found.temperature == pytest.approx(1.7)) == (not free)


def test_a_temperature_that_is_given_stays_and_so_does_that_of_the_mean():
    """Only averaging flattens: without it the temperature is the one that suits the mean."""
    settings = {"temperature": 3.0, "hyperprior": HYPERPRIOR}
    noise = standard_normal(64, 3, seed=0)
    given = choose(left_out(0.0), noise, (1.0,), free=False, **settings)
    at_the_mean = choose(left_out(0.0), noise, (0.0,), free=True, **settings)
    assert (given.temperature, at_the_mean.temperature) == pytest.approx((3.0, 3.0))


def test_a_free_temperature_sharpens_what_averaging_flattens():
    """Labels of point predictions, but a posterior temperature of 1 is imposed."""
    found = choose(
        left_out(0.0),
        standard_normal(64, 3, seed=0),
        (1.0,),
        temperature=1.0,
        free=True,
        hyperprior=HYPERPRIOR,
    )
    assert found.temperature < 1.0
    scores = left_out(0.0)
    mean = next(iter(logit_draws(scores.scores, 0 * scores.scores, torch.zeros(1, 3))))
    best = -torch.nn.functional.cross_entropy(mean, scores.y)
    assert -found.loss / len(scores.y) == pytest.approx(float(best), abs=0.02)


def test_rows_that_say_nothing_leave_the_mean_alone():
    """At one shot all scoring weights are zero."""
    data = left_out(1.0)
    found = choose(
        replace(data, weight=torch.zeros_like(data.weight)),
        standard_normal(8, 3, seed=0),
        (0.0, 1.0),
        temperature=1.0,
        free=True,
        hyperprior=HYPERPRIOR,
    )
    assert found.posterior_temperature == 0.0


def test_no_candidate_is_an_error():
    with pytest.raises(ValueError, match="At least one candidate temperature is needed"):
        choose(
            left_out(0.0),
            standard_normal(8, 3, seed=0),
            (),
            temperature=1.0,
            free=False,
            hyperprior=HYPERPRIOR,
        )
