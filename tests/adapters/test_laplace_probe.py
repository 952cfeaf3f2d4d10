"""Last-layer Laplace against dense matrices, and its limits."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skclip import LaplaceProbeClassifier, LinearProbeClassifier, ZeroShotClassifier
from skclip._core.methods import laplace_probe as kronecker


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def dense_curvature(W, X, kind):
    """The Gauss-Newton matrix of vec(W) or its Kronecker approximation, row by row."""
    P = softmax(100 * X @ W.T)
    blocks = [np.diag(p) - np.outer(p, p) for p in P]
    if kind == "full":
        return 1e4 * sum(np.kron(B, np.outer(x, x)) for B, x in zip(blocks, X, strict=True))
    return 1e4 * np.kron(np.mean(blocks, axis=0), X.T @ X)


@pytest.mark.parametrize("kind", ["kronecker", "full"])
@pytest.mark.parametrize("rows", [8, 24])
def test_probit_predictions_are_those_of_the_dense_posterior(task, kind, rows):
    X, y = task.X[:rows], task.y[:rows]
    probe = LaplaceProbeClassifier(
        task.text, covariance=kind, prior_precision=500.0, predictive="probit", tol=1e-10
    ).fit(X, y)
    W = probe.prototypes_
    covariance = np.linalg.inv(dense_curvature(W, X, kind) + 500 * np.eye(W.size))
    centring = np.eye(4) - 0.25
    expected = []
    for x in task.X_test:
        J = 100 * centring @ np.kron(np.eye(4), x)
        variance = 4 / 3 * np.diag(J @ covariance @ J.T)
        expected.append(100 * W @ x / np.sqrt(1 + np.pi / 8 * variance))
    np.testing.assert_allclose(
        probe.predict_proba(task.X_test), softmax(np.array(expected)), rtol=1e-7
    )


def test_the_mode_is_that_of_the_penalised_linear_probe(task):
    probe = LaplaceProbeClassifier(task.text, prior_precision=20.0, tol=1e-10)
    map_ = LinearProbeClassifier(
        task.text, init="prototypes", solver="newton-cg", C=0.05, tol=1e-10
    )
    np.testing.assert_allclose(
        probe.fit(task.X, task.y).prototypes_, map_.fit(task.X, task.y).prototypes_, atol=1e-8
    )


def test_the_recipe_keeps_the_weights_of_zs_lp(task):
    probe = LaplaceProbeClassifier(task.text, solver="sgd", max_iter=20, random_state=0)
    zs_lp = LinearProbeClassifier(
        task.text, init="prototypes", prototype_norm=8.8, max_iter=20, random_state=0
    )
    np.testing.assert_allclose(
        probe.fit(task.X, task.y).prototypes_, zs_lp.fit(task.X, task.y).prototypes_, rtol=1e-9
    )
    assert not hasattr(probe, "gradient_norm_")


@pytest.mark.parametrize("kind", ["kronecker", "full"])
def test_the_automatic_precision_has_the_largest_evidence_at_its_weights(task, kind):
    """With the recipe, whose weights do not depend on it."""

    def fitted(precision):
        return LaplaceProbeClassifier(
            task.text,
            covariance=kind,
            prior_precision=precision,
            solver="sgd",
            max_iter=20,
            random_state=0,
        ).fit(task.X, task.y)

    best = fitted("auto")
    for factor in (0.99, 1.01):
        assert fitted(factor * best.prior_precision_).log_evidence_ < best.log_evidence_


def test_the_automatic_precision_is_given_back_as_a_number(task):
    auto = LaplaceProbeClassifier(task.text, tol=1e-10, random_state=0).fit(task.X, task.y)
    given = LaplaceProbeClassifier(
        task.text, prior_precision=auto.prior_precision_, tol=1e-10, random_state=0
    ).fit(task.X, task.y)
    np.testing.assert_allclose(given.prototypes_, auto.prototypes_, atol=1e-8)
    assert given.log_evidence_ == pytest.approx(auto.log_evidence_)


@pytest.mark.parametrize("kind", ["kronecker", "full"])
def test_a_firm_prior_is_zero_shot(task, kind):
    """Mode within tau n / lambda of the text; deviations of logits below tau / sqrt(lambda)."""
    probe = LaplaceProbeClassifier(task.text, covariance=kind, prior_precision=1e14)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        probe.fit(task.X, task.y).predict_proba(task.X_test),
        zero_shot.predict_proba(task.X_test),
        atol=1e-4,
    )


@pytest.mark.parametrize("kind", ["kronecker", "full"])
@pytest.mark.parametrize("predictive", ["probit", "samples"])
def test_a_cold_posterior_predicts_at_its_mean(task, kind, predictive):
    probe = LaplaceProbeClassifier(
        task.text, covariance=kind, predictive=predictive, posterior_temperature=1e-12
    ).fit(task.X, task.y)
    np.testing.assert_allclose(
        probe.predict_proba(task.X_test), softmax(task.X_test @ probe.coef_.T), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["kronecker", "full"])
def test_predictions_are_the_mean_of_the_samples(task, kind):
    probe = LaplaceProbeClassifier(task.text, covariance=kind, random_state=0)
    draws = probe.fit(task.X, task.y).sample_proba(task.X_test)
    assert draws.shape == (256, 80, 4)
    np.testing.assert_allclose(draws.mean(axis=0), probe.predict_proba(task.X_test), rtol=1e-9)
    parts = probe.predict_uncertainty(task.X_test)
    np.testing.assert_allclose(parts.confidence, draws.mean(axis=0).max(axis=1), rtol=1e-9)
    assert np.all(parts.epistemic > 0)
    np.testing.assert_array_equal(probe.acquisition(task.X_test), parts.epistemic)


def test_rows_unlike_the_support_are_less_certain(task):
    probe = LaplaceProbeClassifier(task.text, random_state=0).fit(task.X, task.y)
    known = probe.predict_uncertainty(task.X_test).epistemic.mean()
    strange = np.random.default_rng(0).normal(size=task.X_test.shape)
    assert probe.predict_uncertainty(strange).epistemic.mean() > known


def test_a_large_problem_is_refused_with_a_full_covariance():
    X = np.random.default_rng(0).normal(size=(300, 300))
    y = np.arange(300) % 7
    message = (
        r"covariance='full' needs classes times min\(n_samples, n_features\) to be at most 2048; "
        r"got 2100\. Pass covariance='kronecker'"
    )
    with pytest.raises(ValueError, match=message):
        LaplaceProbeClassifier(covariance="full").fit(X, y)


def test_the_recipe_needs_text(task):
    message = "LaplaceProbeClassifier needs text prototypes; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        LaplaceProbeClassifier(solver="sgd").fit(task.X, task.y)


def test_a_search_that_does_not_settle_warns(task, monkeypatch):
    monkeypatch.setattr(kronecker, "_EVIDENCE_STEPS", 1)
    with pytest.warns(ConvergenceWarning, match="The search for prior_precision stopped before"):
        LaplaceProbeClassifier(task.text).fit(task.X, task.y)
