"""Gaussian classes agree with dense formulas, and leaving out with refitting."""

import math

import pytest
import torch

from skclip._core.methods import chunks
from skclip._core.methods.gaussian_da import GaussianClasses, choose_weight, left_out_scores

from ..conftest import make_problem


def dense_precision(X, y, a, s):
    """The definition, without an eigenbasis."""
    n, d = float(a.sum()), X.shape[1]
    S = torch.zeros(d, d, dtype=X.dtype)
    for c in y.unique():
        rows, weight = X[y == c], a[y == c]
        residual = rows - (weight @ rows) / weight.sum()
        S += residual.T @ (weight[:, None] * residual) / n
    return torch.linalg.pinv((1 - s) * S + s * S.trace() / d * torch.eye(d, dtype=X.dtype))


def dense_scores(X, y, a, s, n_classes, log_prior, rows):
    """Log-densities plus log prior of `rows`, up to one number per row."""
    P = dense_precision(X, y, a, s)
    means = torch.stack([a[y == c] @ X[y == c] / a[y == c].sum() for c in range(n_classes)])
    gaps = rows[:, None] - means
    return log_prior - 0.5 * torch.einsum("ncd,de,nce->nc", gaps, P, gaps)


def assert_equal_up_to_rows(left, right):
    left = left - left.mean(dim=1, keepdim=True)
    right = right - right.mean(dim=1, keepdim=True)
    torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-8)


def published_shrinkage(a, d):
    n = float(a.sum())
    return d / (n - 1 + d)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [30, 10])
def test_linear_scores_are_log_densities(n, shrinkage):
    """Ten rows of four classes leave the scatter of rank six singular in eight dimensions."""
    p = make_problem(n=n)
    log_prior = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
    if n == 10 and shrinkage == 0.0:
        p = make_problem(n=n, d=4)  # the pseudo-inverse's density needs a full rank
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, shrinkage)
    W, b = classes.linear(log_prior)
    dense = dense_scores(p.X, p.y, p.sample_weight, shrinkage, 4, log_prior, p.X)
    assert_equal_up_to_rows(p.X @ W.T + b, dense)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, None])
def test_the_precision_is_the_pseudo_inverse_of_the_shrunk_scatter(shrinkage):
    """Of rank six in eight dimensions where nothing is shrunk: no precision off the scatter."""
    p = make_problem(n=10)
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, shrinkage)
    s = published_shrinkage(p.sample_weight, 8) if shrinkage is None else shrinkage
    precision = classes.axes @ torch.diag(classes.precision()) @ classes.axes.T
    torch.testing.assert_close(precision, dense_precision(p.X, p.y, p.sample_weight, s))
    assert int((classes.precision() > 0).sum()) == (6 if shrinkage == 0 else 8)


def test_the_automatic_shrinkage_is_a_multiple_of_the_published_precision():
    p = make_problem(n=30, weighted=False)
    n, d = p.X.shape
    means = torch.stack([p.X[p.y == c].mean(dim=0) for c in range(4)])
    residual = p.X - means[p.y]
    S = torch.cov(residual.T)
    published = d * torch.linalg.inv((n - 1) * S + S.trace() * torch.eye(d, dtype=S.dtype))
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, None)
    precision = classes.axes @ torch.diag(classes.precision()) @ classes.axes.T
    factor = published_shrinkage(p.sample_weight, d) * (n - 1) / n
    torch.testing.assert_close(factor * precision, published)


def by_row(left_out):
    """Scores in the order of the rows, all of which have some."""
    assert sorted(left_out.rows.tolist()) == list(range(len(left_out.rows)))
    return left_out.scores[left_out.rows.argsort()]


@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("views", [1, 3])
def test_left_out_scores_are_those_of_a_refit(shrinkage, views):
    """Up to the documented correction of the own class."""
    p = make_problem(n=36, d=6)
    codes = (torch.arange(36) % 4) + 4 * (torch.arange(36) // (4 * views))
    log_prior = torch.zeros(4, dtype=torch.float64)
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, shrinkage)
    left_out = left_out_scores(classes, p.X, p.y, p.sample_weight, codes, log_prior)
    assert left_out.share == 1.0
    scores = by_row(left_out)
    n_images = int(codes.max()) + 1
    k = n_images // 4
    s = published_shrinkage(p.sample_weight, 6) if shrinkage is None else shrinkage
    P = dense_precision(p.X, p.y, p.sample_weight, s)
    within = dense_scatter(p) / float(p.sample_weight.sum()) * n_images / (n_images - 4)
    noise = 0.5 * (P @ within).trace() * (1 / (k - 1) - 1 / k)
    for code in range(n_images):
        keep, out = codes != code, codes == code
        a = p.sample_weight[keep]
        s = published_shrinkage(a, 6) if shrinkage is None else shrinkage
        refit = dense_scores(p.X[keep], p.y[keep], a, s, 4, log_prior, p.X[out])
        refit[:, p.y[out][0]] += noise
        assert_equal_up_to_rows(scores[out], refit)


def dense_scatter(p):
    total = torch.zeros(p.X.shape[1], p.X.shape[1], dtype=p.X.dtype)
    for c in range(4):
        rows, weight = p.X[p.y == c], p.sample_weight[p.y == c]
        residual = rows - (weight @ rows) / weight.sum()
        total += residual.T @ (weight[:, None] * residual)
    return total


def test_an_empirical_prior_falls_with_the_image_left_out():
    p = make_problem(n=20)
    codes = torch.arange(20)
    arguments = (p.X, p.y, p.sample_weight, codes, torch.zeros(4, dtype=torch.float64))
    classes = GaussianClasses.of(*arguments[:3], 4, 0.5)
    fixed = by_row(left_out_scores(classes, *arguments))
    falling = by_row(left_out_scores(classes, *arguments, empirical_prior=True))
    change = (falling - fixed)[codes, p.y]
    torch.testing.assert_close(change, (1 - p.sample_weight / classes.weight[p.y]).log())


def test_single_images_of_a_class_have_no_left_out_scores():
    p = make_problem(n=9)  # classes 0 to 3 with 3, 2, 2 and 2 rows
    keep = torch.tensor([0, 1, 2, 3, 4, 5])  # 2, 2, 1 and 1
    classes = GaussianClasses.of(p.X[keep], p.y[keep], p.sample_weight[keep], 4, None)
    prior = torch.zeros(4, dtype=torch.float64)
    rows = left_out_scores(
        classes, p.X[keep], p.y[keep], p.sample_weight[keep], torch.arange(6), prior
    ).rows
    assert rows.tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("views", [1, 3])
def test_drawn_images_have_the_scores_that_they_have_among_all(views):
    """All views of an image are drawn, as many images as fit."""
    p = make_problem(n=36, d=6)
    codes = (torch.arange(36) % 4) + 4 * (torch.arange(36) // (4 * views))
    prior = torch.zeros(4, dtype=torch.float64)
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, None)
    arguments = (classes, p.X, p.y, p.sample_weight, codes, prior)
    drawn = left_out_scores(*arguments, most=6 * views * 4)
    images = set(codes[drawn.rows].tolist())
    assert len(images) == 6
    assert drawn.share == 6 / (36 / views)
    assert len(drawn.rows) == int(torch.isin(codes, torch.tensor(list(images))).sum())
    torch.testing.assert_close(drawn.scores, by_row(left_out_scores(*arguments))[drawn.rows])


def test_moments_do_not_depend_on_the_rows_taken_together(monkeypatch):
    p = make_problem(n=36, d=6)
    whole = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, None)
    monkeypatch.setattr(chunks, "_NUMBERS", 7 * 6)
    parts = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, None)
    prior = torch.zeros(4, dtype=torch.float64)
    for left, right in zip(whole.linear(prior), parts.linear(prior), strict=True):
        torch.testing.assert_close(left, right)


def test_without_scatter_the_precision_is_that_of_the_whole():
    p = make_problem(n=4, weighted=False)
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 4, None)
    variance = (p.X - p.X.mean(dim=0)).square().sum() / 4 / 8
    torch.testing.assert_close(classes.precision(), (1 / variance).expand(8))


def test_a_class_without_rows_stands_at_the_mean_of_the_means():
    p = make_problem(n=30)
    classes = GaussianClasses.of(p.X, p.y, p.sample_weight, 5, None)
    torch.testing.assert_close(classes.means[4], classes.means[:4].mean(dim=0))


@pytest.mark.parametrize("seed", range(6))
def test_the_chosen_weight_is_a_stationary_point(seed):
    """Of the penalised log-loss in the logarithm of the weight, by central differences."""
    generator = torch.Generator().manual_seed(seed)
    base, scores = torch.randn(2, 40, 3, generator=generator, dtype=torch.float64)
    y = torch.arange(40) % 3
    weight = torch.rand(40, generator=generator, dtype=torch.float64)

    def penalised(t):
        loss = torch.nn.functional.cross_entropy(base + math.exp(t) * scores, y, reduction="none")
        return float(weight @ loss) + 0.5 * ((t - math.log(0.3)) / 0.7) ** 2

    alpha, loss = choose_weight(base, scores, y, weight, centre=0.3, width=0.7)
    t = math.log(alpha)
    assert abs(penalised(t + 1e-5) - penalised(t - 1e-5)) / 2e-5 < 1e-8
    assert penalised(t) <= min(penalised(t + shift) for shift in (-1, -0.1, 0.1, 1))
    assert loss == pytest.approx(penalised(t) - 0.5 * ((t - math.log(0.3)) / 0.7) ** 2)
