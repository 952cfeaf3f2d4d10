"""The temperature: stationary, unique, and one where it must be one."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_iris

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import logits, solve_map
from skclip._core.linear.temperature_scaling import (
    _moments,
    fit_log_temperature,
    weighted_log_loss,
)

from ..conftest import make_problem


def test_the_temperature_of_an_unpenalised_regression_on_its_own_rows_is_one():
    """At the maximum of the likelihood no rescaling of the logits can improve it."""
    X, y = load_iris(return_X_y=True)
    X = torch.tensor(X[:, :2])
    problem = LinearProblem(
        X=X,
        y=torch.tensor(y),
        sample_weight=torch.ones(len(X), dtype=torch.float64),
        prior_mean=torch.zeros(3, 2, dtype=torch.float64),
        prior_precision=torch.full((3,), 1e-9, dtype=torch.float64),
        logit_scale=1.0,
        bias_variance=math.inf,
    )
    solution = solve_map(problem, tol=1e-10, max_iter=5000)
    scores = logits(X, solution.W, solution.b, 1.0)
    t, _ = fit_log_temperature(scores, problem.y, problem.sample_weight, centre=0.0, width=1e6)
    assert t == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("width", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_temperature_minimises_its_penalised_loss(width, scale):
    problem = make_problem()
    scores = scale * problem.X @ problem.prior_mean.T
    a = problem.sample_weight
    t, value = fit_log_temperature(scores, problem.y, a, centre=-0.2, width=width)

    def penalised(log_temperature):
        loss = float(weighted_log_loss(scores / math.exp(log_temperature), problem.y, a))
        return loss + 0.5 * ((log_temperature + 0.2) / width) ** 2

    assert value == pytest.approx(penalised(t), rel=1e-12)
    others = [*torch.linspace(-5, 5, 400).tolist(), t - 1e-4, min(t + 1e-4, 5.0)]
    assert value <= min(penalised(other) for other in others) + 1e-9


@pytest.mark.parametrize("chunk", [4 * 2**20, 1])
def test_moments_are_those_of_the_softmax(chunk, monkeypatch):
    """Of z - max z under probabilities proportional to exp(beta z)."""
    monkeypatch.setattr("skclip._core.linear.temperature_scaling._BYTES_PER_CHUNK", chunk)
    problem = make_problem()
    scores = 3 * problem.X @ problem.prior_mean.T
    top, beta = scores.amax(dim=1), 0.7
    z = scores - top[:, None]
    P = torch.softmax(beta * scores, dim=1)
    mean = (P * z).sum(dim=1)
    expected = (torch.logsumexp(beta * z, dim=1), mean, (P * (z - mean[:, None]) ** 2).sum(dim=1))
    for found, value in zip(_moments(scores, top, beta), expected, strict=True):
        torch.testing.assert_close(found, value)


def test_the_temperature_is_scipys():
    """Brent's method on the same penalised loss: no derivative is used."""
    problem = make_problem()
    scores, a = 8 * problem.X @ problem.prior_mean.T, problem.sample_weight
    t, _ = fit_log_temperature(scores, problem.y, a, centre=0.3, width=0.5)

    def penalised(log_temperature):
        loss = float(weighted_log_loss(scores / math.exp(log_temperature), problem.y, a))
        return loss + 0.5 * ((log_temperature - 0.3) / 0.5) ** 2

    found = minimize_scalar(penalised, bounds=(-5, 5), options={"xatol": 1e-9})
    assert t == pytest.approx(found.x, abs=1e-6)


def test_without_rows_that_tell_the_temperature_is_the_centre():
    """Zero logits have the same loss at every temperature."""
    problem = make_problem()
    zeros = torch.zeros(30, 4, dtype=torch.float64)
    t, _ = fit_log_temperature(zeros, problem.y, problem.sample_weight, centre=-0.3, width=0.2)
    assert t == pytest.approx(-0.3)
