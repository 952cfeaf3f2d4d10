"""Kernel regression on landmarks: the definition, leaving out, and the limit of all rows."""

import pytest
import torch

from skclip._core.methods import chunks, proker_landmarks
from skclip._core.methods.proker import ExactRegression, Support, kernel
from skclip._core.methods.proker_landmarks import LandmarkRegression

from ..conftest import make_problem


def make_support(size=1, n=36):
    """Rows in images of `size`, of four classes."""
    p = make_problem(n=n, d=6)
    codes = (torch.arange(n) % 4) + 4 * (torch.arange(n) // (4 * size))
    return Support(p.X, p.y, p.sample_weight, codes, p.prior_mean)


def dense_dual(support, landmarks, beta, ridge):
    """The definition."""
    B = kernel(support.X, landmarks, beta)
    A = torch.diag(support.weight)
    M = B.T @ A @ B + ridge * kernel(landmarks, landmarks, beta)
    return torch.linalg.solve(M, B.T @ A @ support.targets(slice(None)))


def fit_at(rows, landmarks, beta, dual):
    return kernel(rows, landmarks, beta) @ dual


@pytest.fixture(autouse=True)
def without_jitter(monkeypatch):
    """And in chunks of five rows and blocks of four landmarks."""
    monkeypatch.setattr(proker_landmarks, "_JITTER", 0.0)
    monkeypatch.setattr(chunks, "_NUMBERS", 5 * 10)
    monkeypatch.setattr(proker_landmarks, "_BLOCK", 4)


def test_the_coefficients_minimise_the_penalised_squares():
    support = make_support()
    regression = LandmarkRegression(support, support.X[:10])
    torch.testing.assert_close(
        fit_at(support.X, regression.keys, 1.5, regression.dual(1.5, 0.3)),
        fit_at(support.X, regression.keys, 1.5, dense_dual(support, support.X[:10], 1.5, 0.3)),
    )


@pytest.mark.parametrize("size", [1, 3])
def test_left_out_values_are_those_of_a_refit_on_the_same_landmarks(size):
    support = make_support(size)
    regression = LandmarkRegression(support, support.X[:10])
    left_out = regression.left_out(1.5, 0.3)
    for code in support.codes.unique():
        keep = support.codes != code
        rest = Support(*(part[keep] for part in list(vars(support).values())[:4]), support.text)
        dual = dense_dual(rest, support.X[:10], 1.5, 0.3)
        rows = torch.nonzero(~keep).squeeze(1)
        at = torch.isin(regression.rows, rows)
        expected = fit_at(support.X[regression.rows[at]], support.X[:10], 1.5, dual)
        torch.testing.assert_close(left_out[at], expected)


@pytest.mark.parametrize("size", [1, 3])
def test_with_all_rows_as_landmarks_it_is_the_exact_regression(size):
    support = make_support(size)
    landmarks, exact = LandmarkRegression(support, support.X), ExactRegression(support)
    torch.testing.assert_close(landmarks.left_out(1.5, 0.3), exact.left_out(1.5, 0.3))
    torch.testing.assert_close(
        fit_at(support.X, landmarks.keys, 1.5, landmarks.dual(1.5, 0.3)),
        fit_at(support.X, exact.keys, 1.5, exact.dual(1.5, 0.3)),
    )


def test_landmarks_are_rows_of_different_images():
    support = make_support(3)
    keys = LandmarkRegression.drawn(support, 8).keys
    matches = (keys[:, None] == support.X).all(dim=2)
    assert (matches.sum(dim=1) == 1).all()
    assert len(set(support.codes[matches.int().argmax(dim=1)].tolist())) == 8


def test_few_images_are_left_out_where_their_values_are_many(monkeypatch):
    """And their values are those that they have among all."""
    support = make_support(3)
    whole = LandmarkRegression(support, support.X[:10])
    monkeypatch.setattr(proker_landmarks, "_MOST_LEFT_OUT", 5 * 3 * 4)
    part = LandmarkRegression(support, support.X[:10])
    images, share = part.images
    assert (len(images), share) == (5, 5 / 12)
    at = (whole.rows[:, None] == part.rows).int().argmax(dim=0)
    torch.testing.assert_close(part.left_out(1.5, 0.3), whole.left_out(1.5, 0.3)[at])


def test_landmarks_may_coincide(monkeypatch):
    monkeypatch.setattr(proker_landmarks, "_JITTER", 1e-6)
    support = make_support()
    twice = LandmarkRegression(support, support.X[:10].repeat(2, 1))
    once = LandmarkRegression(support, support.X[:10])
    torch.testing.assert_close(twice.left_out(1.5, 0.3), once.left_out(1.5, 0.3), rtol=0, atol=1e-4)
