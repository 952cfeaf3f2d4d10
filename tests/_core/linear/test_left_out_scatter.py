"""The metric without a row: against scatters that are computed again."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.left_out_scatter import scatter_shift
from skclip._core.linear.metric import whitening_metric
from skclip._core.linear.objective import logits, solve_map
from skclip._core.linear.span import Span

from ..conftest import make_problem


def whitened(n=24, d=6, **changes):
    problem = make_problem(n=n, d=d, **changes)
    problem = replace(problem, prior_mean=torch.zeros_like(problem.prior_mean), has_text=False)
    rows = problem.X, problem.y, problem.sample_weight
    metric, share = whitening_metric(*rows, problem.n_classes)
    return replace(problem, metric=metric, scatter_share=share, bias_variance=math.inf)


def scatter(X, y, a, c):
    """Weighted scatter about class means, of a class without rows none."""
    total = torch.zeros(c).double().index_add(0, y, a)
    means = torch.zeros(c, X.shape[1]).double().index_add(0, y, a[:, None] * X)
    residual = X - (means / total.clamp(min=1e-300)[:, None])[y]
    return (a[:, None] * residual).T @ residual


def recomputed(problem, centre, scores, codes, copies):
    """The shift by its definition; `copies` of a row's weight leave with it."""
    a, y, c = problem.sample_weight, problem.y, problem.n_classes
    M = problem.metric
    inverse = torch.linalg.inv(M @ M.T)
    X = problem.X - centre
    force = torch.nn.functional.one_hot(y, c).double() - torch.softmax(scores, dim=1)
    out = torch.zeros_like(scores)
    for code in codes.unique():
        g = torch.nonzero(codes == code).squeeze(1)
        stay = a.clone()
        stay[g] -= copies[g]
        gone = scatter(problem.X, y, a, c) - scatter(problem.X, y, stay, c)
        K = torch.linalg.inv(inverse - problem.scatter_share * gone) - M @ M.T
        weights = X.T @ (stay[:, None] * force)
        out[g] = problem.logit_scale**2 * X[g] @ K @ weights / problem.prior_precision
    return out


@pytest.mark.parametrize("weighted", [True, False])
def test_the_shift_is_that_of_a_metric_without_the_row(weighted):
    problem = whitened(weighted=weighted)
    scores = torch.randn(24, 4, generator=torch.Generator().manual_seed(0)).double()
    centre = problem.X.mean(dim=0)
    rows = torch.arange(24)[:, None]
    found = scatter_shift(problem, centre, scores, rows, rows >= 0)
    copies = problem.sample_weight.clamp(max=1.0)
    expected = recomputed(problem, centre, scores, torch.arange(24), copies)
    torch.testing.assert_close(found, expected)
    assert expected.abs().max() > 0.1


def test_the_rows_of_an_image_leave_the_metric_together():
    """Images of 1 to 3 rows; one of them is the whole of its class."""
    problem = whitened(n=13)
    problem = replace(problem, y=torch.tensor([0] * 6 + [1] * 5 + [2] * 2))
    metric, share = whitening_metric(problem.X, problem.y, problem.sample_weight, 4)
    problem = replace(problem, metric=metric, scatter_share=share)
    codes = torch.tensor([0, 0, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5, 5])
    groups = Groups.of(codes, problem.sample_weight)
    scores = torch.randn(13, 4, generator=torch.Generator().manual_seed(0)).double()
    centre = problem.X.mean(dim=0)
    found = scatter_shift(problem, centre, scores, groups.rows, groups.present)
    expected = recomputed(problem, centre, scores, codes, problem.sample_weight)
    torch.testing.assert_close(found, expected)


def test_a_metric_that_has_not_seen_the_rows_moves_nothing():
    problem = replace(make_problem(metric=True), bias_variance=math.inf)
    rows = torch.arange(30)[:, None]
    shift = scatter_shift(problem, problem.X[0], torch.ones(30, 4).double(), rows, rows >= 0)
    assert not shift.any()


def test_left_out_logits_are_near_those_of_refits_with_the_metric():
    """Of whitened rows, where without the shift they are far."""
    problem = make_problem(n=40, d=30, lam=15.0, weighted=False)
    X = torch.nn.functional.normalize(problem.X + 0.3 * problem.prior_mean[problem.y], dim=1)
    metric, share = whitening_metric(X, problem.y, problem.sample_weight, 4)
    problem = replace(
        problem,
        X=X,
        prior_mean=0 * problem.prior_mean,
        metric=metric,
        scatter_share=share,
        bias_variance=math.inf,
    )
    span = Span.of(problem)

    def fitted(problem):
        solution = solve_map(problem, tol=1e-10, max_iter=200)
        return logits(problem_rows, solution.W, solution.b, problem.logit_scale)

    problem_rows = problem.X
    scores = fitted(problem)
    truth = torch.empty_like(scores)
    for i in range(40):
        stay = torch.arange(40) != i
        rows = problem.X[stay], problem.y[stay], problem.sample_weight[stay]
        metric, _ = whitening_metric(*rows, 4)
        X, y, a = rows
        truth[i] = fitted(replace(problem, X=X, y=y, sample_weight=a, metric=metric))[i]
    seen = left_out_logits(replace(problem, scatter_share=0.0), span, scores)
    found = left_out_logits(problem, span, scores)

    def loss(scores):
        return float(torch.nn.functional.cross_entropy(scores, problem.y))

    assert loss(seen) < 0.9 * loss(truth)
    assert abs(loss(found) - loss(truth)) < 0.5 * (loss(truth) - loss(seen))
