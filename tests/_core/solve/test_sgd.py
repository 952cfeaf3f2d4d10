"""Stochastic gradients: the schedule, single steps by hand, and the batches of an epoch."""

import math

import pytest
import torch

from skclip._core.solve.sgd import Recipe, train


def one_step(recipe, start=2.0, gradient=0.5):
    """The parameter after one epoch of one batch."""
    parameter = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    train([parameter], lambda rows, epoch: gradient * parameter.sum(), 4, recipe, torch.Generator())
    return parameter.item()


def test_the_rate_falls_like_half_a_cosine_after_an_epoch_of_warm_up():
    rates = [Recipe(epochs=4, learning_rate=0.1, warmup_rate=1e-3).rate(t) for t in range(4)]
    half = math.sqrt(0.5)
    expected = [1e-3, 0.05 * (1 + half), 0.05, 0.05 * (1 - half)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert Recipe(learning_rate=0.1, warmup_rate=None).rate(0) == 0.1


def test_a_step_of_every_optimizer_by_hand():
    """Adam's decay is a part of the gradient, whose size it divides out; AdamW's is not."""
    common = {"epochs": 1, "learning_rate": 0.1, "weight_decay": 0.2, "warmup_rate": None}
    assert one_step(Recipe(**common)) == pytest.approx(2 - 0.1 * (0.5 + 0.2 * 2), abs=1e-12)
    adam = one_step(Recipe(**common, optimizer="adam", eps=0.1))
    assert adam == pytest.approx(2 - 0.1 * 0.9 / (0.9 + 0.1), abs=1e-12)
    adamw = one_step(Recipe(**common, optimizer="adamw", eps=0.1))
    assert adamw == pytest.approx(2 * (1 - 0.1 * 0.2) - 0.1 * 0.5 / (0.5 + 0.1), abs=1e-12)


def test_momentum_adds_a_share_of_the_step_before():
    """Rates 0.1 and 0.05: 0.1 * 0.5, then 0.05 * (0.9 * 0.5 + 0.5)."""
    recipe = Recipe(epochs=2, learning_rate=0.1, momentum=0.9, warmup_rate=None)
    assert one_step(recipe) == pytest.approx(2 - 0.05 - 0.05 * 0.95, abs=1e-12)


def test_an_epoch_is_the_whole_batches_of_a_shuffle():
    """Of 11 rows, two batches of 4: three rows wait, others in each epoch."""
    parameter = torch.zeros(1, requires_grad=True)
    batches, reported = [], []

    def loss(rows, epoch):
        batches.append((epoch, rows.tolist()))
        return parameter.sum() * 0 + epoch + len(batches) % 2  # 1 and 0 more by turns

    last = train(
        [parameter],
        loss,
        11,
        Recipe(epochs=3, batch_size=4),
        torch.Generator().manual_seed(0),
        callback=lambda *state: reported.append(state),
    )
    assert [(epoch, len(rows)) for epoch, rows in batches] == [(t, 4) for t in (0, 0, 1, 1, 2, 2)]
    epochs = [set(batches[i][1]) | set(batches[i + 1][1]) for i in (0, 2, 4)]
    assert [len(rows) for rows in epochs] == [8, 8, 8]
    assert len({frozenset(rows) for rows in epochs}) == 3
    assert reported == [(0, 0.5), (1, 1.5), (2, 2.5)]
    assert last == 2.5


def test_fewer_rows_than_a_batch_are_one_batch():
    sizes = []
    parameter = torch.zeros(1, requires_grad=True)

    def loss(rows, epoch):
        sizes.append(len(rows))
        return parameter.sum()

    train([parameter], loss, 3, Recipe(epochs=2, batch_size=4), torch.Generator())
    assert sizes == [3, 3]
