"""The cosine form and its recipe."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from skclip._core.model import Averaging
from skclip._core.posterior.cosine import (
    CosineModel,
    CosineProblem,
    cosine_logits,
    fit_cosine_map,
    fit_cosine_posterior,
    kl_to_prior,
)
from skclip._core.solve.sgd import Recipe, train

from ..conftest import make_problem

AVERAGING = Averaging(n_draws=3, seed=0)


def cosine_problem(prior_std=0.1, n=60):
    linear = make_problem(n=n, tau=10.0)
    return CosineProblem(
        X=linear.X,
        y=linear.y,
        sample_weight=torch.ones(n, dtype=torch.float64),
        prior_mean=linear.prior_mean,
        prior_std=torch.full((4,), prior_std, dtype=torch.float64),
        logit_scale=10.0,
    )


def test_the_penalty_is_twice_the_divergence_of_torch_distributions():
    """Up to the recipe's constant: it leaves out -d per class."""
    generator = torch.Generator().manual_seed(0)
    mean, prior_mean = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    log_std = torch.tensor([-1.0, 0.2, 0.5], dtype=torch.float64)
    prior_std = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    q = Independent(Normal(mean, log_std.exp()[:, None].expand(3, 5)), 1)
    p = Independent(Normal(prior_mean, prior_std[:, None].expand(3, 5)), 1)
    expected = 2 * kl_divergence(q, p).sum() + 3 * 5
    torch.testing.assert_close(kl_to_prior(mean, log_std, prior_mean, prior_std), expected)


def test_logits_do_not_depend_on_the_norm_of_the_weights():
    problem = cosine_problem()
    scores = cosine_logits(problem.X, problem.prior_mean, 10.0)
    torch.testing.assert_close(cosine_logits(problem.X, 7 * problem.prior_mean, 10.0), scores)
    assert float(scores.abs().max()) <= 10.0


def test_the_same_seed_gives_the_same_posterior():
    fits = [
        fit_cosine_posterior(
            cosine_problem(),
            Recipe(epochs=5),
            torch.Generator().manual_seed(3),
            averaging=AVERAGING,
        )
        for _ in range(2)
    ]
    assert torch.equal(fits[0].mean, fits[1].mean)
    assert torch.equal(fits[0].std, fits[1].std)


def test_training_lowers_the_cross_entropy_of_the_support():
    problem = cosine_problem(prior_std=1.0)
    posterior = fit_cosine_posterior(
        problem, Recipe(epochs=50), torch.Generator().manual_seed(0), averaging=AVERAGING
    )

    def loss(W):
        return float(
            torch.nn.functional.cross_entropy(cosine_logits(problem.X, W, 10.0), problem.y)
        )

    assert loss(posterior.mean) < 0.8 * loss(problem.prior_mean)


def weighted_problem():
    """Weights of mean 1.5, and a spread per class."""
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(30)
    std = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return replace(cosine_problem(), sample_weight=weight, prior_std=std)


def test_the_loss_is_the_expected_cross_entropy_and_a_ramp_times_the_divergence():
    """At a rate of zero nothing moves: each epoch's loss is that of the prior, from its draws."""
    problem, reported = weighted_problem(), []
    fitted = fit_cosine_posterior(
        problem,
        Recipe(epochs=2, learning_rate=0.0, warmup_rate=None),
        torch.Generator().manual_seed(0),
        averaging=AVERAGING,
        callback=lambda epoch, loss: reported.append(loss),
    )
    torch.testing.assert_close(fitted.mean, problem.prior_mean)
    torch.testing.assert_close(fitted.std, problem.prior_std)
    generator = torch.Generator().manual_seed(0)
    expected = []
    for epoch in (1, 2):
        torch.randperm(60, generator=generator)
        noise = torch.randn(3, 4, 8, generator=generator, dtype=torch.float64)
        losses = [
            torch.nn.functional.cross_entropy(
                cosine_logits(problem.X, problem.prior_mean + std, 10.0),
                problem.y,
                reduction="none",
            )
            for std in problem.prior_std[:, None] * noise
        ]
        fit = torch.stack(losses).mean(dim=0) @ problem.sample_weight / problem.sample_weight.sum()
        # The recipe's divergence is 1 per weight where nothing has moved.
        expected.append(float(fit) + epoch / 2 / 1000)
    assert reported == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_two_steps_of_the_penalised_map_by_hand(scale):
    """Whole batches: momentum 0.9, the rates of the recipe, and the gradient of the definition."""
    problem = weighted_problem()
    recipe = Recipe(epochs=2, learning_rate=0.05, warmup_rate=None)
    penalty = torch.tensor([1.0, 2.0, 0.0, 4.0], dtype=torch.float64)
    W, last = fit_cosine_map(
        problem, recipe, torch.Generator(), penalty=penalty, residual_scale=scale
    )
    share = problem.sample_weight / problem.sample_weight.sum()
    R = torch.zeros(4, 8, dtype=torch.float64)
    velocity = torch.zeros_like(R)
    for epoch in range(2):
        R.requires_grad_(True)
        moved = scale * R
        V = problem.prior_mean + moved
        scores = 10 * problem.X @ (V / V.norm(dim=1, keepdim=True)).T
        losses = torch.nn.functional.cross_entropy(scores, problem.y, reduction="none")
        loss = share @ losses + (penalty * moved.square().sum(dim=1)).sum() / 4
        velocity = 0.9 * velocity + torch.autograd.grad(loss, R)[0]
        R = R.detach() - recipe.rate(epoch) * velocity
    torch.testing.assert_close(W, problem.prior_mean + scale * R)
    assert last == pytest.approx(loss.item())


def test_draws_are_the_mean_and_the_spread_of_each_class_times_normal_numbers():
    problem = weighted_problem()
    model = CosineModel(problem.prior_mean, problem.prior_std, 10.0, 2.0, AVERAGING)
    draws = model.draws(problem.X, 2, 5)
    generator = torch.Generator().manual_seed(5)
    for draw in draws:
        noise = torch.randn(4, 8, generator=generator, dtype=torch.float64)
        W = problem.prior_mean + torch.diag(problem.prior_std) @ noise
        torch.testing.assert_close(draw, cosine_logits(problem.X, W, 10.0) / 2)


def test_a_heavy_divergence_keeps_the_prior():
    problem = cosine_problem(prior_std=0.01)
    # Steps of size rate x scale / variance must stay below 1 for the iteration to be stable.
    recipe = Recipe(epochs=20, learning_rate=1e-3)
    posterior = fit_cosine_posterior(
        problem, recipe, torch.Generator().manual_seed(0), averaging=AVERAGING, kl_scale=1.0
    )
    moved = (posterior.mean - problem.prior_mean).norm(dim=1).max()
    free = fit_cosine_posterior(
        problem, recipe, torch.Generator().manual_seed(0), averaging=AVERAGING, kl_scale=0.0
    )
    assert float(moved) < 0.5 * float((free.mean - problem.prior_mean).norm(dim=1).max())


def test_the_penalised_map_moves_less_than_the_free_one():
    problem = cosine_problem()
    generator = torch.Generator().manual_seed(0)
    free, _ = fit_cosine_map(problem, Recipe(epochs=30), generator)
    held, _ = fit_cosine_map(
        problem,
        Recipe(epochs=30),
        torch.Generator().manual_seed(0),
        penalty=torch.ones(4, dtype=torch.float64),
    )
    assert float((held - problem.prior_mean).norm()) < float((free - problem.prior_mean).norm())


def test_a_posterior_without_spread_samples_its_mean():
    problem = cosine_problem()
    model = CosineModel(
        problem.prior_mean, torch.zeros(4, dtype=torch.float64), 10.0, 1.0, AVERAGING
    )
    for draw in model.draws(problem.X, 3, 0):
        torch.testing.assert_close(draw, cosine_logits(problem.X, problem.prior_mean, 10.0))


def test_draws_do_not_depend_on_which_rows_are_asked_for():
    """Predictions of a subset must equal the subset of the predictions."""
    problem = cosine_problem()
    model = CosineModel(problem.prior_mean, problem.prior_std, 10.0, 1.0, AVERAGING)

    def draws(X):
        return list(model.draws(X, 2, 1))

    for all_rows, some in zip(draws(problem.X), draws(problem.X[5:9]), strict=True):
        torch.testing.assert_close(some, all_rows[5:9])


def test_the_rate_warms_up_then_decays_by_a_cosine():
    recipe = Recipe(epochs=100)
    assert recipe.rate(0) == 1e-5
    assert recipe.rate(50) == pytest.approx(0.05)
    assert recipe.rate(99) < 1e-4


def test_an_epoch_leaves_out_rows_that_do_not_fill_a_batch():
    """As in the field's code; fewer rows than a batch are one batch."""
    seen = []

    def loss(rows, epoch):
        seen.append(len(rows))
        return (parameter**2).sum()

    parameter = torch.ones(1, requires_grad=True)
    for n, expected in [(10, [4, 4]), (3, [3])]:
        seen.clear()
        train([parameter], loss, n, Recipe(epochs=1, batch_size=4), torch.Generator())
        assert seen == expected


def test_a_scaled_residual_learns_at_the_rate_times_the_square_of_the_scale():
    """The gradient of T + alpha R in R is alpha times that in W, and so is a step's effect."""

    def fit(scale, rate):
        recipe = Recipe(epochs=20, learning_rate=rate, warmup_rate=None)
        generator = torch.Generator().manual_seed(0)
        return fit_cosine_map(cosine_problem(), recipe, generator, residual_scale=scale)[0]

    torch.testing.assert_close(fit(0.5, 0.08), fit(1.0, 0.02))
    assert not torch.allclose(fit(0.5, 0.02), fit(1.0, 0.02), atol=1e-3)


def test_the_penalty_may_adapt_to_the_distance_after_every_epoch():
    problem, distances = cosine_problem(), []

    def adapt(distance):
        distances.append(distance)
        return torch.full_like(distance, 0.5)

    def fit(epochs, **penalty):
        generator = torch.Generator().manual_seed(0)
        recipe = Recipe(epochs=epochs, warmup_rate=None)
        return fit_cosine_map(problem, recipe, generator, **penalty)[0]

    constant = torch.full((4,), 0.5, dtype=torch.float64)
    W = fit(5, penalty=constant, adapt=adapt)
    torch.testing.assert_close(W, fit(5, penalty=constant))
    torch.testing.assert_close(distances[-1], (W - problem.prior_mean).square().sum(dim=1))
    assert len(distances) == 5
    assert not torch.allclose(
        fit(5, penalty=0 * constant, adapt=adapt), fit(5, penalty=0 * constant)
    )
