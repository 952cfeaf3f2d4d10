"""TaskRes is zero-shot without a residual, ZS-LP at scale one, and a Gaussian prior."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from skclip import (
    BayesAdapterClassifier,
    LinearProbeClassifier,
    TaskResClassifier,
    ZeroShotClassifier,
)

from .conftest import assert_same_optimum

EXACT = {"solver": "newton-cg", "tol": 1e-11}


def test_the_residual_is_the_optimum_of_the_penalised_objective(task):
    """Mean cross-entropy plus weight decay, in R, by a generic optimiser."""
    alpha, decay, norm, tau = 0.5, 2e-3, 3.0, 20.0
    T = norm * task.text

    def objective(flat):
        R = flat.reshape(4, 16)
        scores = tau * task.X @ (T + alpha * R).T / norm
        gap = softmax(scores, axis=1) - np.eye(4)[task.y]
        loss = np.mean(logsumexp(scores, axis=1) - scores[np.arange(24), task.y])
        gradient = alpha * tau / norm * gap.T @ task.X / 24 + decay * R
        return loss + 0.5 * decay * np.sum(R**2), gradient.ravel()

    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50}
    result = minimize(objective, np.zeros(64), jac=True, method="L-BFGS-B", options=options)
    fitted = TaskResClassifier(
        task.text,
        alpha=alpha,
        weight_decay=decay,
        prototype_norm=norm,
        logit_scale=tau,
        **EXACT,
    ).fit(task.X, task.y)
    expected = (T + alpha * result.x.reshape(4, 16)) / norm
    np.testing.assert_allclose(fitted.prototypes_, expected, atol=1e-6)


def test_weight_decay_is_a_gaussian_prior_around_the_text(task):
    weight = 0.5 + np.random.default_rng(0).random(24)
    precision = weight.sum() * 5e-4 * 8.8**2 / 0.3**2
    ours = TaskResClassifier(task.text, alpha=0.3, **EXACT)
    theirs = BayesAdapterClassifier(
        task.text,
        prior_precision=precision,
        prior_shape="isotropic",
        temperature=1.0,
        tol=1e-11,
    )
    for classifier in (ours, theirs):
        classifier.fit(task.X, task.y, sample_weight=weight)
    assert_same_optimum(ours, theirs, precision, weight.sum())


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
def test_without_a_residual_it_is_zero_shot(task, solver):
    fitted = TaskResClassifier(task.text, alpha=0.0, solver=solver, max_iter=5, random_state=0)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        fitted.fit(task.X, task.y).predict_proba(task.X_test),
        zero_shot.predict_proba(task.X_test),
        rtol=1e-10,
    )


def test_the_recipe_at_scale_one_without_decay_is_zs_lp(task):
    parameters = {"prototype_norm": 8.8, "max_iter": 20, "random_state": 0}
    ours = TaskResClassifier(task.text, alpha=1.0, weight_decay=0.0, solver="sgd", **parameters)
    probe = LinearProbeClassifier(task.text, init="prototypes", **parameters)
    np.testing.assert_allclose(
        ours.fit(task.X, task.y).prototypes_, probe.fit(task.X, task.y).prototypes_, atol=1e-12
    )


def test_only_the_ratio_of_decay_to_the_squared_scale_matters_at_the_optimum(task):
    one = TaskResClassifier(task.text, alpha=0.5, weight_decay=1e-3, **EXACT)
    other = TaskResClassifier(task.text, alpha=1.0, weight_decay=4e-3, **EXACT)
    precision = 24 * 4e-3 * 8.8**2
    assert_same_optimum(one.fit(task.X, task.y), other.fit(task.X, task.y), precision, len(task.y))


def test_unit_prototypes_get_the_norm_of_raw_ones(task):
    def fit(text):
        recipe = TaskResClassifier(text, solver="sgd", max_iter=20, random_state=0)
        return recipe.fit(task.X, task.y).prototypes_

    np.testing.assert_allclose(fit(task.text), fit(8.8 * task.text), atol=1e-12)
    assert np.abs(fit(task.text) - fit(4 * task.text)).max() > 1e-3


def test_raw_prototypes_of_unequal_norms_have_a_prior_each(task):
    norms = np.array([6.0, 8.0, 10.0, 12.0])
    ours = TaskResClassifier(norms[:, None] * task.text, **EXACT).fit(task.X, task.y)
    theirs = BayesAdapterClassifier(
        task.text,
        prior_precision=24 * 5e-4 * norms**2 / 0.25,
        prior_shape="isotropic",
        temperature=1.0,
        tol=1e-11,
    ).fit(task.X, task.y)
    assert_same_optimum(ours, theirs, theirs.prior_precision_, 24)


def test_the_published_recipe_has_more_epochs_for_more_than_four_rows_per_class(task):
    few = TaskResClassifier(task.text, solver="adam", random_state=0)
    assert few.fit(task.X[:16], task.y[:16]).n_iter_ == 100
    assert few.fit(task.X, task.y).n_iter_ == 200


def test_the_optimum_needs_weight_decay(task):
    message = "solver='lbfgs' needs a positive weight_decay, without which separable classes"
    with pytest.raises(ValueError, match=message):
        TaskResClassifier(task.text, weight_decay=0.0).fit(task.X, task.y)


def test_task_res_needs_text(task):
    with pytest.raises(ValueError, match="TaskResClassifier needs text prototypes; got"):
        TaskResClassifier().fit(task.X, task.y)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_a_zero_prototype_has_no_direction(task, solver):
    text = task.text.copy()
    text[[1, 3]] = 0.0
    message = r"Rows of prototypes must not be zero, .*; got zeros in row\(s\) 1, 3\. Drop these"
    with pytest.raises(ValueError, match=message):
        TaskResClassifier(text, solver=solver).fit(task.X, task.y)
