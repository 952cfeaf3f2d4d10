"""Joint Laplace posteriors equal the dense matrices that they stand for."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear.objective import logits, solve_map
from skclip._core.linear.span import Span
from skclip._core.methods import chunks
from skclip._core.methods.laplace_probe import (
    DenseCurvature,
    KroneckerCurvature,
    LogitPosterior,
    best_precision,
    evidence_mode,
    log_evidence,
    probit,
    support_log_likelihood,
)
from skclip._core.posterior.block import Frame

from ..conftest import make_problem

PRECISION = 3.0
KINDS = (KroneckerCurvature, DenseCurvature)


def make(n=6, **changes):
    """More features than rows, so that there is something outside the span."""
    problem = make_problem(n=n, d=8, c=4, **changes)
    return replace(problem, prior_precision=torch.full((4,), PRECISION, dtype=torch.float64))


def probabilities(problem, W):
    return torch.softmax(problem.logit_scale * (problem.X @ W.T), dim=1)


def curvature(kind, problem, W):
    return kind.at(problem, Span.of(problem), W)


def dense_ggn(problem, W):
    """The Hessian of the negative log-likelihood in vec(W), by automatic differentiation."""

    def loss(flat):
        scores = problem.logit_scale * (problem.X @ flat.view_as(W).T)
        losses = torch.nn.functional.cross_entropy(scores, problem.y, reduction="none")
        return (problem.sample_weight * losses).sum()

    return torch.autograd.functional.hessian(loss, W.flatten())


def dense_kronecker(problem, W):
    """Mean of Lambda_n times sum of tau^2 x x', written as loops over rows."""
    P, a = probabilities(problem, W), problem.sample_weight
    B = sum(w * (torch.diag(p) - torch.outer(p, p)) for w, p in zip(a, P, strict=True)) / a.sum()
    A = sum(w * torch.outer(x, x) for w, x in zip(a, problem.X, strict=True))
    return torch.kron(B, problem.logit_scale**2 * A)


DENSE = {KroneckerCurvature: dense_kronecker, DenseCurvature: dense_ggn}


def posterior(kind, problem, W, temperature=1.0):
    at = curvature(kind, problem, W)
    return LogitPosterior(
        root=at.root(PRECISION),
        axes=at.axes if kind is KroneckerCurvature else None,
        precision=PRECISION,
        logit_scale=problem.logit_scale,
        temperature=temperature,
    )


def test_the_rows_taken_together_do_not_matter(monkeypatch):
    problem = make(30)
    W = problem.prior_mean + 0.1
    whole = curvature(KroneckerCurvature, problem, W), support_log_likelihood(problem, W)
    monkeypatch.setattr(chunks, "_NUMBERS", 7 * 4)
    parts = curvature(KroneckerCurvature, problem, W), support_log_likelihood(problem, W)
    torch.testing.assert_close(parts[0].between, whole[0].between)
    assert parts[1] == pytest.approx(whole[1])


def new_rows(problem, n=70):
    """Rows outside the span, more than one chunk of them, and their coordinates."""
    generator = torch.Generator().manual_seed(5)
    X = torch.randn(n, 8, generator=generator, dtype=torch.float64)
    return X, Frame.of(problem, Span.of(problem)).coordinates(X)


def dense_covariance(kind, problem, W, X):
    """(n, c, c) of the logits under the inverse of the dense precision."""
    G = DENSE[kind](problem, W)
    covariance = torch.linalg.inv(G + PRECISION * torch.eye(len(G), dtype=G.dtype))
    blocks = covariance.reshape(4, 8, 4, 8)
    return problem.logit_scale**2 * torch.einsum("ni,kilj,nj->nkl", X, blocks, X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [6, 30])
def test_the_covariance_of_the_draws_is_the_dense_one(kind, n):
    """Unit vectors as noise show the columns of a root of the covariance."""
    problem = make(n)
    W = problem.prior_mean + 0.1
    X, coordinates = new_rows(problem)
    mean = torch.zeros(len(X), 4, dtype=torch.float64)
    noise = torch.eye(4, dtype=torch.float64)
    columns = torch.stack(list(posterior(kind, problem, W).draws(mean, *coordinates, noise)), dim=2)
    torch.testing.assert_close(
        columns @ columns.mT, dense_covariance(kind, problem, W, X), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_variance_is_that_of_centred_logits(kind):
    problem = make()
    W = problem.prior_mean + 0.1
    X, coordinates = new_rows(problem)
    centring = torch.eye(4, dtype=torch.float64) - 0.25
    dense = centring @ dense_covariance(kind, problem, W, X) @ centring
    torch.testing.assert_close(
        posterior(kind, problem, W, temperature=0.3).variance(*coordinates),
        0.3 * 4 / 3 * dense.diagonal(dim1=1, dim2=2),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_without_curvature_the_variance_is_the_priors(kind):
    """tau^2 |x|^2 / lambda for every class, which the factor c / (c - 1) gives back."""
    problem = make()
    certain = replace(problem, sample_weight=torch.full_like(problem.sample_weight, 1e-14))
    X, coordinates = new_rows(problem)
    expected = problem.logit_scale**2 * X.square().sum(dim=1) / PRECISION
    torch.testing.assert_close(
        posterior(kind, certain, problem.prior_mean).variance(*coordinates),
        expected[:, None].expand(-1, 4),
    )


def test_the_product_of_means_is_the_mean_of_products_where_all_rows_predict_alike():
    problem = make()
    W = torch.ones_like(problem.prior_mean)
    torch.testing.assert_close(
        curvature(KroneckerCurvature, problem, W).values.sort().values,
        curvature(DenseCurvature, problem, W).values.sort().values,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_is_laplaces_formula_with_dense_matrices(kind):
    """log p(y | W) + log p(W) + (c d / 2) log 2 pi - log |G + lambda I| / 2."""
    problem = make()
    W = problem.prior_mean + 0.1
    G = DENSE[kind](problem, W)
    log_prior = torch.distributions.Normal(problem.prior_mean, PRECISION**-0.5).log_prob(W).sum()
    precision = G + PRECISION * torch.eye(len(G), dtype=G.dtype)
    log_likelihood = support_log_likelihood(problem, W)
    expected = log_likelihood + log_prior + 0.5 * len(G) * math.log(2 * math.pi)
    expected -= 0.5 * torch.logdet(precision)
    distance = float((W - problem.prior_mean).square().sum())
    got = log_evidence(log_likelihood, curvature(kind, problem, W).values, distance, PRECISION)
    assert got == pytest.approx(float(expected), rel=1e-10)


def test_the_best_precision_has_the_largest_evidence():
    """Concave in the logarithm: larger than at both neighbours is largest."""
    values = torch.tensor([0.5, 3.0, 40.0], dtype=torch.float64)
    best = best_precision(values, 0.7, 1.0)
    at_best, left, right = (log_evidence(0.0, values, 0.7, best * s) for s in (1.0, 0.999, 1.001))
    assert at_best > max(left, right)
    # Where the slope is zero: effective parameters are lambda times the squared distance.
    assert float((values / (values + best)).sum()) == pytest.approx(0.7 * best, rel=1e-10)


def test_weights_at_the_prior_mean_want_the_firmest_prior():
    values = torch.ones(3, dtype=torch.float64)
    assert best_precision(values, 0.0, 2.0) == pytest.approx(4e8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_mode_is_a_fixed_point(kind):
    problem = make(30)
    span = Span.of(problem)
    found = evidence_mode(
        problem, span, lambda W: curvature(kind, problem, W), tol=1e-12, max_iter=100
    )
    assert abs(found.gap) < 1e-6
    again = replace(problem, prior_precision=torch.full((4,), found.precision).double())
    W = solve_map(again, tol=1e-12, max_iter=100).W
    torch.testing.assert_close(found.solution.W, W, rtol=0, atol=1e-8)
    distance = float((W - problem.prior_mean).square().sum())
    best = best_precision(curvature(kind, problem, W).values, distance, problem.logit_scale)
    assert best == pytest.approx(found.precision, rel=1e-6)


def test_the_probit_approximation_has_the_right_limits():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(mean)
    torch.testing.assert_close(probit(mean, zero), torch.log_softmax(mean, dim=1))
    uniform = torch.full_like(mean, -math.log(4))
    torch.testing.assert_close(probit(mean, zero + 1e20), uniform, rtol=0, atol=1e-8)


def test_the_log_likelihood_is_that_of_the_rows():
    problem = make()
    W = problem.prior_mean
    scores = logits(problem.X, W, W.new_zeros(4), problem.logit_scale)
    chosen = torch.log_softmax(scores, dim=1)[torch.arange(6), problem.y]
    expected = float((problem.sample_weight * chosen).sum())
    assert support_log_likelihood(problem, W) == pytest.approx(expected)
