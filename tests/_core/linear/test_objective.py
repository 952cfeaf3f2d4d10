"""The mode of the linear form: calculus, the optimum, limits and symmetries."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.objective import (
    LinearProblem,
    Span,
    _Objective,
    log_softmax_gap,
    logits,
    softmax_in_place,
    solve_map,
)
from skclip._core.solve.status import Status

from ..conftest import make_problem

TOL = 1e-11


def objective(problem, W, b):
    """J written down naively."""
    scores = logits(problem.X, W, b, problem.logit_scale)
    loss = torch.nn.functional.cross_entropy(scores, problem.y, reduction="none")
    shift = W - problem.prior_mean
    white = shift if problem.metric is None else torch.linalg.solve(problem.metric, shift.T).T
    square = white.square().sum(dim=1)
    if problem.has_bias:
        weight = problem.sample_weight / problem.sample_weight.sum()
        theta = b / problem.logit_scale + shift @ (weight @ problem.X)
        square = square + theta.square() / problem.bias_variance
    return problem.sample_weight @ loss + 0.5 * (problem.prior_precision * square).sum()


def solve(problem, **changes):
    return solve_map(replace(problem, **changes), tol=TOL, max_iter=2000)


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize("bias_variance", [0.0, 0.1, math.inf])
@pytest.mark.parametrize(("n", "d"), [(30, 8), (6, 20)])
def test_the_gradient_of_the_naive_objective_vanishes_at_the_solution(n, d, bias_variance, metric):
    """Also when there are fewer rows than features, where the work is done in a span."""
    problem = make_problem(n=n, d=d, bias_variance=bias_variance, metric=metric)
    solution = solve(problem)
    W = solution.W.clone().requires_grad_(True)
    # A bias with a prior is fixed only up to what all classes share.
    b = solution.b.clone()
    if problem.has_bias and math.isfinite(bias_variance):
        weight = problem.sample_weight / problem.sample_weight.sum()
        theta = solution.coordinates[:, -1]
        b = problem.logit_scale * (theta - (W.detach() - problem.prior_mean) @ (weight @ problem.X))
    b.requires_grad_(True)
    objective(problem, W, b).backward()
    assert solution.status is Status.CONVERGED
    assert solution.gradient_norm <= TOL
    scale = problem.logit_scale * float(problem.sample_weight.sum())
    assert float(W.grad.abs().max()) / scale <= 20 * TOL
    if problem.has_bias:
        assert float(b.grad.abs().max()) / scale <= 20 * TOL


def test_the_reported_objective_is_the_naive_objective(problem):
    solution = solve(problem)
    expected = float(objective(problem, solution.W, solution.b))
    assert solution.objective == pytest.approx(expected, rel=1e-12)


def test_the_certificate_is_the_gradient_norm_of_the_naive_objective(problem):
    """Away from the optimum, where the number means something."""
    solution = solve_map(problem, tol=1e-2, max_iter=100)
    W = solution.W.clone().requires_grad_(True)
    objective(problem, W, solution.b).backward()
    scale = problem.logit_scale * float(problem.sample_weight.sum())
    assert solution.gradient_norm == pytest.approx(
        float(W.grad.norm(dim=1).max()) / scale, rel=1e-8
    )


def test_float32_reaches_the_objective_of_float64():
    """The stated tolerance on large problems: 1e-6 relative in the objective."""
    problem = make_problem(n=200, d=40, c=10, tau=20.0)
    single = LinearProblem(
        X=problem.X.float(),
        y=problem.y,
        sample_weight=problem.sample_weight.float(),
        prior_mean=problem.prior_mean.float(),
        prior_precision=problem.prior_precision.float(),
        logit_scale=problem.logit_scale,
    )
    reference = solve(problem)
    solution = solve_map(single, tol=1e-6, max_iter=500)
    value = float(objective(problem, solution.W.double(), solution.b.double()))
    assert value == pytest.approx(reference.objective, rel=1e-6)


def test_log_softmax_gap_equals_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    scores = 30 * torch.randn(20, 5, generator=generator, dtype=torch.float64)
    y = torch.arange(20) % 5
    loss, P = log_softmax_gap(scores, y)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, y, reduction="none"))
    torch.testing.assert_close(P, torch.softmax(scores, dim=1))


def test_a_large_precision_gives_the_prior_mean(problem):
    """|w_c - t_c| <= tau sum_n a_n |x_n| / lambda, from the stationarity condition."""
    for lam in (1e2, 1e4, 1e8):
        solution = solve(problem, prior_precision=torch.full((4,), lam, dtype=torch.float64))
        bound = problem.logit_scale * float(problem.sample_weight.sum()) / lam
        assert float((solution.W - problem.prior_mean).norm(dim=1).max()) <= bound


def test_rotating_features_and_prototypes_rotates_the_weights(problem):
    generator = torch.Generator().manual_seed(1)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
    rotated = solve(problem, X=problem.X @ rotation, prior_mean=problem.prior_mean @ rotation)
    torch.testing.assert_close(rotated.W, solve(problem).W @ rotation, rtol=1e-8, atol=1e-8)


def test_permuting_classes_permutes_the_weights(problem):
    order = torch.tensor([2, 0, 3, 1])
    position = torch.argsort(order)
    permuted = solve(
        problem,
        y=position[problem.y],
        prior_mean=problem.prior_mean[order],
        prior_precision=problem.prior_precision[order],
    )
    torch.testing.assert_close(permuted.W, solve(problem).W[order], rtol=1e-8, atol=1e-8)


def test_a_weight_of_two_is_the_row_twice():
    problem = make_problem(weighted=False)
    weight = problem.sample_weight.clone()
    weight[::3] = 2.0
    rows = torch.repeat_interleave(torch.arange(len(weight)), weight.long())
    weighted = solve(problem, sample_weight=weight)
    repeated = solve(
        problem, X=problem.X[rows], y=problem.y[rows], sample_weight=torch.ones_like(rows).double()
    )
    torch.testing.assert_close(weighted.W, repeated.W, rtol=1e-8, atol=1e-8)


def test_a_warm_start_ends_at_the_same_optimum_in_fewer_iterations(problem):
    cold = solve(problem, bias_variance=math.inf)
    near = replace(problem, bias_variance=math.inf, prior_precision=1.1 * problem.prior_precision)
    from_cold = solve_map(near, tol=TOL, max_iter=2000)
    from_warm = solve_map(near, tol=TOL, max_iter=2000, start=cold.coordinates)
    torch.testing.assert_close(from_cold.W, from_warm.W, rtol=1e-8, atol=1e-8)
    assert from_warm.n_iter < from_cold.n_iter


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize("bias_variance", [0.0, math.inf])
@pytest.mark.parametrize(("n", "d"), [(30, 8), (6, 20)])
def test_span_reproduces_the_rows_and_has_orthonormal_basis(n, d, bias_variance, metric):
    problem = make_problem(n=n, d=d, bias_variance=bias_variance, metric=metric)
    span = Span.of(problem)
    r = span.Z.shape[1]
    assert r == min(n - problem.has_bias, d)
    M = torch.eye(d, dtype=torch.float64) if problem.metric is None else problem.metric
    torch.testing.assert_close(span.Z @ span.basis.T, (problem.X - span.centre) @ M)
    torch.testing.assert_close(span.basis.T @ span.basis, torch.eye(r, dtype=torch.float64))
    identity = torch.eye(r, dtype=torch.float64)
    torch.testing.assert_close(span.weights(identity), (M @ span.basis).T)
    torch.testing.assert_close(
        span.Z.T @ (problem.sample_weight[:, None] * span.Z), torch.diag(span.energy)
    )


@pytest.mark.parametrize(("n", "d"), [(30, 8), (6, 20)])
def test_the_span_of_rows_in_a_plane_has_two_axes(n, d):
    """Eigenvalues that are rounding errors count for nothing, whatever the unit."""
    problem = make_problem(n=n, d=d)
    plane = problem.X[:, :2] @ problem.X[:2]
    for unit in (1.0, 1e-6, 1e6):
        span = Span.of(replace(problem, X=unit * plane))
        assert span.Z.shape == (n, 2)
        torch.testing.assert_close(span.Z @ span.basis.T, unit * plane)


@pytest.mark.parametrize("precision", [1e-2, 1e2])
def test_few_rows_in_single_precision_have_the_prior_of_their_logits(precision):
    """Under a loose prior axes of little energy matter, which single precision cannot see."""
    n, d = 40, 60
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -4, d, dtype=torch.float64)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64) * scale
    problem = LinearProblem(
        X=X.float(),
        y=torch.arange(n) % 4,
        sample_weight=torch.ones(n),
        prior_mean=torch.zeros(4, d),
        logit_scale=100.0,
        prior_precision=torch.full((4,), precision),
    )
    span = Span.of(problem)
    exact = Span.of(replace(problem, X=X.float().double(), prior_precision=torch.ones(4).double()))
    variance, true = span.Z @ span.Z.T, exact.Z @ exact.Z.T
    assert (variance.double() - true).abs().max() <= 1e-5 * true.max()
    kept = 1e-12 if precision < 1 else 2e-6
    assert span.Z.shape[1] == int((exact.energy > kept * exact.energy.max()).sum())


def test_identical_rows_have_a_span_of_rank_zero_after_centring():
    """Constant features leave only the intercept to be fitted."""
    X = torch.ones(6, 3, dtype=torch.float64)
    problem = LinearProblem(
        X=X,
        y=torch.tensor([0, 0, 0, 0, 1, 1]),
        sample_weight=torch.ones(6, dtype=torch.float64),
        prior_mean=torch.zeros(2, 3, dtype=torch.float64),
        prior_precision=torch.ones(2, dtype=torch.float64),
        logit_scale=1.0,
        bias_variance=math.inf,
    )
    solution = solve(problem)
    P = torch.softmax(logits(X, solution.W, solution.b, 1.0), dim=1)
    torch.testing.assert_close(P[0], torch.tensor([4 / 6, 2 / 6], dtype=torch.float64))


@pytest.mark.parametrize("bias_variance", [0.0, 0.1, math.inf])
def test_both_solvers_find_the_same_optimum(bias_variance):
    """Two implementations that share only the gradient."""
    problem = make_problem(n=60, bias_variance=bias_variance, metric=True)
    newton = solve_map(problem, tol=TOL, max_iter=100, solver="newton-cg")
    lbfgs = solve_map(problem, tol=TOL, max_iter=2000, solver="lbfgs")
    torch.testing.assert_close(newton.W, lbfgs.W, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(newton.b, lbfgs.b, rtol=1e-8, atol=1e-8)
    assert newton.n_iter < lbfgs.n_iter


@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_of_rows_do_not_change_the_objective(monkeypatch, weighted):
    """30 rows in one chunk, and in chunks of 7 with a rest of 2."""
    problem = make_problem(weighted=weighted, bias_variance=0.1)
    span = Span.of(problem)
    generator = torch.Generator().manual_seed(0)
    point, direction = 0.1 * torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    results = []
    for size in (1024, 7):
        monkeypatch.setattr("skclip._core.linear.objective._ROWS_PER_CHUNK", size)
        objective = _Objective(problem, span)
        value, gradient = objective.value_and_gradient(point)
        product, diagonal = objective.hessian(point)
        results.append((torch.tensor(value), gradient, diagonal, product(direction)))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts.double(), whole.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", ["newton-cg", "lbfgs"])
def test_a_relative_tolerance_stops_where_the_gradient_is_small_next_to_the_priors(solver):
    problem = make_problem()
    span = Span.of(problem)
    settings = {"tol": TOL, "max_iter": 1000, "span": span, "solver": solver}
    loose = solve_map(problem, relative_tol=0.1, **settings)
    assert loose.status is Status.STOPPED
    assert loose.gradient_norm > TOL
    objective = _Objective(problem, span)
    gradient = objective.value_and_gradient(loose.coordinates)[1]
    assert gradient.norm() <= 0.1 * (objective.penalty * loose.coordinates).norm()
    tight = solve_map(problem, **settings)
    assert loose.n_iter < tight.n_iter


def test_probabilities_far_below_rounding_are_not_denormal():
    """Products with denormal numbers take many times as long."""
    scores = torch.tensor([[0.0, -1000.0, -95.0]], dtype=torch.float32)
    loss = softmax_in_place(scores, torch.tensor([0]))
    assert float(loss) == pytest.approx(0.0, abs=1e-7)
    assert float(scores.min()) >= torch.finfo(torch.float32).tiny


def test_the_loss_of_a_hopeless_row_is_exact():
    """What is raised for speed does not enter the loss."""
    scores = torch.tensor([[0.0, -1000.0]], dtype=torch.float64)
    assert float(softmax_in_place(scores, torch.tensor([1]))) == pytest.approx(1000.0)


def test_the_hessian_is_the_derivative_of_the_gradient():
    """Central differences in float64, and the diagonal against the products."""
    problem = make_problem(n=20, d=5, bias_variance=0.1, metric=True)
    objective = _Objective(problem, Span.of(problem))
    generator = torch.Generator().manual_seed(0)
    point, direction = 0.1 * torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    product, diagonal = objective.hessian(point)
    step = 1e-5
    ahead = objective.value_and_gradient(point + step * direction)[1]
    behind = objective.value_and_gradient(point - step * direction)[1]
    torch.testing.assert_close(
        product(direction), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6
    )
    unit = torch.zeros(4, 6, dtype=torch.float64)
    unit[2, 3] = 1.0
    torch.testing.assert_close(product(unit)[2, 3], diagonal[2, 3])
