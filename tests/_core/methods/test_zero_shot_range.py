"""The range of zero-shot logits: the maps, the penalty and its convex problem."""

from dataclasses import replace

import pytest
import torch

from skclip._core.linear.objective import solve_map
from skclip._core.methods import chunks
from skclip._core.methods.zero_shot_range import (
    CORNER,
    _excess_slope,
    fit_range_optimum,
    fit_range_recipe,
    range_excess,
    rescale_to_range,
)
from skclip._core.posterior.cosine import CosineProblem, cosine_logits, fit_cosine_map
from skclip._core.solve.sgd import Recipe
from skclip._core.solve.status import Status

from ..conftest import make_problem


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def naive_objective(problem, W, penalty, corner=CORNER):
    scores, reference = (
        problem.logit_scale * (problem.X @ weights.T) for weights in (W, problem.prior_mean)
    )
    losses = torch.nn.functional.cross_entropy(scores, problem.y, reduction="none")
    losses = losses + penalty * range_excess(scores, reference, corner)
    distance = (W - problem.prior_mean).square().sum(dim=1)
    return (problem.sample_weight * losses).sum() + 0.5 * (problem.prior_precision * distance).sum()


def test_rescaled_rows_have_the_range_of_the_reference_and_their_own_order():
    scores, reference = 5 * normal(20, 6), normal(20, 6, seed=1)
    rescaled = rescale_to_range(scores, reference)
    torch.testing.assert_close(rescaled.amax(dim=1), reference.amax(dim=1))
    torch.testing.assert_close(rescaled.amin(dim=1), reference.amin(dim=1))
    assert torch.equal(rescaled.argsort(dim=1), scores.argsort(dim=1))


def test_the_scale_and_shift_of_the_scores_do_not_matter():
    """So that log-probabilities do as logits, at any temperature."""
    scores, reference = normal(20, 6), normal(20, 6, seed=1)
    torch.testing.assert_close(
        rescale_to_range(7 * scores - 3, reference), rescale_to_range(scores, reference)
    )
    torch.testing.assert_close(rescale_to_range(reference, reference), reference)


def test_equal_scores_stay_equal():
    rescaled = rescale_to_range(torch.ones(1, 3), torch.tensor([[1.0, 2.0, 4.0]]))
    assert rescaled.tolist() == [[1.0, 1.0, 1.0]]


def test_the_excess_by_hand():
    scores = torch.tensor([[0.0, 5.0, -1.0], [1.0, 2.0, 0.0]])
    reference = torch.tensor([[0.0, 2.0, 1.0], [0.0, 1.0, 3.0]])
    # 5 is 3 above, -1 is 1 below; the second row is inside.
    torch.testing.assert_close(range_excess(scores, reference), torch.tensor([4 / 3, 0.0]))


def test_rounding_the_corner_changes_the_excess_by_half_of_it_at_most():
    scores, reference = 3 * normal(50, 6), normal(50, 6, seed=1)
    gap = range_excess(scores, reference) - range_excess(scores, reference, 0.1)
    assert gap.min() >= -1e-12
    assert gap.max() <= 0.05 + 1e-12


def test_the_slope_of_the_excess_is_its_derivative():
    scores, reference = 3 * normal(50, 6), normal(50, 6, seed=1)
    scores.requires_grad_(True)
    (slope,) = torch.autograd.grad(range_excess(scores, reference, CORNER).sum(), scores)
    torch.testing.assert_close(_excess_slope(scores.detach(), reference), slope)


@pytest.mark.parametrize("penalty", [1.0, 10.0])
def test_the_gradient_vanishes_at_the_optimum(penalty):
    """Of the objective written naively; the certificate bounds it in units of tau n."""
    problem = make_problem()
    solution = fit_range_optimum(problem, penalty, tol=1e-9, max_iter=2000)
    assert solution.status is Status.CONVERGED
    W = solution.W.clone().requires_grad_(True)
    objective = naive_objective(problem, W, penalty)
    (gradient,) = torch.autograd.grad(objective, W)
    unit = problem.logit_scale * float(problem.sample_weight.sum())
    assert float(gradient.norm(dim=1).max()) < 2e-9 * unit
    assert float(objective.detach()) == pytest.approx(solution.objective)


@pytest.mark.parametrize("fit", ["optimum", "recipe", "norm"])
def test_the_rows_taken_together_do_not_matter(fit, monkeypatch):
    def weights():
        if fit == "optimum":
            return fit_range_optimum(make_problem(), 10.0, tol=1e-9, max_iter=2000).W
        return train(cosine_problem(), 10.0 if fit == "recipe" else None)

    whole = weights()
    monkeypatch.setattr(chunks, "_NUMBERS", 7 * 4)
    torch.testing.assert_close(weights(), whole, rtol=0, atol=1e-7)


def test_without_a_penalty_the_optimum_is_the_posterior_mode():
    problem = make_problem()
    torch.testing.assert_close(
        fit_range_optimum(problem, 0.0, tol=1e-11, max_iter=2000).W,
        solve_map(problem, tol=1e-11, max_iter=100).W,
        rtol=0,
        atol=1e-7,
    )


def test_a_stronger_penalty_leaves_less_outside_the_range():
    problem = replace(make_problem(lam=0.01), prior_precision=torch.full((4,), 0.01).double())

    def outside(penalty):
        W = fit_range_optimum(problem, penalty, tol=1e-6, max_iter=5000).W
        scores, reference = (
            problem.logit_scale * (problem.X @ weights.T) for weights in (W, problem.prior_mean)
        )
        return float(range_excess(scores, reference, CORNER) @ problem.sample_weight)

    assert outside(10.0) < outside(1.0) < outside(0.0)


def cosine_problem():
    linear = make_problem(tau=10.0)
    return CosineProblem(
        X=linear.X,
        y=linear.y,
        sample_weight=linear.sample_weight,
        prior_mean=linear.prior_mean,
        prior_std=torch.ones(4, dtype=torch.float64),
        logit_scale=10.0,
    )


def train(problem, penalty, epochs=20):
    recipe = Recipe(epochs=epochs, batch_size=16)
    return fit_range_recipe(problem, recipe, torch.Generator().manual_seed(0), penalty=penalty)


def test_without_a_penalty_the_recipe_is_the_linear_probes():
    problem = cosine_problem()
    recipe = Recipe(epochs=20, batch_size=16)
    probe, _ = fit_cosine_map(problem, recipe, torch.Generator().manual_seed(0))
    torch.testing.assert_close(train(problem, 0.0), probe)


def test_the_recipes_reduce_what_they_are_about():
    problem = cosine_problem()
    reference = cosine_logits(problem.X, problem.prior_mean, 10.0)

    def loss(W):
        scores = rescale_to_range(cosine_logits(problem.X, W, 10.0), reference)
        return float(torch.nn.functional.cross_entropy(scores, problem.y))

    def outside(W):
        return float(range_excess(cosine_logits(problem.X, W, 10.0), reference).sum())

    assert loss(train(problem, None)) < loss(problem.prior_mean)
    assert outside(train(problem, 10.0)) < 0.5 * outside(train(problem, 0.0))
