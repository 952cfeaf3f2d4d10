"""Image rows and text rows in one objective."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from skclip._core.linear.objective import solve_map
from skclip._core.methods.cross_modal import CrossModalProblem, as_linear_problem, fit_cross_modal
from skclip._core.solve.sgd import Recipe

from ..conftest import make_problem


@pytest.fixture
def cross_modal():
    linear = make_problem()
    generator = torch.Generator().manual_seed(1)
    return CrossModalProblem(
        X=linear.X,
        y=linear.y,
        sample_weight=linear.sample_weight,
        text=torch.randn(7, 8, generator=generator, dtype=torch.float64),
        text_y=torch.arange(7) % 4,
        prior_mean=linear.prior_mean,
        logit_scale=5.0,
    )


def objective(problem, W, weight_decay):
    """As the module writes it."""
    tau, share = problem.logit_scale, problem.sample_weight / problem.sample_weight.sum()
    images = F.cross_entropy(tau * problem.X @ W.T, problem.y, reduction="none")
    texts = F.cross_entropy(tau * problem.text @ W.T, problem.text_y)
    decay = 0.5 * weight_decay * (W - problem.prior_mean).square().sum()
    return 0.5 * (share * images).sum() + 0.5 * texts + decay


def test_the_linear_problem_has_the_optimum_of_the_objective(cross_modal):
    """Strongly convex: where autograd's gradient of the definition vanishes."""
    W = solve_map(as_linear_problem(cross_modal, 0.03), tol=1e-11, max_iter=100).W
    W.requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective(cross_modal, W, 0.03), W)
    torch.testing.assert_close(gradient, torch.zeros_like(W), atol=1e-9, rtol=0)
    assert float((W - cross_modal.prior_mean).norm().detach()) > 0.1


def test_both_modalities_weigh_the_same(cross_modal):
    weight = as_linear_problem(cross_modal, 0.03).sample_weight
    torch.testing.assert_close(weight[:30].sum(), weight[30:].sum())
    torch.testing.assert_close(weight[30:], weight[30].expand(7))


@pytest.mark.parametrize("cosine", [False, True])
def test_full_batches_of_one_text_descend_the_objective(cross_modal, cosine):
    """With one text nothing is drawn: a first step of SGD is along autograd's gradient."""
    problem = replace(cross_modal, text=cross_modal.text[:1], text_y=cross_modal.text_y[:1])
    recipe = Recipe(epochs=1, batch_size=30, learning_rate=0.1, warmup_rate=None)
    W = fit_cross_modal(problem, recipe, torch.Generator().manual_seed(0), cosine=cosine)
    start = problem.prior_mean.clone().requires_grad_(True)
    direction = F.normalize(start, dim=1) if cosine else start
    (gradient,) = torch.autograd.grad(objective(problem, direction, 0.0), start)
    torch.testing.assert_close(W, problem.prior_mean - 0.1 * gradient)


def test_weight_decay_pulls_to_the_start_rather_than_to_zero(cross_modal):
    def moved(weight_decay):
        recipe = Recipe(epochs=200, learning_rate=0.01, optimizer="adamw")
        recipe = replace(recipe, weight_decay=weight_decay)
        W = fit_cross_modal(cross_modal, recipe, torch.Generator().manual_seed(0), cosine=False)
        return float((W - cross_modal.prior_mean).norm())

    assert moved(50.0) < 0.1 * moved(0.0)
