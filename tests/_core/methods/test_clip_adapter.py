"""CLIP-Adapter's network against torch.nn, and its dropout."""

import math

import pytest
import torch
from torch.nn import functional as F

from skclip._core.methods.clip_adapter import (
    Bottleneck,
    BottleneckModel,
    fit_bottleneck,
    initial_bottleneck,
)
from skclip._core.model import Averaging
from skclip._core.problem import Problem
from skclip._core.solve.sgd import Recipe


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def network():
    generator = torch.Generator().manual_seed(0)
    return initial_bottleneck(12, 3, 0.2, generator, normal(1))


def test_logits_are_those_of_the_published_module(network):
    layers = torch.nn.Sequential(
        torch.nn.Linear(12, 3, bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(3, 12, bias=False),
        torch.nn.ReLU(),
    ).double()
    with torch.no_grad():
        layers[0].weight.copy_(network.down)
        layers[2].weight.copy_(network.up)
        X, T = normal(5, 12, seed=1), normal(4, 12, seed=2)
        blended = 0.2 * layers(X) + 0.8 * X
        expected = 10.0 * F.cosine_similarity(blended[:, None], T[None], dim=2)
    torch.testing.assert_close(network.logits(X, T, 10.0), expected)


def test_the_start_is_uniform_within_the_bound_of_torch_linear():
    """Kaiming's bound with the slope sqrt(5) of torch.nn.Linear."""
    network = initial_bottleneck(400, 100, 0.2, torch.Generator().manual_seed(0), normal(1))
    gain = torch.nn.init.calculate_gain("leaky_relu", math.sqrt(5))
    for weight in (network.down, network.up):
        bound = gain * math.sqrt(3.0 / weight.shape[1])
        assert weight.abs().max() <= bound
        # The variance of 40,000 uniform numbers, whose relative error has deviation 0.0045.
        assert weight.var() == pytest.approx(bound**2 / 3, rel=0.0225)


def test_gradients_are_those_of_finite_differences(network):
    X, T = normal(5, 12, seed=1), normal(4, 12, seed=2)

    def logits(down, up):
        return Bottleneck(down, up, 0.2).logits(X, T, 10.0)

    weights = [w.clone().requires_grad_(True) for w in (network.down, network.up)]
    assert torch.autograd.gradcheck(logits, weights)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_lowers_the_loss(network, dropout):
    X = F.normalize(normal(40, 12, seed=1), dim=1)
    T = normal(4, 12, seed=2)
    problem = Problem(
        X=X,
        y=torch.arange(40) % 4,
        sample_weight=torch.ones(40).double(),
        prior_mean=T,
        logit_scale=10.0,
    )
    losses = []
    fitted = fit_bottleneck(
        problem,
        network,
        Recipe(epochs=50),
        torch.Generator().manual_seed(0),
        dropout=dropout,
        callback=lambda _, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0]
    assert not fitted.down.requires_grad


def test_dropped_units_are_absent_and_the_others_make_up_for_them(network):
    """One unit: a draw is the network without it, or with it at twice its value."""
    single = Bottleneck(network.down[:1], network.up[:, :1], 0.2)
    X, T = normal(5, 12, seed=1), normal(4, 12, seed=2)
    without = Bottleneck(0 * single.down, single.up, 0.2).logits(X, T, 10.0)
    doubled = Bottleneck(2 * single.down, single.up, 0.2).logits(X, T, 10.0)
    draws = list(BottleneckModel(single, T, 10.0, 0.5, Averaging(16, 0)).draws(X))
    kept = [bool(torch.allclose(draw, doubled)) for draw in draws]
    assert all(
        torch.allclose(d, doubled if k else without) for d, k in zip(draws, kept, strict=True)
    )
    assert 0 < sum(kept) < 16


def test_masks_do_not_depend_on_the_batch(network):
    X, T = normal(5, 12, seed=1), normal(4, 12, seed=2)
    model = BottleneckModel(network, T, 10.0, 0.5, Averaging(8, 0))
    whole, alone = (torch.stack(list(model.draws(rows))) for rows in (X, X[3:4]))
    torch.testing.assert_close(alone, whole[:, 3:4])
