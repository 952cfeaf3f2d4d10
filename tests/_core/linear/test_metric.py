"""The metric of the prior: its formula, its limits, its symmetries."""

import pytest
import torch

from skclip._core.linear.metric import support_metric, whitening_metric

from ..conftest import make_problem


def parts(n=40, **changes):
    problem = make_problem(n=n, **changes)
    return problem.X, problem.y, problem.sample_weight, problem.prior_mean


def test_at_one_shot_only_the_text_shapes_the_metric():
    """No residual degree of freedom: the images say nothing about the scatter within classes."""
    X, y, a, T = parts(n=4, weighted=False)
    other = X + 0.3 * torch.randn(X.shape, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(support_metric(X, y, a, T), support_metric(other, y, a, T))


@pytest.mark.parametrize("n", [6, 40])
def test_the_metric_is_its_formula(n):
    """With fewer and with more rows than the 8 features."""
    X, y, a, T = parts(n=n)
    count = torch.zeros(4).double().index_add(0, y, a)
    means = torch.zeros(4, 8).double().index_add(0, y, a[:, None] * X) / count[:, None]
    S = sum(w * torch.outer(x, x) for w, x in zip(a, X - means[y], strict=True))
    S_T = 4 * torch.cov(T.T, correction=0)
    freedom = max(float(a.sum()) - 4, 0.0)

    def power(scatter, share, exponent):
        shrunk = (1 - share) * torch.eye(8) + share * 8 / scatter.trace() * scatter
        values, vectors = torch.linalg.eigh(shrunk)
        return vectors @ torch.diag(values**exponent) @ vectors.T

    expected = power(S, freedom / (freedom + 8), -0.25) @ power(S_T, 3 / (3 + 8), 0.5)
    torch.testing.assert_close(support_metric(X, y, a, T), expected)


def test_equal_texts_and_one_shot_give_the_identity():
    X, y, a, T = parts(n=4, weighted=False)
    same = T[:1].expand_as(T)
    torch.testing.assert_close(support_metric(X, y, a, same), torch.eye(8, dtype=torch.float64))


def test_directions_of_scatter_within_classes_are_trusted_less():
    """Rows that differ within classes along the first axis only shrink that axis."""
    y = torch.arange(40) % 4
    X = torch.eye(8, dtype=torch.float64)[y + 2]
    X[:, 0] = torch.linspace(-1, 1, 40, dtype=torch.float64)
    same = torch.ones(4, 8, dtype=torch.float64)
    M = support_metric(X, y, torch.ones(40, dtype=torch.float64), same)
    lengths = M.norm(dim=0)
    assert float(lengths[0]) < 0.7 * float(lengths[1:].min())


def test_directions_in_which_the_texts_differ_are_trusted_more():
    X, y, a, _ = parts(n=4, weighted=False)
    text = torch.zeros(4, 8, dtype=torch.float64)
    text[:, 3] = torch.linspace(-1, 1, 4, dtype=torch.float64)
    lengths = support_metric(X, y, a, text).norm(dim=0)
    assert int(lengths.argmax()) == 3


def test_a_rotation_rotates_the_metric():
    X, y, a, T = parts()
    generator = torch.Generator().manual_seed(1)
    R, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
    M, rotated = support_metric(X, y, a, T), support_metric(X @ R, y, a, T @ R)
    torch.testing.assert_close(rotated @ rotated.T, R.T @ M @ M.T @ R)


def test_a_weight_of_two_is_the_row_twice():
    X, y, _, T = parts()
    weight = 1.0 + (torch.arange(40) % 3 == 0).double()
    rows = torch.repeat_interleave(torch.arange(40), weight.long())
    torch.testing.assert_close(
        support_metric(X, y, weight, T),
        support_metric(X[rows], y[rows], torch.ones(len(rows)).double(), T),
    )


def test_whitening_is_its_formula():
    """Unit columns, then the shrunk scatter within classes to the power -1/2."""
    X, y, a, _ = parts()
    mean = a @ X / a.sum()
    deviation = (a @ (X - mean).square() / a.sum()).sqrt()
    scale = deviation.square().mean().sqrt() / deviation
    rows = (X - mean) * scale
    total = torch.zeros(4).double().index_add(0, y, a)
    means = torch.zeros(4, 8).double().index_add(0, y, a[:, None] * rows) / total[:, None]
    S = sum(w * torch.outer(x, x) for w, x in zip(a, rows - means[y], strict=True))
    share = (float(a.sum()) - 4) / (float(a.sum()) + 4)
    inverse = (1 - share) * torch.eye(8) + share * 8 / S.trace() * S
    M, factor = whitening_metric(X, y, a, 4)
    found = torch.diag(1 / scale) @ M @ M.T @ torch.diag(1 / scale)
    torch.testing.assert_close(torch.linalg.inv(found), inverse)
    assert factor == pytest.approx(share * 8 / float(S.trace()))


def test_whitened_rows_do_not_depend_on_the_units_of_columns():
    X, y, a, _ = parts()
    units = torch.logspace(-4, 4, 8).double()
    one, other = (rows @ whitening_metric(rows, y, a, 4)[0] for rows in (X, X * units))
    one, other = (rows - rows.mean(dim=0) for rows in (one, other))
    torch.testing.assert_close(other / other.norm(), one / one.norm())


def test_a_column_that_never_varies_is_left_alone():
    X, y, a, _ = parts()
    X = torch.cat([X, torch.full((40, 1), 3.0).double()], dim=1)
    M, _ = whitening_metric(X, y, a, 4)
    assert torch.isfinite(M).all()
    assert M[8, :8].abs().max() < 1e-9 < M[8, 8]
