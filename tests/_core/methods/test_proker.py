"""Kernel ridge regression of a support: what is left out, what is chosen, and its coefficients."""

import itertools
import math

import pytest
import torch

from skclip._core.linear.leave_one_out import Groups
from skclip._core.methods import proker
from skclip._core.methods.kernel_ridge import kernel, left_out_fit, solve, system
from skclip._core.methods.proker import ExactRegression, KernelGrid, Support, select

from ..conftest import make_problem


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
        factor = torch.linalg.cholesky(system(kernel(p.X, p.X, beta), a, ridge))
        fit = left_out_fit(factor, targets, groups)
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


def support_of(p, size=1):
    """Rows in images of `size`."""
    c = len(p.prior_mean)
    codes = (torch.arange(len(p.X)) % c) + c * (torch.arange(len(p.X)) // (c * size))
    return Support(p.X, p.y, p.sample_weight, codes, p.prior_mean)


@pytest.mark.parametrize("size", [1, 3])
def test_few_images_are_left_out_where_there_are_many(monkeypatch, size):
    """And their values are those that they have among all."""
    support = support_of(make_problem(n=36), size)
    whole = ExactRegression(support)
    monkeypatch.setattr(proker, "_MOST_LEFT_OUT", 5)
    part = ExactRegression(support)
    assert (len(part.images[0]), part.images[1]) == (5, 5 / (36 / size))
    at = (whole.rows[:, None] == part.rows).int().argmax(dim=0)
    torch.testing.assert_close(part.left_out(1.5, 0.3), whole.left_out(1.5, 0.3)[at])
    torch.testing.assert_close(part.dual(1.5, 0.3), whole.dual(1.5, 0.3))


def test_coefficients_are_in_the_order_of_the_keys(monkeypatch):
    """Whatever precision the candidates had."""
    support = support_of(make_problem(n=36))
    K, targets = kernel(support.X, support.X, 0.1), support.targets(slice(None))
    exact = solve(K, targets, support.weight, 0.3)
    monkeypatch.setattr(proker, "_MOST_LEFT_OUT", 5)
    for rows_of_float64 in (36, 35):
        monkeypatch.setattr(proker, "_ROWS_OF_FLOAT64", rows_of_float64)
        D = ExactRegression(support).dual(0.1, 0.3)
        assert float((D - exact).norm() / exact.norm()) < 1e-6


def test_where_single_precision_has_too_few_digits_there_is_double(monkeypatch):
    """A kernel that is all but constant, with a ridge far below float32's rounding errors."""
    support = support_of(make_problem(n=36))
    in_double = ExactRegression(support)
    left_out, dual = in_double.left_out(1e-3, 1e-9), in_double.dual(1e-3, 1e-9)
    monkeypatch.setattr(proker, "_ROWS_OF_FLOAT64", 0)
    in_single = ExactRegression(support)
    torch.testing.assert_close(in_single.left_out(1e-3, 1e-9), left_out)
    torch.testing.assert_close(in_single.dual(1e-3, 1e-9), dual)


@pytest.fixture
def many_classes(monkeypatch):
    """A problem of 32 classes with three images each, of which 12 classes are enough."""
    monkeypatch.setattr(proker, "_ROWS_OF_PART", 30)
    monkeypatch.setattr(proker, "_CLASSES_OF_PART", 12)
    return make_problem(n=96, c=32, d=16)


def test_a_part_has_some_classes_with_all_that_is_theirs(many_classes):
    support = support_of(many_classes)
    part = support.part
    assert len(part.text) == 12
    found = (part.text[:, None] == support.text).all(dim=2).int().argmax(dim=1)
    rows = torch.nonzero(torch.isin(support.y, found)).squeeze(1)
    assert torch.equal(part.X, support.X[rows])
    assert torch.equal(found[part.y], support.y[rows])
    assert torch.equal(part.weight, support.weight[rows])
    assert torch.equal(part.codes, torch.unique(support.codes[rows], return_inverse=True)[1])


def test_there_is_no_part_where_it_would_be_most_of_the_whole(many_classes, monkeypatch):
    monkeypatch.setattr(proker, "_CLASSES_OF_PART", 17)
    assert support_of(many_classes).part is None


def test_a_pair_is_chosen_on_the_part_and_its_loss_is_of_all(many_classes):
    """With priors that weigh as much against the part's losses as they do against all."""
    p = many_classes
    known = {"temperature": 1.3, "width": 0.6}
    candidates = grid(betas=[1.0, 4.0, 0.3], ridges=[0.1, 1.0, 0.02], **known)
    regression = exact(p)
    part = regression.support.part
    times = float(p.sample_weight.sum() / part.weight.sum())

    def loss(support, beta, ridge):
        alone = grid(betas=[beta], ridges=[ridge], **known)
        return select(ExactRegression(support), alone, 5.0).loss

    def rough(pair):
        return times * loss(part, *pair) + candidates.penalty(*pair)

    found = select(regression, candidates, 5.0)
    best = min(itertools.product(candidates.betas, candidates.ridges), key=rough)
    assert (found.beta, found.ridge) == best
    assert found.loss == pytest.approx(loss(regression.support, *best) + candidates.penalty(*best))


def test_the_choice_on_a_part_does_not_depend_on_the_order_of_rows(many_classes):
    p = many_classes
    order = torch.randperm(len(p.X), generator=torch.Generator().manual_seed(0))
    candidates = grid(betas=[1.0, 4.0, 0.3], ridges=[0.1, 1.0, 0.02])
    support = Support(
        p.X[order], p.y[order], p.sample_weight[order], torch.arange(96), p.prior_mean
    )
    first, second = (select(one, candidates, 5.0) for one in (exact(p), ExactRegression(support)))
    assert (first.beta, first.ridge) == (second.beta, second.ridge)
    assert first.loss == pytest.approx(second.loss)
    assert first.temperature == pytest.approx(second.temperature)
