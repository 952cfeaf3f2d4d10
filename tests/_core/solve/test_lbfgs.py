"""The solver: convergence, its certificate, and what it says when it stops early."""

from itertools import pairwise

import torch

from skclip._core.solve.lbfgs import minimize
from skclip._core.solve.status import Status


def quadratic(matrix, centre):
    def value_and_gradient(x):
        gradient = matrix @ (x - centre)
        return 0.5 * float(torch.dot(x - centre, gradient)), gradient

    return value_and_gradient


def random_quadratic(size=20, condition=1e4):
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    spectrum = torch.logspace(0, torch.tensor(condition).log10().item(), size, dtype=torch.float64)
    centre = torch.randn(size, generator=generator, dtype=torch.float64)
    return basis @ torch.diag(spectrum) @ basis.T, centre


def largest(gradient):
    return float(gradient.abs().max())


def test_finds_the_minimum_of_an_ill_conditioned_quadratic():
    matrix, centre = random_quadratic()
    result = minimize(
        quadratic(matrix, centre),
        torch.zeros_like(centre),
        torch.ones_like(centre),
        largest,
        tol=1e-10,
        max_iter=1000,
    )
    assert result.status is Status.CONVERGED
    assert result.gradient_norm <= 1e-10
    # |x - x*| <= |gradient| / smallest eigenvalue, which is 1 here.
    torch.testing.assert_close(result.point, centre, rtol=0, atol=1e-10 * len(centre))


def test_the_exact_diagonal_as_preconditioner_solves_a_diagonal_problem_at_once():
    spectrum = torch.logspace(0, 6, 30, dtype=torch.float64)
    centre = torch.linspace(-1, 1, 30, dtype=torch.float64)
    result = minimize(
        quadratic(torch.diag(spectrum), centre),
        torch.zeros_like(centre),
        1 / spectrum,
        largest,
        tol=1e-8,
        max_iter=10,
    )
    assert result.status is Status.CONVERGED
    assert result.n_iter == 1


def test_status_tells_that_the_iterations_ran_out():
    matrix, centre = random_quadratic()
    result = minimize(
        quadratic(matrix, centre),
        torch.zeros_like(centre),
        torch.ones_like(centre),
        largest,
        tol=1e-12,
        max_iter=3,
    )
    assert result.status is Status.MAX_ITER
    assert result.n_iter == 3
    assert result.gradient_norm > 1e-12


def test_status_tells_that_the_precision_is_exhausted():
    """An unreachable tolerance ends in PRECISION, not in an endless loop."""
    matrix, centre = random_quadratic()
    result = minimize(
        quadratic(matrix.float(), centre.float()),
        torch.zeros(len(centre)),
        torch.ones(len(centre)),
        largest,
        tol=1e-30,
        max_iter=10_000,
    )
    assert result.status is Status.PRECISION
    assert result.n_iter < 10_000


def test_the_value_never_increases():
    matrix, centre = random_quadratic()
    values = []
    minimize(
        quadratic(matrix, centre),
        torch.full_like(centre, 5.0),
        torch.ones_like(centre),
        largest,
        tol=1e-8,
        max_iter=500,
        callback=lambda iteration, value, certificate: values.append(value),
    )
    assert len(values) > 5
    assert all(new <= old for old, new in pairwise(values))


def test_starting_at_the_minimum_takes_no_iteration():
    matrix, centre = random_quadratic()
    result = minimize(
        quadratic(matrix, centre), centre, torch.ones_like(centre), largest, tol=1e-12, max_iter=5
    )
    assert (result.n_iter, result.status) == (0, Status.CONVERGED)
