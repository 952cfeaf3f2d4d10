"""Leave-one-out logits against a dense formula and against refits."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.leave_one_out import Groups, left_out_logits, left_out_weight
from skclip._core.linear.objective import logits, solve_map
from skclip._core.linear.span import Span

from ..conftest import make_problem

BIASES = [0.0, 0.1, math.inf]


def fitted(problem):
    """(span, scores) at the mode."""
    span = Span.of(problem)
    solution = solve_map(problem, tol=1e-12, max_iter=2000, span=span)
    return span, logits(problem.X, solution.W, solution.b, problem.logit_scale)


def doubtful(problem, scores, threshold):
    """(n, c) pairs that enter the solves."""
    P = torch.softmax(scores, dim=1)
    return (P * (1 - P)).gt(threshold) | (problem.y[:, None] == torch.arange(scores.shape[1]))


def dense_left_out(problem, scores, codes, threshold=0.0):
    """The formula of the module, with full matrices: one solve per class and group."""
    active = doubtful(problem, scores, threshold)
    n, c = scores.shape
    a, tau, X = problem.sample_weight, problem.logit_scale, problem.X
    M = torch.eye(X.shape[1], dtype=X.dtype) if problem.metric is None else problem.metric
    weight = a / a.sum()
    phi = (X - weight @ X * problem.has_bias) @ M
    ridge = torch.ones(phi.shape[1], dtype=X.dtype)
    if problem.has_bias:
        phi = torch.cat([phi, torch.ones(n, 1, dtype=X.dtype)], dim=1)
        ridge = torch.cat([ridge, torch.tensor([1 / problem.bias_variance], dtype=X.dtype)])
    P = torch.softmax(scores, dim=1)
    out = scores.clone()
    for k in range(c):
        h = a * P[:, k] * (1 - P[:, k]) * active[:, k]
        precision = torch.diag(problem.prior_precision[k] * ridge)
        precision += tau**2 * phi.T @ (h[:, None] * phi)
        S = tau**2 * phi @ torch.linalg.inv(precision) @ phi.T
        force = a * ((problem.y == k).to(X.dtype) - P[:, k])
        for code in codes.unique():
            g = torch.nonzero((codes == code) & active[:, k]).squeeze(1)
            inner = torch.eye(len(g), dtype=X.dtype) - S[g][:, g] * h[g]
            out[g, k] -= torch.linalg.solve(inner, S[g][:, g] @ force[g])
    return out


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize("bias_variance", BIASES)
@pytest.mark.parametrize(("n", "d"), [(30, 8), (12, 20)])
def test_left_out_logits_equal_the_dense_formula(n, d, bias_variance, metric):
    """All pairs enter, at least as many as there are dimensions: the primal."""
    problem = make_problem(n=n, d=d, weighted=False, bias_variance=bias_variance, metric=metric)
    span, scores = fitted(problem)
    torch.testing.assert_close(
        left_out_logits(problem, span, scores, threshold=0.0),
        dense_left_out(problem, scores, torch.arange(n)),
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("bias_variance", BIASES)
@pytest.mark.parametrize(("n", "d"), [(30, 8), (12, 20)])
def test_left_out_groups_equal_the_dense_formula(n, d, bias_variance):
    """Groups of unequal size in mixed order, weighted rows."""
    problem = make_problem(n=n, d=d, bias_variance=bias_variance)
    codes = torch.tensor([0, 1, 1, 2, 3, 3, 3, 2, 4, 5])[torch.arange(n) % 10]
    problem = replace(problem, y=codes % 4)
    span, scores = fitted(problem)
    groups = Groups.of(codes, problem.sample_weight)
    torch.testing.assert_close(
        left_out_logits(problem, span, scores, groups=groups, threshold=0.0),
        dense_left_out(problem, scores, codes),
        rtol=1e-7,
        atol=1e-7,
    )


@pytest.fixture(params=[8 * 2**20, 1], ids=["whole", "one class at a time"])
def batches(request, monkeypatch):
    monkeypatch.setattr("skclip._core.linear.leave_one_out._BYTES_PER_BATCH", request.param)


def concentrated_problem(bias_variance):
    """Weights below one, and fewer doubtful rows than dimensions in every class."""
    problem = make_problem(n=30, d=24, tau=40.0, lam=1000.0, bias_variance=bias_variance)
    problem = replace(problem, sample_weight=problem.sample_weight / 2)
    span, scores = fitted(problem)
    counts = doubtful(problem, scores, 0.05).sum(dim=0)
    assert 0 < counts.min() < counts.max() < span.Z.shape[1]
    return problem, span, scores


@pytest.mark.parametrize("bias_variance", BIASES)
@pytest.mark.usefixtures("batches")
def test_left_out_logits_of_few_doubtful_rows_equal_the_dense_formula(bias_variance):
    """Fewer pairs than dimensions: the dual, unless the bias has no prior."""
    problem, span, scores = concentrated_problem(bias_variance)
    torch.testing.assert_close(
        left_out_logits(problem, span, scores, threshold=0.05),
        dense_left_out(problem, scores, torch.arange(30), threshold=0.05),
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("bias_variance", BIASES)
@pytest.mark.usefixtures("batches")
def test_left_out_groups_of_few_doubtful_rows_equal_the_dense_formula(bias_variance):
    problem, span, scores = concentrated_problem(bias_variance)
    codes = torch.tensor([0, 1, 1, 2, 3, 3, 3, 2, 4, 5])[torch.arange(30) % 10]
    groups = Groups.of(codes, problem.sample_weight)
    torch.testing.assert_close(
        left_out_logits(problem, span, scores, groups=groups, threshold=0.05),
        dense_left_out(problem, scores, codes, threshold=0.05),
        rtol=1e-7,
        atol=1e-7,
    )


def test_groups_of_one_row_are_leave_one_out():
    problem = make_problem(weighted=False)
    span, scores = fitted(problem)
    groups = Groups.of(torch.arange(30), problem.sample_weight)
    torch.testing.assert_close(
        left_out_logits(problem, span, scores, groups=groups),
        left_out_logits(problem, span, scores),
    )


def test_the_threshold_changes_little():
    problem = make_problem(n=60, tau=20.0, weighted=False)
    span, scores = fitted(problem)
    torch.testing.assert_close(
        torch.softmax(left_out_logits(problem, span, scores, threshold=1e-4), dim=1),
        torch.softmax(left_out_logits(problem, span, scores, threshold=0.0), dim=1),
        rtol=0,
        atol=1e-2,
    )


@pytest.mark.parametrize("bias_variance", BIASES)
def test_left_out_logits_are_closer_to_the_refit_than_the_fitted_ones(bias_variance):
    problem = make_problem(n=40, weighted=False, bias_variance=bias_variance)
    span, scores = fitted(problem)
    approximate = left_out_logits(problem, span, scores, threshold=0.0)
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
    span, scores = fitted(heavy)
    left = left_out_logits(heavy, span, scores, threshold=0.0)
    span, scores = fitted(twice)
    right = left_out_logits(twice, span, scores, threshold=0.0)
    torch.testing.assert_close(left[rows], right, rtol=1e-7, atol=1e-7)


def test_weights_of_left_out_rows_are_what_stays_of_their_class():
    problem = make_problem(n=10, weighted=False)  # classes of 3, 3, 2 and 2 rows
    expected = torch.tensor([2 / 3, 2 / 3, 1 / 2, 1 / 2, 2 / 3, 2 / 3, 1 / 2, 1 / 2, 2 / 3, 2 / 3])
    torch.testing.assert_close(left_out_weight(problem, None), expected.double())
    # Of a row of weight 3 one is left out, and 2 + 0.5 of 3.5 stay; of 0.5 all, and 3 stay.
    problem = replace(
        problem, X=problem.X[:2], y=problem.y[[0, 0]], sample_weight=torch.tensor([3, 0.5]).double()
    )
    expected = torch.tensor([3 * 2.5 / 3.5, 0.5 * 3 / 3.5])
    torch.testing.assert_close(left_out_weight(problem, None), expected.double(), rtol=1e-6, atol=0)


def test_leaving_out_all_rows_of_a_class_counts_for_nothing():
    problem = make_problem(n=8, weighted=False)
    groups = Groups.of(problem.y, problem.sample_weight)
    torch.testing.assert_close(left_out_weight(problem, groups), torch.zeros(8).double())


def test_lone_rows_have_a_weight_of_their_own():
    problem = make_problem(n=6)  # two of the four classes have one row
    lone = torch.tensor([False, False, True, True, False, False])
    plain, more = (left_out_weight(problem, None, weight) for weight in (0.0, 0.1))
    a = problem.sample_weight
    torch.testing.assert_close(
        more[lone], a[lone] * (1 - a[lone].clamp(max=1) / a[lone]).clamp(min=0.1)
    )
    torch.testing.assert_close(more[~lone], plain[~lone])
