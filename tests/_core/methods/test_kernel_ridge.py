"""The kernel, the solution of its system, and leaving out without refitting."""

import pytest
import torch

from skclip._core.linear.leave_one_out import Groups
from skclip._core.methods import chunks, kernel_ridge
from skclip._core.methods.kernel_ridge import (
    half_spread,
    kernel,
    left_out_fit,
    refined_solution,
    solve,
    system,
)


@pytest.fixture
def targets():
    return torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def factor_of(K, sample_weight, ridge=0.3):
    return torch.linalg.cholesky(system(K.clone(), sample_weight, ridge))


def test_the_kernel_of_unit_rows_is_the_published_one(problem):
    X = problem.X
    torch.testing.assert_close(kernel(X[:7], X, 2.0), torch.exp(-2.0 * (1 - X[:7] @ X.T)))


def test_the_kernel_does_not_depend_on_the_origin(problem):
    X = problem.X
    torch.testing.assert_close(kernel(X + 1e3, X + 1e3, 2.0), kernel(X, X, 2.0))


def test_the_half_spread_is_the_mean_of_half_squared_distances(problem):
    X, a = problem.X, problem.sample_weight / problem.sample_weight.sum()
    gaps = 0.5 * torch.cdist(X, X).square()
    assert half_spread(X, problem.sample_weight) == pytest.approx(float(a @ gaps @ a))


def test_equal_rows_have_a_spread_of_one():
    assert half_spread(torch.ones(3, 2), torch.ones(3)) == 1.0


def test_the_solution_minimises_the_penalised_squares(problem, targets):
    """In the dual coefficients, by the gradient of the primal objective."""
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight
    D = solve(K.clone(), targets, a, 0.3).requires_grad_(True)
    fit = K @ D
    objective = (a[:, None] * (targets - fit).square()).sum() + 0.3 * (D * fit).sum()
    (gradient,) = torch.autograd.grad(objective, D)
    assert float(gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("size", [1, 3])
def test_left_out_values_are_those_of_a_refit(problem, targets, size):
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight
    codes = torch.arange(30) // size
    left_out = left_out_fit(factor_of(K, a), targets, Groups.of(codes, a))
    for code in range(30 // size):
        out, keep = codes == code, codes != code
        D = solve(K[keep][:, keep], targets[keep], a[keep], 0.3)
        torch.testing.assert_close(left_out[out], K[out][:, keep] @ D)


def test_groups_may_differ_in_size(problem, targets):
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight
    codes = torch.tensor([0] * 5 + [1] * 2 + list(range(2, 25)))
    left_out = left_out_fit(factor_of(K, a), targets, Groups.of(codes, a))
    for code in (0, 1, 7):
        out, keep = codes == code, codes != code
        D = solve(K[keep][:, keep], targets[keep], a[keep], 0.3)
        torch.testing.assert_close(left_out[out], K[out][:, keep] @ D)


@pytest.mark.parametrize("size", [1, 3])
def test_the_last_rows_are_left_out_as_they_are_among_all(problem, targets, size):
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight
    factor, codes = factor_of(K, a), torch.arange(30) // size
    whole = left_out_fit(factor, targets, Groups.of(codes, a))
    last = left_out_fit(factor, targets, Groups.of(codes[:12], a[18:]))
    torch.testing.assert_close(last, whole[18:])


def test_a_row_of_hardly_any_weight_is_as_good_as_none(problem, targets):
    """In single precision, too, where one over the weight is no number."""
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight.clone()
    a[0] = 1e-300
    D = solve(K.float(), targets.float(), a, 0.3)
    without = solve(K[1:, 1:].clone(), targets[1:], a[1:], 0.3)
    torch.testing.assert_close(D[1:].double(), without, rtol=0, atol=1e-5)
    assert float(D[0].abs().max()) < 1e-12
    factor = torch.linalg.cholesky(system(K.float(), a, 0.3))
    left_out = left_out_fit(factor, targets.float(), Groups.of(torch.arange(30), a))
    torch.testing.assert_close(left_out[0].double(), K[0, 1:] @ without, rtol=0, atol=1e-5)


# A kernel that is all but constant, whose system has a condition of a million and more.
FLAT = 0.003


def refined(p, ridge):
    """A smooth function of the rows, the factor in float32 and what is found with it."""
    a, targets = p.sample_weight, p.X[:, :4] + 1.0
    factor = torch.linalg.cholesky(system(kernel(p.X, p.X, FLAT).float(), a, ridge))
    return targets, factor, refined_solution(p.X, targets, a, FLAT, ridge, factor)


def test_a_factor_in_single_precision_is_refined_to_the_solution(problem, monkeypatch):
    """In chunks of seven rows, from errors that are a thousand times those allowed."""
    monkeypatch.setattr(chunks, "_NUMBERS", 7 * 30)
    ridge = 1e-5
    targets, factor, D = refined(problem, ridge)
    exact = solve(kernel(problem.X, problem.X, FLAT), targets, problem.sample_weight, ridge)
    first = torch.cholesky_solve(targets.float(), factor).double()
    error, errors = (float((one - exact).norm() / exact.norm()) for one in (D, first))
    assert errors > 1000 * kernel_ridge._ERROR
    assert error < kernel_ridge._ERROR


def test_a_factor_that_is_too_coarse_is_not_refined(problem):
    """A ridge that single precision's rounding errors all but hide."""
    assert refined(problem, 1e-8)[2] is None


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_a_triangle_is_inverted_by_halves(n):
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(n, n, generator=generator, dtype=torch.float64)
    L = torch.linalg.cholesky(A @ A.T + n * torch.eye(n, dtype=torch.float64))
    identity = torch.eye(n, dtype=torch.float64)
    torch.testing.assert_close(kernel_ridge._inverse_of_triangle(L) @ L, identity)
