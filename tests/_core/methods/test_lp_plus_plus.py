"""LP++: the descent never goes up, and the optimum is one."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from skclip._core.methods import chunks
from skclip._core.methods.lp_plus_plus import (
    _Objective,
    descend,
    solve_blend,
    start,
    step_sizes,
)
from skclip._core.solve.status import Status

from ..conftest import make_problem


def blend_problem(**parameters):
    p = make_problem(**parameters)
    return replace(p, logit_scale=5.0)


def mean_loss(p, W, b, alpha):
    scores = p.X @ W.T + b + alpha * (p.X @ p.prior_mean.T)
    losses = torch.nn.functional.cross_entropy(scores, p.y, reduction="none")
    return (p.sample_weight * losses).sum() / p.sample_weight.sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [6, 30])
def test_the_descent_never_raises_the_loss(n, seed):
    """Steps are up to two over a bound of the curvature."""
    losses = descend(blend_problem(n=n, seed=seed), 300).losses
    assert len(losses) == 301
    assert all(later <= loss * (1 + 1e-12) for loss, later in pairwise(losses))


def test_the_reported_loss_is_that_of_the_result():
    p = blend_problem()
    blend = descend(p, 25)
    assert blend.losses[-1] == pytest.approx(float(mean_loss(p, blend.W, blend.b, blend.alpha)))


def test_one_iteration_is_a_gradient_step_of_weights_and_bias():
    p = blend_problem()
    W, b, alpha = (part.requires_grad_(True) for part in start(p))
    gradients = torch.autograd.grad(mean_loss(p, W, b, alpha), (W, b))
    rate, _ = step_sizes(p)
    blend = descend(p, 1)
    torch.testing.assert_close(blend.W, (W - rate * gradients[0]).detach())
    torch.testing.assert_close(blend.b, (b - rate * gradients[1]).detach())
    torch.testing.assert_close(blend.alpha, alpha.detach())


def test_the_tenth_iteration_is_a_gradient_step_of_the_multipliers_too():
    p = blend_problem()
    blend = descend(p, 10)
    alpha = start(p)[2].requires_grad_(True)
    (gradient,) = torch.autograd.grad(mean_loss(p, blend.W, blend.b, alpha), alpha)
    torch.testing.assert_close(blend.alpha, (alpha - step_sizes(p)[1] * gradient).detach())


@pytest.mark.parametrize(("n", "d"), [(12, 3), (3, 12)])
def test_steps_are_two_over_and_an_eighth_over_the_bounds_of_the_curvature(n, d):
    p = blend_problem(n=n, d=d)
    a, Z = p.sample_weight, torch.cat([p.X, torch.ones(n, 1, dtype=torch.float64)], dim=1)
    share = a / a.sum()
    of_weights = torch.linalg.eigvalsh(Z.T @ (share[:, None] * Z))[-1] / 2
    of_alpha = (share @ (p.X @ p.prior_mean.T).square()).max() / 2
    expected = (2 / float(of_weights), 1 / (8 * float(of_alpha)))
    assert step_sizes(p) == pytest.approx(expected)


def test_steps_do_not_exceed_twice_the_inverse_curvature():
    """At random points, whose Hessians autograd knows."""
    p = blend_problem(n=12, d=3)
    generator = torch.Generator().manual_seed(0)
    rate, rate_alpha = step_sizes(p)
    for _ in range(5):
        point = torch.randn(4, 5, generator=generator, dtype=torch.float64)

        def of_weights(flat, point=point):
            W, b = flat.view(4, 4)[:, :3], flat.view(4, 4)[:, 3]
            return mean_loss(p, W, b, point[:, 4])

        def of_alpha(alpha, point=point):
            return mean_loss(p, point[:, :3], point[:, 3], alpha)

        for function, x, step in (
            (of_weights, point[:, :4].flatten(), rate),
            (of_alpha, point[:, 4], rate_alpha),
        ):
            hessian = torch.autograd.functional.hessian(function, x)
            assert float(torch.linalg.eigvalsh(hessian)[-1]) <= 2.0 / step


def test_the_start_is_the_published_one():
    p = blend_problem(n=8, weighted=False)
    W, b, alpha = start(p)
    torch.testing.assert_close(W[1], p.X[1] + p.X[5])
    own = [float((p.X[p.y == c] @ p.prior_mean[c]).mean()) for c in range(4)]
    torch.testing.assert_close(alpha, torch.full_like(alpha, 250 * sum(own) / 4))
    assert not b.any()


@pytest.mark.parametrize("n", [6, 30])
def test_the_gradient_is_that_of_autograd(n):
    p = blend_problem(n=n)
    objective = _Objective(p, 2.0, 3.0)
    shape = objective.penalty.shape
    point = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    point.requires_grad_(True)
    v, theta, delta = objective.parts(point)
    scores = 5.0 * (p.X @ (v @ objective.axes.T).T + theta + (1 + delta) * (p.X @ p.prior_mean.T))
    losses = torch.nn.functional.cross_entropy(scores, p.y, reduction="none")
    value = p.sample_weight @ losses + v.square().sum() + theta.square().sum()
    value = value + 1.5 * delta.square().sum()
    (gradient,) = torch.autograd.grad(value, point)
    ours = objective.value_and_gradient(point.detach())
    assert ours[0] == pytest.approx(value.item())
    torch.testing.assert_close(ours[1], gradient)


def test_the_hessian_is_that_of_finite_differences():
    p = blend_problem(n=8, d=3)
    objective = _Objective(p, 2.0, 3.0)
    point = torch.zeros_like(objective.penalty)
    step = 1e-5
    product, diagonal = objective.hessian(point)
    for index in range(point.numel()):
        move = torch.zeros_like(point)
        move.view(-1)[index] = 1.0
        high, low = (objective.value_and_gradient(point + s * step * move)[1] for s in (1, -1))
        column = (high - low) / (2 * step)
        torch.testing.assert_close(product(move), column, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(diagonal.view(-1)[index], product(move).view(-1)[index])


@pytest.mark.parametrize("solver", ["mm", "lbfgs", "newton-cg"])
def test_the_rows_taken_together_do_not_matter(solver, monkeypatch):
    def blend():
        if solver == "mm":
            return descend(blend_problem(), 30)
        return solve_blend(blend_problem(), 2.0, 3.0, tol=1e-10, max_iter=500, solver=solver)

    whole = blend()
    monkeypatch.setattr(chunks, "_NUMBERS", 7 * 4)
    parts = blend()
    for name in ("W", "b", "alpha"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_the_optimum_has_no_gradient_in_the_full_space(solver):
    """Also along directions outside the span of six rows in eight dimensions."""
    p = blend_problem(n=6)
    blend = solve_blend(p, 2.0, 3.0, tol=1e-10, max_iter=500, solver=solver)
    assert blend.status is Status.CONVERGED
    v = (blend.W / 5.0).requires_grad_(True)
    theta = (blend.b / 5.0).requires_grad_(True)
    delta = (blend.alpha / 5.0 - 1).requires_grad_(True)
    loss = mean_loss(p, 5.0 * v, 5.0 * theta, 5.0 * (1 + delta)) * p.sample_weight.sum()
    loss = loss + v.square().sum() + theta.square().sum() + 1.5 * delta.square().sum()
    for gradient in torch.autograd.grad(loss, (v, theta, delta)):
        assert float(gradient.abs().max()) <= 1e-10 * 5.0 * float(p.sample_weight.sum())
