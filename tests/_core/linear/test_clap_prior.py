"""Variants of CLAP's multipliers, and those that adapt."""

import pytest
import torch

from skclip._core.linear.clap_prior import (
    AdaptiveMultipliers,
    clap_multipliers,
    multiplier_variant,
    precision_of,
)

MULTIPLIERS = torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64)


def test_multipliers_are_the_weighted_mean_probabilities_of_the_true_class():
    """Logits are log-probabilities; the class without rows gets the mean of the others."""
    scores = torch.tensor(
        [[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.6, 0.2, 0.2]], dtype=torch.float64
    ).log()
    y, weight = torch.tensor([0, 0, 1]), torch.tensor([0.25, 0.75, 0.5], dtype=torch.float64)
    expected = [(0.5 + 3 * 0.8) / 4, 0.2, ((0.5 + 3 * 0.8) / 4 + 0.2) / 2]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(clap_multipliers(scores, y, weight), expected)
    torch.testing.assert_close(precision_of(expected, weight.sum()), 2 * 1.5 / 3 * expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("initial", [0.2, 0.6, 1.0]),
        ("adaptive", [0.2, 0.6, 1.0]),
        ("constant", [0.6, 0.6, 0.6]),
        ("corrected", [1 / 3, 1.0, 5 / 3]),
        ("balanced", [1.0, 1.0, 1.0]),
    ],
)
def test_variants_of_three_multipliers(name, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(multiplier_variant(MULTIPLIERS, name), expected)


def test_precisions_are_twice_the_rows_per_class_times_the_multipliers():
    torch.testing.assert_close(precision_of(MULTIPLIERS, 30.0), 20.0 * MULTIPLIERS)


def test_a_multiplier_of_zero_still_has_a_prior():
    """That of a multiplier of a millionth."""
    torch.testing.assert_close(precision_of(torch.zeros(2), 3.0), torch.full((2,), 3e-6))


def test_adaptive_multipliers_add_the_distance_times_that_of_the_epoch_before():
    """The penalty parameter starts at zero: the first epoch changes nothing."""
    adaptive = AdaptiveMultipliers(MULTIPLIERS)
    first = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    second = torch.tensor([3.0, 0.5, 4.0], dtype=torch.float64)
    torch.testing.assert_close(adaptive(first), MULTIPLIERS)
    torch.testing.assert_close(adaptive(second), MULTIPLIERS + first * second)
    torch.testing.assert_close(adaptive(first), MULTIPLIERS + first * second + second * first)
    torch.testing.assert_close(
        adaptive.multipliers, torch.tensor([0.2, 1.6, 17.0], dtype=torch.float64)
    )


def test_clap_multipliers_are_mean_probabilities_of_the_true_class():
    scores = torch.log(
        torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.2, 0.1], [0.4, 0.4, 0.2]], dtype=torch.float64)
    )
    y, weight = torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([0.65, 0.4, 0.525], dtype=torch.float64)
    torch.testing.assert_close(clap_multipliers(scores, y, weight), expected)
    precision = precision_of(expected, weight.sum())
    torch.testing.assert_close(precision, 2 * 6 / 3 * expected)
