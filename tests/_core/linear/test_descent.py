"""The default's solver ends at the optimum, near enough for every prediction, in few products."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from skclip._core.linear import doubtful_pairs
from skclip._core.linear import objective as linear
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.metric import support_metric
from skclip._core.linear.objective import logits, solve_map
from skclip._core.solve.status import Status
from skclip.datasets import make_clip_features


def make_problem(shots, n_classes, precision=30.0, dtype=torch.float64, **changes):
    data = make_clip_features(shots, n_classes, n_features=64, n_test_per_class=20, random_state=0)
    X, y = torch.tensor(np.asarray(data.X)), torch.tensor(data.y)
    text = torch.tensor(np.asarray(data.prototypes))
    a = torch.ones(len(X), dtype=torch.float64)
    problem = LinearProblem(
        X=X.to(dtype),
        y=y,
        sample_weight=a.to(dtype),
        prior_mean=text.to(dtype),
        logit_scale=100.0,
        prior_precision=torch.full((n_classes,), precision, dtype=dtype),
        bias_variance=0.1,
        metric=support_metric(X, y, a, text).to(dtype),
    )
    return replace(problem, **changes), data


def value(problem, solution):
    """J by its definition, in float64, of the coordinates of a solution."""
    span = linear.Span.of(problem)
    scores = logits(problem.X, solution.W, solution.b, problem.logit_scale).double()
    loss = functional.cross_entropy(scores, problem.y, reduction="none")
    lam = problem.prior_precision.double()[:, None]
    penalty = lam.expand(-1, span.Z.shape[1])
    if problem.has_bias:
        penalty = torch.cat([penalty, lam / problem.bias_variance], dim=1)
    prior = 0.5 * (penalty * solution.coordinates.double().square()).sum()
    return float(torch.dot(problem.sample_weight.double(), loss) + prior)


def uneven(n):
    return torch.tensor(np.random.default_rng(0).uniform(0.1, 8.0, n))


PROBLEMS = {
    "few rows": lambda dtype: make_problem(2, 30, dtype=dtype),
    "many rows": lambda dtype: make_problem(16, 12, dtype=dtype),
    "two classes": lambda dtype: make_problem(4, 2, dtype=dtype),
    "loose": lambda dtype: make_problem(8, 20, precision=1.0, dtype=dtype),
    "firm": lambda dtype: make_problem(8, 20, precision=3000.0, dtype=dtype),
    "weights": lambda dtype: make_problem(8, 20, dtype=dtype, sample_weight=uneven(160).to(dtype)),
    "precisions": lambda dtype: make_problem(
        8, 20, dtype=dtype, prior_precision=torch.logspace(0.5, 2.5, 20).to(dtype)
    ),
    "no bias, no metric": lambda dtype: make_problem(
        8, 20, dtype=dtype, bias_variance=0.0, metric=None
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_objective_is_within_the_stated_nats_of_its_optimum(name, dtype):
    """In single precision it is known to its rounding only."""
    problem, data = PROBLEMS[name](dtype)
    exact, _ = PROBLEMS[name](torch.float64)
    reference = solve_map(exact, tol=1e-9, max_iter=500)
    assert reference.gradient_norm <= 1e-9
    solution = solve_map(problem, tol=None, max_iter=100)
    assert solution.status is Status.CONVERGED
    n = float(problem.sample_weight.sum())
    rounding = 0.0 if dtype is torch.float64 else 1e-6
    gap = (value(problem, solution) - value(exact, reference)) / n
    assert -rounding - 1e-9 <= gap <= linear.NATS_PER_ROW + rounding
    X, y = torch.tensor(np.asarray(data.X_test)).double(), torch.tensor(data.y_test)
    losses = [
        float(functional.cross_entropy(logits(X, s.W.double(), s.b.double(), 100.0), y))
        for s in (solution, reference)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_the_reported_value_and_gradient_are_those_of_the_point():
    problem, _ = make_problem(8, 20)
    solution = solve_map(problem, tol=None, max_iter=100)
    assert solution.objective == pytest.approx(value(problem, solution), rel=1e-9)
    span = linear.Span.of(problem)
    again = solve_map(problem, tol=math.inf, max_iter=1, span=span, start=solution.coordinates)
    assert solution.gradient_norm == pytest.approx(again.gradient_norm, rel=1e-6)


def test_it_takes_few_iterations():
    """Each has three large products, where one of conjugate gradients has two."""
    problem, _ = make_problem(16, 50)
    assert solve_map(problem, tol=None, max_iter=100).n_iter <= 15


@pytest.mark.parametrize("precision", [1e-2, 1e-3, 1e-4])
def test_with_hardly_a_prior_nothing_is_promised_that_is_not_kept(precision):
    """Conjugate gradients do not solve for the step then; it went up, and was called the end."""
    problem, _ = make_problem(16, 30, precision=precision)
    solution = solve_map(problem, tol=None, max_iter=100)
    exact = solve_map(problem, tol=1e-10, max_iter=300)
    assert solution.status is Status.CONVERGED
    above = value(problem, solution) - value(problem, exact)
    assert above <= linear.NATS_PER_ROW * len(problem.y) * 1e-2


def test_running_out_of_iterations_is_said():
    problem, _ = make_problem(8, 20)
    solution = solve_map(problem, tol=None, max_iter=2)
    assert solution.status is Status.MAX_ITER
    assert solution.n_iter == 2


def test_little_memory_gives_the_same_optimum(monkeypatch):
    """Then only the pairs of most curvature count, and more iterations are needed."""
    problem, _ = make_problem(16, 12)
    reference = solve_map(problem, tol=1e-9, max_iter=500)
    monkeypatch.setattr(doubtful_pairs, "_BYTES_OF_BLOCKS", 2**12)
    monkeypatch.setattr(doubtful_pairs, "_SHARE_OF_LOGITS", 0.0)
    monkeypatch.setattr(doubtful_pairs, "_BYTES_OF_ROWS", 2**12)
    solution = solve_map(problem, tol=None, max_iter=300)
    assert solution.objective <= reference.objective + linear.NATS_PER_ROW * len(problem.X)


def test_a_bias_without_prior_is_left_to_conjugate_gradients():
    problem, _ = make_problem(8, 20, bias_variance=math.inf)
    solution = solve_map(problem, tol=None, max_iter=100)
    assert solution.gradient_norm <= linear.DEFAULT_TOL
