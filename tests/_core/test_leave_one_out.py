"""Leave-one-out: the formula against refits, and the temperature."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_iris

from skclip._core.leave_one_out import (
    fit_log_temperature,
    leave_one_out_logits,
    leverage,
    weighted_log_loss,
)
from skclip._core.linear import LinearProblem, Span, logits, solve_map

from .conftest import make_problem


def fitted(problem):
    span = Span.of(problem.X, problem.sample_weight, centred=problem.fit_intercept)
    solution = solve_map(problem, tol=1e-12, max_iter=2000, span=span)
    scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
    P = torch.softmax(scores, dim=1)
    H = problem.sample_weight[:, None] * P * (1 - P)
    return scores, P, H, leverage(problem, span, H)


def test_leverage_equals_the_dense_posterior_variance(problem):
    """q = tau^2 x' (lambda I + tau^2 X' H X)^-1 x, class by class in the full space."""
    _, _, H, q = fitted(problem)
    tau, X = problem.logit_scale, problem.X
    for c in range(4):
        precision = problem.prior_precision[c] * torch.eye(8, dtype=torch.float64)
        precision += tau**2 * X.T @ (H[:, c, None] * X)
        expected = tau**2 * (X @ torch.linalg.inv(precision) * X).sum(dim=1)
        torch.testing.assert_close(q[:, c], expected)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_left_out_logits_are_closer_to_the_refit_than_the_fitted_ones(fit_intercept):
    problem = make_problem(n=40, weighted=False, fit_intercept=fit_intercept)
    scores, P, _, q = fitted(problem)
    approximate = leave_one_out_logits(scores, P, q, problem.y, problem.sample_weight)
    centre = torch.eye(4, dtype=torch.float64) - 0.25
    errors, baseline = [], []
    for row in range(40):
        keep = torch.arange(40) != row
        rest = replace(
            problem,
            X=problem.X[keep],
            y=problem.y[keep],
            sample_weight=problem.sample_weight[keep],
        )
        solution = solve_map(rest, tol=1e-12, max_iter=2000)
        exact = logits(problem.X[row : row + 1], solution.W, solution.b, problem.logit_scale)
        # Softmax ignores what all classes share.
        errors.append(float(((approximate[row] - exact[0]) @ centre).norm()))
        baseline.append(float(((scores[row] - exact[0]) @ centre).norm()))
    assert sum(errors) < 0.25 * sum(baseline)


def test_leaving_out_one_of_two_copies_equals_a_weight_of_two():
    problem = make_problem(weighted=False)
    weight = problem.sample_weight.clone()
    weight[::3] = 2.0
    rows = torch.repeat_interleave(torch.arange(len(weight)), weight.long())
    heavy = replace(problem, sample_weight=weight)
    twice = replace(
        problem, X=problem.X[rows], y=problem.y[rows], sample_weight=torch.ones(len(rows)).double()
    )
    scores, P, _, q = fitted(heavy)
    left = leave_one_out_logits(scores, P, q, heavy.y, weight)
    scores2, P2, _, q2 = fitted(twice)
    right = leave_one_out_logits(scores2, P2, q2, twice.y, twice.sample_weight)
    torch.testing.assert_close(left[rows], right, rtol=1e-7, atol=1e-7)


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
        fit_intercept=True,
    )
    solution = solve_map(problem, tol=1e-10, max_iter=5000)
    scores = logits(X, solution.W, solution.b, 1.0)
    log_t, _ = fit_log_temperature(scores, problem.y, problem.sample_weight, centre=0.0, width=1e6)
    assert log_t == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("width", [0.1, 1.0])
def test_the_temperature_minimises_its_penalised_loss(problem, width):
    scores = 3 * fitted(problem)[0]
    log_t, value = fit_log_temperature(
        scores, problem.y, problem.sample_weight, centre=-0.2, width=width
    )

    def penalised(t):
        loss = float(weighted_log_loss(scores / math.exp(t), problem.y, problem.sample_weight))
        return loss + 0.5 * ((t + 0.2) / width) ** 2

    assert value == pytest.approx(penalised(log_t), rel=1e-12)
    assert value <= min(penalised(log_t + 1e-3), penalised(log_t - 1e-3))


def test_without_rows_that_tell_the_temperature_is_the_centre(problem):
    """Zero logits have the same loss at every temperature."""
    zeros = torch.zeros(30, 4, dtype=torch.float64)
    log_t, _ = fit_log_temperature(zeros, problem.y, problem.sample_weight, centre=-0.3, width=0.2)
    assert log_t == pytest.approx(-0.3)
