"""The cache against its definition, and leave-one-out against caches built without the image."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from skclip._core.methods import tip_adapter as module
from skclip._core.methods.left_out_images import drawn
from skclip._core.methods.tip_adapter import (
    Grid,
    Support,
    build_cache,
    class_affinities,
    left_out_affinities,
    select,
    train_keys,
)
from skclip._core.solve.sgd import Recipe

BETAS = (0.5, 5.5, 20.0)
WIDE = {"centre": (1.0, 5.5), "width": (1e6, 1e6)}


def make_rows(n=24, d=6, c=4, *, unit=True, seed=0):
    """X (n, d), y with every class, weights with some of 0 and some above 1."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 0.0, 1.0], dtype=torch.float64).repeat(n // 6)
    y = torch.randint(c, (n,), generator=generator)
    y[:c] = torch.arange(c)
    return (F.normalize(X, dim=1) if unit else X), y, weight


def make_support(X, y, weight, c=4, groups=None, unit=True):
    text = torch.randn(c, X.shape[1], generator=torch.Generator().manual_seed(9)).to(X)
    cache, owner, own = build_cache(X, y, weight, c, groups=groups, unit=unit)
    return cache, Support(X, y, lambda rows: 3.0 * rows @ text.T, weight, owner, own)


def published(X, keys, labels, weight, beta, c):
    """exp(-beta (1 - X keys')) V with V the weighted one-hot labels."""
    V = weight[:, None] * F.one_hot(labels, c).double()
    return torch.exp(-beta * (1.0 - X @ keys.T)) @ V


def test_affinities_are_the_published_formula():
    X, y, weight = make_rows()
    cache, *_ = build_cache(X, y, weight, 4, unit=True)
    queries, *_ = make_rows(seed=1)
    for sums, beta in zip(class_affinities(queries, cache, BETAS), BETAS, strict=True):
        torch.testing.assert_close(sums, published(queries, X, y, weight, beta, 4))


def test_trained_keys_that_leave_the_sphere_follow_the_published_formula():
    X, y, weight = make_rows()
    weight = weight + 1.0
    cache, *_ = build_cache(X, y, weight, 4, unit=True)
    order = torch.argsort(y, stable=True)
    keys = 1.3 * X[order]
    moved = module.replace(cache, keys=keys)
    torch.testing.assert_close(
        class_affinities(X, moved, (5.5,))[0],
        published(X, keys, y[order], weight[order], 5.5, 4),
    )


def test_the_gap_of_rows_of_any_norm_is_half_the_squared_distance():
    X, y, weight = make_rows(unit=False)
    cache, *_ = build_cache(X, y, weight, 4, unit=False)
    V = weight[:, None] * F.one_hot(y, 4).double()
    expected = torch.exp(-0.5 * torch.cdist(X, X).square() / 2) @ V
    torch.testing.assert_close(class_affinities(X, cache, (0.5,))[0], expected)


def test_tiles_change_nothing(monkeypatch):
    X, y, weight = make_rows(n=60)
    cache, *_ = build_cache(X, y, weight, 4, unit=True)
    whole = class_affinities(X, cache, BETAS)
    monkeypatch.setattr(module, "_ROWS_PER_TILE", 7)
    monkeypatch.setattr(module, "_BYTES_PER_TILE", 8 * 7 * 5)
    torch.testing.assert_close(class_affinities(X, cache, BETAS), whole, rtol=1e-13, atol=0)


class _LargestTensor(TorchDispatchMode):
    """Elements of the largest result of any operation."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_rows_times_keys_is_never_held(monkeypatch):
    """4000 rows and 3000 keys would be 12 million affinities."""
    X, y, weight = make_rows(n=4200, d=4, c=50)
    cache, *_ = build_cache(X[:3000], y[:3000], weight[:3000] + 1.0, 50, unit=True)
    monkeypatch.setattr(module, "_BYTES_PER_TILE", 8 * 100_000)
    with _LargestTensor() as watch:
        class_affinities(X[:4000], cache, (5.5,))
    # The result itself is 4000 x 50.
    assert watch.elements == 200_000


def test_a_key_is_the_unit_mean_of_its_rows():
    X, y, _ = make_rows(n=12)
    groups = torch.arange(12) // 3
    y = y[::3].repeat_interleave(3)
    weight = torch.tensor([1.0, 2.0, 0.0] * 3 + [0.0] * 3, dtype=torch.float64)
    cache, owner, own = build_cache(X, y, weight, 4, groups=groups, unit=True)
    means = F.normalize(X[0::3] + 2 * X[1::3], dim=1)[:3]
    # The fourth image weighs nothing, and is no key.
    assert len(cache.keys) == 3
    torch.testing.assert_close(cache.keys[owner[:9:3]], means)
    torch.testing.assert_close(cache.labels[owner[:9]], y[:9])
    torch.testing.assert_close(own, torch.tensor([3.0] * 9 + [0.0] * 3, dtype=torch.float64))


def test_a_key_of_raw_rows_is_their_plain_mean():
    X, _, _ = make_rows(n=12, unit=False)
    groups = torch.arange(12) // 3
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64).repeat(4)
    cache, owner, _ = build_cache(X, groups, weight, 4, groups=groups, unit=False)
    means = (X[0::3] + 2 * X[1::3] + 0.5 * X[2::3]) / 3.5
    torch.testing.assert_close(cache.keys[owner[::3]], means)
    torch.testing.assert_close(cache.offsets[owner[::3]], 0.5 * means.square().sum(dim=1))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_left_out_image_is_the_cache_without_its_key(grouped):
    """Up to the scale of its class, from what stays to all of it."""
    X, y, weight = make_rows()
    groups = None
    if grouped:
        groups = torch.randperm(8, generator=torch.Generator().manual_seed(0)).repeat(3)
        y = y[:8].repeat(3)
    cache, support = make_support(X, y, weight, groups=groups)
    left = left_out_affinities(support, slice(None), cache, BETAS)
    for row in range(len(X)):
        # A row of weight above 1 stands for several, of which one is left out.
        without = weight.clone()
        if grouped:
            without[groups == groups[row]] = 0.0
        else:
            without[row] = max(0.0, float(weight[row]) - 1.0)
        smaller, *_ = build_cache(X, y, without, 4, groups=groups, unit=True)
        expected = class_affinities(X[row, None], smaller, BETAS)[:, 0]
        before, after = weight[y == y[row]].sum(), without[y == y[row]].sum()
        if after > 0:
            expected[:, y[row]] *= before / after
        torch.testing.assert_close(left[:, row], expected, rtol=1e-9, atol=1e-12)


def test_left_out_sums_have_the_expectation_of_a_new_image():
    """Over all ways to set one of five images apart, and to leave one of the other four out."""
    X, _, _ = make_rows(n=6)
    pool, ones = X[:5], torch.ones(4, dtype=torch.float64)
    y = torch.zeros(4, dtype=torch.int64)
    new, left_out = [], []
    for order in permutations(range(5)):
        cache, support = make_support(pool[list(order[:4])], y, ones, c=1)
        new.append(class_affinities(pool[order[4], None], cache, BETAS)[:, 0, 0])
        left_out.append(left_out_affinities(support, slice(0, 1), cache, BETAS)[:, 0, 0])
    torch.testing.assert_close(torch.stack(left_out).mean(0), torch.stack(new).mean(0))


def test_the_prior_of_the_grid_is_gaussian_in_the_logarithms():
    """Rows are betas and columns alphas; what is given has no prior."""
    grid = Grid(alphas=(1.0, 4.0), betas=(2.0, 4.0, 8.0), centre=(2.0, 4.0), width=(0.5, 2.0))
    expected = [
        [0.5 * ((math.log(b / 4) / 2) ** 2 + (math.log(a / 2) / 0.5) ** 2) for a in (1, 4)]
        for b in (2, 4, 8)
    ]
    torch.testing.assert_close(grid.penalty(), torch.tensor(expected, dtype=torch.float64))
    given = replace(grid, betas=(0.0,))
    assert given.penalty().tolist() == [pytest.approx([2 * math.log(2) ** 2] * 2)]


def test_the_choice_minimises_the_left_out_loss():
    X, y, weight = make_rows(n=60)
    cache, support = make_support(X, y, weight)
    grid = Grid([0.1, 1.0, 10.0], [1.0, 5.5], **WIDE)
    choice = select(cache, support, grid)
    sums = left_out_affinities(support, slice(None), cache, grid.betas)
    total = torch.zeros(4, dtype=torch.float64).index_add(0, y, weight)[y]
    share = (1.0 - weight.clamp(max=1.0) / total).clamp(min=0.0)
    losses = torch.stack(
        [
            torch.stack(
                [
                    weight
                    * share
                    @ F.cross_entropy(support.text_scores(X) + a * s, y, reduction="none")
                    for a in grid.alphas
                ]
            )
            for s in sums
        ]
    )
    torch.testing.assert_close(choice.losses, losses, rtol=1e-9, atol=1e-9)
    b, a = divmod(int(losses.argmin()), 3)
    assert (choice.alpha, choice.beta) == (grid.alphas[a], grid.betas[b])


def test_the_prior_wins_where_it_is_narrow():
    X, y, weight = make_rows(n=60)
    cache, support = make_support(X, y, weight)
    grid = Grid([0.1, 1.0, 10.0], [1.0, 5.5], centre=(10.0, 1.0), width=(1e-3, 1e-3))
    choice = select(cache, support, grid)
    assert (choice.alpha, choice.beta) == (10.0, 1.0)


def test_chunks_of_rows_do_not_change_the_choice(monkeypatch):
    X, y, weight = make_rows(n=60)
    cache, support = make_support(X, y, weight)
    grid = Grid([0.1, 1.0, 10.0], [1.0, 5.5], **WIDE)
    whole = select(cache, support, grid).losses
    monkeypatch.setattr(module, "_BYTES_PER_TILE", 8 * 4 * 8)
    torch.testing.assert_close(select(cache, support, grid).losses, whole)


def test_rows_that_are_drawn_stand_for_all():
    """12 of 60 count five times."""
    X, y, weight = make_rows(n=60)
    cache, support = make_support(X, y, weight)
    grid = Grid([0.1, 1.0], [1.0, 5.5], **WIDE)
    some = select(cache, support, grid, most=12 * 4)
    rows = drawn(60, 12)
    fields = ("X", "y", "sample_weight", "owner", "own")
    part = replace(support, **{name: getattr(support, name)[rows] for name in fields})
    alone = select(cache, part, grid)
    torch.testing.assert_close(some.losses, 5.0 * alone.losses - 4.0 * grid.penalty())
    share = 5.0 * float(weight[rows].sum() / weight.sum())
    assert some.log_likelihood == pytest.approx(share * alone.log_likelihood)


def test_images_alone_in_their_class_choose_nothing():
    X, _, _ = make_rows()
    y = torch.arange(4)
    cache, support = make_support(X[:4], y, torch.ones(4, dtype=torch.float64))
    assert select(cache, support, Grid([1.0], BETAS, **WIDE)) is None


def test_gradients_of_the_affinities_are_those_of_finite_differences(monkeypatch):
    monkeypatch.setattr(module, "_BYTES_PER_TILE", 8 * 6 * 5)
    X, y, weight = make_rows(n=12)
    cache, *_ = build_cache(X, y, weight, 4, unit=True)

    def sums(keys):
        out = torch.zeros(1, 4, 6, dtype=torch.float64)
        for part in module._tiles(module.replace(cache, keys=keys), 6):
            module._add_affinities(out, X[:6], part, (5.5,))
        return out

    assert torch.autograd.gradcheck(sums, cache.keys.clone().requires_grad_(True))


def test_training_keys_lowers_the_loss():
    X, y, weight = make_rows(n=60)
    cache, support = make_support(X, y, weight)
    recipe = Recipe(epochs=40, learning_rate=1e-2, optimizer="adamw", eps=1e-4, warmup_rate=None)
    losses = []
    trained = train_keys(
        cache,
        support,
        1.0,
        5.5,
        recipe,
        torch.Generator().manual_seed(0),
        callback=lambda _, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0]
    assert not trained.keys.requires_grad
    torch.testing.assert_close(trained.offsets, cache.offsets, rtol=0, atol=0)
