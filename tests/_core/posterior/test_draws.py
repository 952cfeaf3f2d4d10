"""Draws of logits and the decomposition of predictive entropy."""

import math

import pytest
import torch

from skclip._core.posterior.draws import (
    RowDraws,
    average,
    decompose,
    logit_draws,
    standard_normal,
)


def test_the_draws_are_standard_normal_with_mean_zero_in_pairs():
    z = standard_normal(4096, 3, seed=0)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(z.T @ z / 4096, torch.eye(3, dtype=torch.float64), atol=0.02, rtol=0)
    ordered = z[:, 0].sort().values
    quantiles = torch.special.ndtri((torch.arange(4096, dtype=torch.float64) + 0.5) / 4096)
    assert float((ordered - quantiles)[100:-100].abs().max()) < 0.05


def test_the_draws_depend_on_the_seed_alone():
    torch.testing.assert_close(standard_normal(7, 5, seed=1), standard_normal(7, 5, seed=1))
    assert not torch.equal(standard_normal(7, 5, seed=1), standard_normal(7, 5, seed=2))
    assert standard_normal(7, 5, seed=1).shape == (7, 5)


def test_more_classes_than_sobol_has_dimensions():
    z = standard_normal(2, 21_202, seed=0)
    assert z.shape == (2, 21_202)
    torch.testing.assert_close(z[0], -z[1])  # a pair
    # A mean of 21202 squares, each of variance 2: within four standard errors.
    assert float(z[0].square().mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / 21_202))
    assert len(z[0].unique()) == 21_202


@pytest.mark.parametrize("variance", [0.1, 1.0, 10.0])
def test_the_average_of_two_classes_is_the_logistic_normal_integral(variance):
    """Difference of two logits: one-dimensional quadrature is exact."""
    mean = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    std = torch.tensor([[variance**0.5, (0.5 * variance) ** 0.5]], dtype=torch.float64)
    grid = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    density = torch.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    width = math.sqrt(1.5 * variance)
    exact = torch.trapezoid(torch.sigmoid(1.1 + width * grid) * density, grid)
    log_proba = average(logit_draws(mean, std, standard_normal(4096, 2, seed=0)))
    assert float(log_proba[0, 0].exp()) == pytest.approx(float(exact), abs=2e-3)


def test_the_average_of_logits_is_their_mean():
    mean = torch.randn(5, 3, dtype=torch.float64)
    draws = logit_draws(mean, torch.ones_like(mean), standard_normal(16, 3, seed=0))
    torch.testing.assert_close(average(draws, "logits"), torch.log_softmax(mean, dim=1))


def test_entropy_is_aleatoric_plus_epistemic():
    mean = 3 * torch.randn(50, 4, dtype=torch.float64)
    std = torch.rand(50, 4, dtype=torch.float64)
    noise = standard_normal(32, 4, seed=0)
    parts = decompose(logit_draws(mean, std, noise))
    proba = average(logit_draws(mean, std, noise)).exp()
    torch.testing.assert_close(parts.entropy, torch.special.entr(proba).sum(dim=1))
    torch.testing.assert_close(parts.entropy, parts.aleatoric + parts.epistemic)
    torch.testing.assert_close(parts.confidence, proba.amax(dim=1))
    assert torch.all(parts.epistemic >= 0)
    assert torch.all(parts.epistemic <= math.log(4))


def test_a_small_spread_has_the_leading_term_of_the_mutual_information():
    """One half of the sum of v p (1 - p), to second order in the spread."""
    mean = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    variance = 1e-4 * torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    parts = decompose(logit_draws(mean, variance.sqrt(), standard_normal(8192, 3, seed=0)))
    P = torch.softmax(mean, dim=1)
    expected = 0.5 * float((variance * P * (1 - P)).sum())
    assert float(parts.epistemic) == pytest.approx(expected, rel=0.03)


def test_one_draw_has_no_epistemic_part_and_certain_rows_have_no_entropy():
    scores = torch.tensor([[0.0, 2000.0, 0.0]], dtype=torch.float64)
    parts = decompose(iter([scores]))
    assert [float(part) for part in parts] == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("function", [average, decompose])
def test_no_draw_is_an_error(function):
    with pytest.raises(ValueError, match="At least one draw is needed to average; got none"):
        function(iter([]))


def test_draws_of_rows_are_standard_normal_independent_and_the_same_at_every_use():
    like = torch.zeros(1, dtype=torch.float64)
    draws = RowDraws(1000, torch.arange(20), 3, seed=0)
    z = torch.cat(list(draws.blocks(like)))
    assert z.shape == (1000, 20, 3)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(20, 3, dtype=torch.float64))
    assert float(z.var()) == pytest.approx(1.0, abs=0.02)
    between_rows = torch.corrcoef(z[:, :, 0].T)
    between_rows.fill_diagonal_(0)
    assert float(between_rows.abs().max()) < 0.2
    torch.testing.assert_close(z, torch.cat(list(draws.blocks(like))), rtol=0, atol=0)


def test_draws_that_are_too_many_to_keep_are_made_again(monkeypatch):
    monkeypatch.setattr("skclip._core.posterior.draws._KEPT", 0)
    draws, kept = (RowDraws(6, torch.tensor([0, 1, 0]), 3, seed=1) for _ in range(2))
    for like in (torch.zeros(1), torch.zeros(1)):
        again = torch.cat(list(draws.blocks(like)))
        monkeypatch.setattr("skclip._core.posterior.draws._KEPT", 2**20)
        torch.testing.assert_close(again, torch.cat(list(kept.blocks(like))), rtol=0, atol=0)
        torch.testing.assert_close(again[:, 0], again[:, 2], rtol=0, atol=0)
        assert not torch.equal(again[:, 0], again[:, 1])
        monkeypatch.setattr("skclip._core.posterior.draws._KEPT", 0)
