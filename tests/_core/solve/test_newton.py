"""The Newton solver on functions whose minimum is known."""

from itertools import pairwise

import torch

from skclip._core.linear.objective import solve_map
from skclip._core.solve.newton import conjugate_gradients, minimize
from skclip._core.solve.status import Status

from ..conftest import make_problem


class Quadratic:
    """(x - centre)' matrix (x - centre) / 2."""

    def __init__(self, spectrum, dtype=torch.float64):
        generator = torch.Generator().manual_seed(0)
        size = len(spectrum)
        basis, _ = torch.linalg.qr(
            torch.randn(size, size, generator=generator, dtype=torch.float64)
        )
        self.matrix = (basis @ torch.diag(spectrum) @ basis.T).to(dtype)
        self.centre = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    def value_and_gradient(self, x):
        gradient = self.matrix @ (x - self.centre)
        return 0.5 * float(torch.dot(x - self.centre, gradient)), gradient

    def hessian(self, x):
        return (lambda v: self.matrix @ v), self.matrix.diagonal()

    def certificate(self, gradient):
        return float(gradient.abs().max())


def test_finds_the_minimum_of_an_ill_conditioned_quadratic():
    function = Quadratic(torch.logspace(0, 6, 20, dtype=torch.float64))
    result = minimize(function, torch.zeros(20, dtype=torch.float64), tol=1e-8, max_iter=50)
    assert result.status is Status.CONVERGED
    torch.testing.assert_close(result.point, function.centre, rtol=0, atol=1e-7)


def test_status_tells_that_the_iterations_ran_out():
    function = Quadratic(torch.logspace(0, 6, 20, dtype=torch.float64))
    result = minimize(function, torch.zeros(20, dtype=torch.float64), tol=1e-12, max_iter=1)
    assert result.status is Status.MAX_ITER
    assert result.gradient_norm > 1e-12


def test_an_unreachable_tolerance_ends():
    """Rounding keeps the certificate above 1e-30; the solver must say so and stop."""
    problem, steps = make_problem(n=60), []
    result = solve_map(
        problem,
        tol=1e-30,
        max_iter=1000,
        solver="newton-cg",
        callback=lambda *step: steps.append(step),
    )
    assert result.status is Status.PRECISION
    assert result.n_iter == len(steps) < 50
    assert result.gradient_norm < 1e-14


def test_steps_become_exact_near_the_minimum():
    """The residual of a step is (m / m_0)^(1/2) of the target's norm, a quarter at most.

    On a quadratic the gradient after a step is that residual.
    """
    function = Quadratic(torch.logspace(0, 6, 20, dtype=torch.float64))
    function.certificate = lambda gradient: float(gradient.norm())
    start = torch.zeros(20, dtype=torch.float64)
    norms = [function.certificate(function.value_and_gradient(start)[1])]
    seen = []

    def callback(iteration, value, certificate):
        seen.append((iteration, value, certificate))
        norms.append(certificate)

    result = minimize(function, start, tol=1e-6, max_iter=50, callback=callback)
    for before, after in pairwise(norms):
        assert after <= 1.001 * min(0.25, (before / norms[0]) ** 0.5) * before
    assert [iteration for iteration, _, _ in seen] == list(range(1, result.n_iter + 1))
    assert seen[-1][1:] == (result.objective, result.gradient_norm)


def test_the_unit_of_the_value_does_not_matter():
    """Scaled by a power of two, every point on the way is the same to the last bit."""
    unit, start = 2.0**-60, torch.zeros(20, dtype=torch.float64)
    plain, tiny = (Quadratic(torch.logspace(0, 6, 20, dtype=torch.float64)) for _ in range(2))
    tiny.matrix *= unit
    expected = minimize(plain, start, tol=1e-8, max_iter=50)
    found = minimize(tiny, start, tol=1e-8 * unit, max_iter=50)
    assert torch.equal(found.point, expected.point)
    assert found.n_iter == expected.n_iter < 50


def test_starting_at_the_minimum_takes_no_iteration():
    function = Quadratic(torch.ones(5, dtype=torch.float64))
    result = minimize(function, function.centre, tol=1e-12, max_iter=5)
    assert (result.n_iter, result.status) == (0, Status.CONVERGED)


def test_conjugate_gradients_solve_the_system_to_the_accuracy_asked_for():
    function = Quadratic(torch.logspace(0, 4, 30, dtype=torch.float64))
    target = torch.linspace(-1, 1, 30, dtype=torch.float64)
    product, diagonal = function.hessian(target)
    for accuracy in (1e-2, 1e-6, 1e-10):
        solution = conjugate_gradients(product, target, diagonal, accuracy)
        residual = float((function.matrix @ solution - target).norm())
        assert residual <= 1.1 * accuracy * float(target.norm())
