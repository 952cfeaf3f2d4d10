"""Kernel ridge regression: the kernel, the solution, and leaving out without refitting."""

import math

import pytest
import torch

from skclip._core.linear.leave_one_out import Groups
from skclip._core.methods import proker
from skclip._core.methods.proker import (
    ExactRegression,
    KernelGrid,
    Support,
    half_spread,
    kernel,
    left_out_fit,
    select,
    solve,
)

from ..conftest import make_problem


@pytest.fixture
def targets():
    return torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


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
    D = solve(K, targets, a, 0.3).requires_grad_(True)
    fit = K @ D
    objective = (a[:, None] * (targets - fit).square()).sum() + 0.3 * (D * fit).sum()
    (gradient,) = torch.autograd.grad(objective, D)
    assert float(gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("size", [1, 3])
def test_left_out_values_are_those_of_a_refit(problem, targets, size):
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight
    codes = torch.arange(30) // size
    left_out = left_out_fit(K, targets, a, 0.3, Groups.of(codes, a))
    for code in range(30 // size):
        out, keep = codes == code, codes != code
        D = solve(K[keep][:, keep], targets[keep], a[keep], 0.3)
        torch.testing.assert_close(left_out[out], K[out][:, keep] @ D)


def test_groups_may_differ_in_size(problem, targets):
    K, a = kernel(problem.X, problem.X, 1.5), problem.sample_weight
    codes = torch.tensor([0] * 5 + [1] * 2 + list(range(2, 25)))
    left_out = left_out_fit(K, targets, a, 0.3, Groups.of(codes, a))
    for code in (0, 1, 7):
        out, keep = codes == code, codes != code
        D = solve(K[keep][:, keep], targets[keep], a[keep], 0.3)
        torch.testing.assert_close(left_out[out], K[out][:, keep] @ D)


def grid(**changes):
    given = {"betas": [1.0, 2.0], "ridges": [0.1, 1.0], "weight": None, "temperature": None}
    return KernelGrid(**(given | {"width": 1.0, "temperature_width": 0.3} | changes))


def exact(p):
    """Every row an image."""
    return ExactRegression(Support(p.X, p.y, p.sample_weight, torch.arange(len(p.X)), p.prior_mean))


@pytest.mark.parametrize("weight", [None, 2.0])
def test_the_choice_is_the_least_left_out_loss_among_ridges_then_among_betas(weight):
    """Of log-loss at the given temperature and the priors of both logarithms."""
    p = make_problem(n=30)
    a, text = p.sample_weight, p.X @ p.prior_mean.T
    targets = torch.nn.functional.one_hot(p.y, 4) - text
    betas, ridges = (1.0, 3.0, 0.4), (0.5, 2.0, 0.1)
    groups = Groups.of(torch.arange(30), a)

    def loss(beta, ridge):
        fit = left_out_fit(kernel(p.X, p.X, beta), targets, a, ridge, groups)
        scores = 5.0 * (text + (ridge if weight is None else weight) * fit) / 1.3
        losses = torch.nn.functional.cross_entropy(scores, p.y, reduction="none")
        logs = math.log(beta / betas[0]), math.log(ridge / ridges[0])
        return float(a @ losses) + 0.5 * ((logs[0] / 0.7) ** 2 + (logs[1] / 0.7) ** 2)

    ridge = min(ridges, key=lambda ridge: loss(betas[0], ridge))
    beta = min(betas, key=lambda beta: loss(beta, ridge))
    candidates = grid(betas=betas, ridges=ridges, weight=weight, temperature=1.3, width=0.7)
    found = select(exact(p), candidates, 5.0)
    assert (found.beta, found.ridge, found.temperature) == (beta, ridge, 1.3)
    assert found.loss == pytest.approx(loss(beta, ridge))
    assert found.log_likelihood == pytest.approx(-found.loss / float(a.sum()))


def test_the_selection_has_the_lowest_loss_of_its_line():
    p = make_problem(n=30, weighted=False)
    regression = exact(p)
    best = select(regression, grid(), 5.0)
    for beta in (1.0, 2.0):
        # A grid of one candidate, whose penalty is zero.
        fixed = grid(betas=[beta], ridges=[best.ridge])
        alone = select(regression, fixed, 5.0)
        assert best.loss <= alone.loss + grid().penalty(beta, best.ridge) + 1e-9


def test_nothing_is_selected_where_nothing_can_be_left_out():
    p = make_problem(n=4)
    assert select(exact(p), grid(), 5.0) is None


@pytest.mark.parametrize("lowest", range(5))
def test_a_search_downhill_finds_the_lowest_of_a_valley(lowest):
    """From the first value, whatever the order of the others."""
    values = (0.1, 0.01, 0.03, 0.3, 1.0)
    asked = []

    def loss(i):
        asked.append(i)
        return abs(math.log(values[i] / values[lowest]))

    assert proker._downhill(values, loss) == lowest
    assert proker._downhill(values[:1], loss) == 0


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_a_triangle_is_inverted_by_halves(n):
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(n, n, generator=generator, dtype=torch.float64)
    L = torch.linalg.cholesky(A @ A.T + n * torch.eye(n, dtype=torch.float64))
    identity = torch.eye(n, dtype=torch.float64)
    torch.testing.assert_close(proker._inverse_of_triangle(L) @ L, identity)
