"""Compact Gaussian posteriors against dense matrices."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.objective import solve_map
from skclip._core.linear.span import Span
from skclip._core.posterior.block import BlockGaussian, Frame, prior_of
from skclip._core.posterior.variational import Observations, divergence

from ..conftest import make_problem

KINDS = ["isotropic", "diagonal", "full"]
SIZES = [(30, 8), (12, 20)]  # primal and dual


def observations(problem, span):
    phi, _ = Frame.of(problem, span).coordinates(problem.X)
    return Observations(
        phi=phi,
        outside_square=torch.zeros(len(phi), dtype=phi.dtype),
        base=problem.logit_scale * (problem.X @ problem.prior_mean.T),
        y=problem.y,
        sample_weight=problem.sample_weight,
        logit_scale=problem.logit_scale,
    )


def compact_and_dense(problem, kind):
    """(Frame, prior, posterior, dense prior precisions, dense posterior precisions).

    Dense coordinates: all d axes of the frame and its complement, then the bias.
    """
    span = Span.of(problem)
    frame = Frame.of(problem, span)
    data = observations(problem, span)
    solution = solve_map(problem, tol=1e-10, max_iter=200, span=span)
    P = torch.softmax(data.logits(solution.coordinates), dim=1)
    curvature = problem.sample_weight[:, None] * P * (1 - P)
    prior = prior_of(problem, span)
    posterior = data.absorbed_by(prior, curvature, kind, keep=1.0)
    phi = dense_rows(problem, frame, problem.X)
    d, bias = problem.X.shape[1], int(problem.has_bias)
    dense_prior, dense = [], []
    for c in range(len(problem.prior_mean)):
        lam = problem.prior_precision[c]
        ridge = lam.repeat(d + bias)
        if bias:
            flat = problem.logit_scale**2 / 100
            ridge[-1] = max(float(lam) / problem.bias_variance, flat)
        A = torch.diag(ridge)
        dense_prior.append(A)
        A = A + problem.logit_scale**2 * phi.T @ (curvature[:, c : c + 1] * phi)
        if kind != "full":
            A = torch.diag(A.diagonal())
        if kind == "isotropic":
            A[range(d), range(d)] = A.diagonal()[:d].mean()
        dense.append(A)
    return frame, prior, posterior, torch.stack(dense_prior), torch.stack(dense)


def dense_rows(problem, frame, X):
    """Rows in the frame's axes, completed to a basis of the whole space, and the bias."""
    complement = torch.linalg.svd(frame.basis, full_matrices=True)[0][:, frame.basis.shape[1] :]
    rows = X - frame.centre
    if frame.metric is not None:
        rows = rows @ frame.metric
    phi = rows @ torch.cat([frame.basis, complement], dim=1)
    return torch.cat([phi, torch.ones_like(phi[:, :1])], dim=1) if problem.has_bias else phi


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize("bias_variance", [0.0, 0.1, math.inf])
@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_variances_equal_the_dense_ones_inside_and_outside_the_span(
    kind, n, d, bias_variance, metric
):
    problem = make_problem(n=n, d=d, bias_variance=bias_variance, metric=metric)
    frame, _, posterior, _, dense = compact_and_dense(problem, kind)
    X = torch.randn(7, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    phi = dense_rows(problem, frame, X)
    expected = torch.einsum("nj,cjk,nk->nc", phi, torch.linalg.inv(dense), phi)
    torch.testing.assert_close(posterior.variance(*frame.coordinates(X)), expected)


@pytest.mark.parametrize("bias_variance", [0.0, 0.1])
@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_is_that_of_torch_distributions(kind, n, d, bias_variance):
    problem = make_problem(n=n, d=d, bias_variance=bias_variance, metric=True)
    _, prior, posterior, dense_prior, dense = compact_and_dense(problem, kind)
    zero = torch.zeros(dense.shape[-1], dtype=dense.dtype)
    expected = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(zero, precision_matrix=dense),
        torch.distributions.MultivariateNormal(zero, precision_matrix=dense_prior),
    )
    torch.testing.assert_close(divergence(posterior, prior), expected)


def test_the_divergence_to_a_posterior_as_prior_is_that_of_torch_distributions():
    """The second batch of rows: the prior has a factor, too."""
    problem = make_problem(bias_variance=0.1)
    _, _, first, _, dense_first = compact_and_dense(problem, "full")
    rows = torch.randn(5, first.diagonal.shape[1], dtype=torch.float64)
    weight = torch.rand(5, 4, dtype=torch.float64)
    second = first.absorb(rows, weight, "full", keep=1.0)
    dense = dense_first + torch.einsum("nc,nj,nk->cjk", weight, rows, rows)
    zero = torch.zeros(dense.shape[-1], dtype=dense.dtype)
    expected = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(zero, precision_matrix=dense),
        torch.distributions.MultivariateNormal(zero, precision_matrix=dense_first),
    )
    torch.testing.assert_close(divergence(second, first), expected)
    points = torch.randn(4, rows.shape[1], dtype=torch.float64)
    torch.testing.assert_close(second.multiply(points), torch.einsum("cjk,ck->cj", dense, points))
    torch.testing.assert_close(second.marginal_precision(), torch.diagonal(dense, dim1=1, dim2=2))


@pytest.mark.parametrize("kind", KINDS)
def test_without_data_the_posterior_is_the_prior(kind):
    problem = make_problem(bias_variance=0.1)
    span = Span.of(problem)
    prior = prior_of(problem, span)
    phi, outside = Frame.of(problem, span).coordinates(problem.X)
    posterior = prior.absorb(phi, torch.zeros(30, 4, dtype=torch.float64), kind)
    torch.testing.assert_close(posterior.variance(phi, outside), prior.variance(phi, outside))
    torch.testing.assert_close(divergence(posterior, prior), torch.zeros(4, dtype=torch.float64))


def test_the_share_that_is_left_out_bounds_the_lost_precision():
    """Dropping rows of 1 % of the curvature widens no variance by more than they told."""
    problem = make_problem(n=60, tau=20.0)
    span = Span.of(problem)
    phi, outside = Frame.of(problem, span).coordinates(problem.X)
    weight = torch.rand(60, 4, dtype=torch.float64).pow(8)
    prior = prior_of(problem, span)
    exact = prior.absorb(phi, weight, "full", keep=1.0)
    thin = prior.absorb(phi, weight, "full", keep=0.99)
    lost = (exact.marginal_precision() - thin.marginal_precision()).sum(dim=1)
    whole = (weight * phi.square().sum(dim=1)[:, None]).sum(dim=0)
    # Unit rows: the trace of the lost precision is the lost weight.
    assert torch.all((lost > 1e-4 * whole) & (lost <= 0.01 * whole + 1e-9))
    assert torch.all(thin.variance(phi, outside) >= exact.variance(phi, outside) - 1e-12)


def test_a_rank_limit_keeps_the_most_informative_directions():
    problem = make_problem()
    span = Span.of(problem)
    phi, outside = Frame.of(problem, span).coordinates(problem.X)
    weight = torch.ones(30, 4, dtype=torch.float64)
    prior = prior_of(problem, span)
    exact = prior.absorb(phi, weight, "full")
    limited = prior.absorb(phi, weight, "full", max_rank=3)
    assert torch.bincount(limited.owner).tolist() == [3] * 4
    assert torch.all(limited.variance(phi, outside) >= exact.variance(phi, outside) - 1e-12)
    # Uniform weights and a prior of one number: the eigenvalues of the rows' Gram matrix.
    largest = torch.linalg.eigvalsh(phi.T @ phi)[-3:].sum()
    told = torch.zeros(4, dtype=torch.float64).index_add(
        0, limited.owner, limited.factor.square().sum(dim=1)
    )
    torch.testing.assert_close(told, largest.expand(4))


def test_more_axes_change_no_variance():
    problem = make_problem(n=12, d=20, bias_variance=0.1)
    frame, prior, posterior, _, _ = compact_and_dense(problem, "full")
    X = torch.randn(5, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wider = frame.extended(X[:3])
    assert wider.basis.shape[1] == frame.basis.shape[1] + 3
    torch.testing.assert_close(wider.basis.T @ wider.basis, torch.eye(14, dtype=torch.float64))
    torch.testing.assert_close(
        posterior.extended(3).variance(*wider.coordinates(X)),
        posterior.variance(*frame.coordinates(X)),
    )
    assert float(wider.coordinates(X[:3])[1].abs().max()) < 1e-10
    torch.testing.assert_close(
        divergence(posterior.extended(3), prior.extended(3)), divergence(posterior, prior)
    )
    # Also where the precision off the frame is another: it counts for each axis off it.
    doubled = replace(prior, outside=2 * prior.outside)
    torch.testing.assert_close(
        divergence(posterior.extended(3), doubled.extended(3)), divergence(posterior, doubled)
    )


def test_a_frame_that_is_full_has_no_more_axes():
    problem = make_problem(n=30, d=8)
    frame = Frame.of(problem, Span.of(problem))
    rows = torch.randn(5, 8, dtype=torch.float64)
    wider = frame.extended(rows)
    torch.testing.assert_close(wider.basis.T @ wider.basis, torch.eye(8, dtype=torch.float64))
    assert float(wider.coordinates(rows)[1].abs().max()) < 1e-10  # nothing is left of them


@pytest.mark.parametrize("n", [4, 30])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_rows_within_the_frame_add_no_axes(n, unit):
    """Combinations of its rows; what is left of them is rounding, whatever the unit."""
    problem = make_problem(n=n, d=8)
    problem = replace(problem, X=unit * problem.X)
    frame = Frame.of(problem, Span.of(problem))
    mixture = torch.randn(5, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = mixture @ problem.X
    assert frame.extended(rows).basis.shape == frame.basis.shape == (8, min(n, 8))
    assert float(frame.coordinates(rows)[1].abs().max()) == 0


@pytest.mark.parametrize("bias_variance", [0.0, 0.1])
def test_weights_and_coordinates_give_the_same_logits(bias_variance):
    problem = make_problem(n=6, bias_variance=bias_variance, metric=True)
    frame = Frame.of(problem, Span.of(problem))
    phi, _ = frame.coordinates(problem.X)
    points = torch.randn(4, phi.shape[1], dtype=torch.float64)
    W, b = frame.weights(points, 5.0)
    torch.testing.assert_close(5.0 * phi @ points.T, 5.0 * problem.X @ W.T + b)


def test_variance_is_the_same_in_small_chunks(monkeypatch):
    problem = make_problem(bias_variance=0.1)
    frame, _, posterior, _, _ = compact_and_dense(problem, "full")
    whole = posterior.variance(*frame.coordinates(problem.X))
    monkeypatch.setattr("skclip._core.posterior.block._BYTES_PER_CHUNK", 1)
    torch.testing.assert_close(posterior.variance(*frame.coordinates(problem.X)), whole)
    assert isinstance(posterior, BlockGaussian)
