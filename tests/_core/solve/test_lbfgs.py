"""The solver: convergence, its certificate, and what it says when it stops early."""

from itertools import pairwise

import pytest
import torch

from skclip._core.solve.lbfgs import InverseHessian, minimize
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


def test_the_direction_is_that_of_the_dense_update():
    """H <- (I - rho s y') H (I - rho y s') + rho s s', oldest first, from the scaled diagonal."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    identity = torch.eye(6, dtype=torch.float64)
    root, inverse_curvature, gradient = normal(6, 6), normal(6).square() + 0.5, normal(6)
    moves = normal(4, 6)
    changes = moves @ (root @ root.T + identity)
    rhos = 1 / (moves * changes).sum(dim=1)
    last = changes[-1]
    H = torch.diag(inverse_curvature) / (rhos[-1] * last.dot(inverse_curvature * last))
    for s, y, rho in zip(moves, changes, rhos, strict=True):
        left = identity - rho * torch.outer(s, y)
        H = left @ H @ left.T + rho * torch.outer(s, s)
    known = InverseHessian(inverse_curvature)
    for s, y in zip(moves, changes, strict=True):
        known.remember(s, y)
    torch.testing.assert_close(known.times(gradient), H @ gradient)


@pytest.mark.parametrize("unit", [1.0, 2.0**-60])
@pytest.mark.parametrize("curvature", [4.0, 8.0])
def test_a_step_that_is_too_long_is_cut_to_the_minimum_of_the_parabola(curvature, unit):
    """Three evaluations: at the start, beyond the minimum, and at it."""
    points = []

    def value_and_gradient(x):
        points.append(float(x))
        return 0.5 * unit * curvature * float(x @ x), unit * curvature * x

    start = torch.ones(1, dtype=torch.float64)
    result = minimize(value_and_gradient, start, start / unit, largest, tol=0.0, max_iter=9)
    assert points == [1.0, 1.0 - curvature, 0.0]
    assert (result.n_iter, result.status) == (1, Status.CONVERGED)


def test_the_unit_of_the_value_does_not_matter():
    """Scaled by a power of two, every point on the way is the same to the last bit."""
    matrix, centre = random_quadratic()
    unit = 2.0**-60
    plain, tiny = (
        minimize(
            quadratic(scale * matrix, centre),
            torch.zeros_like(centre),
            torch.ones_like(centre) / scale,
            largest,
            tol=1e-8 * scale,
            max_iter=1000,
        )
        for scale in (1.0, unit)
    )
    assert torch.equal(tiny.point, plain.point)
    assert tiny.n_iter == plain.n_iter < 1000


def test_the_callback_sees_every_iteration():
    matrix, centre = random_quadratic()
    seen = []
    result = minimize(
        quadratic(matrix, centre),
        torch.zeros_like(centre),
        torch.ones_like(centre),
        largest,
        tol=1e-8,
        max_iter=1000,
        callback=lambda *state: seen.append(state),
    )
    assert [iteration for iteration, _, _ in seen] == list(range(1, result.n_iter + 1))
    assert seen[-1][1:] == (result.objective, result.gradient_norm)


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
