"""CLAP is solved to its optimum, which is a mode of the Bayesian adapter, or by its recipe."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from skclip import (
    BayesAdapterClassifier,
    CLAPClassifier,
    LinearProbeClassifier,
    Prototypes,
    ZeroShotClassifier,
)

from .conftest import assert_same_optimum

TAU = 20.0
EXACT = {"solver": "newton-cg", "tol": 1e-11}


def zero_shot_multipliers(task, weight):
    """Mean probability that the text gives to the true class, class by class."""
    proba = softmax(TAU * task.X @ task.text.T, axis=1)[np.arange(len(task.y)), task.y]
    rows = [task.y == c for c in range(4)]
    return np.array([np.average(proba[r], weights=weight[r]) for r in rows])


def optimum(task, weight, multipliers):
    """CLAP's own objective, mean loss plus mean penalty, by a generic optimiser."""
    onehot = np.eye(4)[task.y]

    def clap(flat):
        W = flat.reshape(4, 16)
        P = softmax(TAU * task.X @ W.T, axis=1)
        loss = -np.average(np.log((P * onehot).sum(axis=1)), weights=weight)
        penalty = np.mean(multipliers * ((W - task.text) ** 2).sum(axis=1))
        gradient = TAU * ((P - onehot) * weight[:, None]).T @ task.X / weight.sum()
        gradient += 2 / 4 * multipliers[:, None] * (W - task.text)
        return loss + penalty, gradient.ravel()

    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50}
    result = minimize(clap, task.text.ravel(), jac=True, method="L-BFGS-B", options=options)
    return result.x.reshape(4, 16)


def weights(weighted):
    return 0.5 + np.random.default_rng(0).random(24) if weighted else np.ones(24)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_weights_are_the_optimum_of_claps_objective(task, weighted):
    weight = weights(weighted)
    expected = zero_shot_multipliers(task, weight)
    clap = CLAPClassifier(task.text, logit_scale=TAU, **EXACT)
    clap.fit(task.X, task.y, sample_weight=weight)
    np.testing.assert_allclose(clap.multipliers_, expected)
    np.testing.assert_allclose(clap.prototypes_, optimum(task, weight, expected), atol=1e-6)
    np.testing.assert_array_equal(clap.intercept_, 0.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_clap_is_the_mode_of_the_bayesian_adapter_under_its_prior(task, weighted):
    weight = weights(weighted)
    clap = CLAPClassifier(task.text, logit_scale=TAU, **EXACT)
    adapter = BayesAdapterClassifier(
        task.text, prior_precision="clap", temperature=1.0, logit_scale=TAU, tol=1e-11
    )
    for classifier in (clap, adapter):
        classifier.fit(task.X, task.y, sample_weight=weight)
    np.testing.assert_allclose(
        adapter.prior_precision_, 2 * weight.sum() * clap.multipliers_ / 4, rtol=1e-12
    )
    assert_same_optimum(clap, adapter, adapter.prior_precision_, weight.sum())
    np.testing.assert_array_equal(adapter.intercept_, 0.0)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("initial", lambda m: m),
        ("constant", lambda m: np.full(4, m.mean())),
        ("corrected", lambda m: m * 4 / m.sum()),
        ("balanced", lambda m: np.ones(4)),
    ],
)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_variants_of_the_multipliers_follow_their_definitions(task, name, variant, solver):
    clap = CLAPClassifier(
        task.text, multipliers=name, solver=solver, logit_scale=TAU, max_iter=200, random_state=0
    ).fit(task.X, task.y)
    expected = variant(zero_shot_multipliers(task, np.ones(24)))
    np.testing.assert_allclose(clap.multipliers_, expected)
    given = CLAPClassifier(
        task.text,
        multipliers=expected,
        solver=solver,
        logit_scale=TAU,
        max_iter=200,
        random_state=0,
    ).fit(task.X, task.y)
    np.testing.assert_allclose(given.prototypes_, clap.prototypes_, atol=1e-5)


def test_a_number_is_the_multiplier_of_every_class(task):
    one = CLAPClassifier(task.text, multipliers=0.3, **EXACT).fit(task.X, task.y)
    every = CLAPClassifier(task.text, multipliers=[0.3] * 4, **EXACT).fit(task.X, task.y)
    np.testing.assert_array_equal(one.multipliers_, 0.3)
    np.testing.assert_array_equal(one.prototypes_, every.prototypes_)


def test_a_class_without_image_has_the_mean_multiplier(task):
    keep = task.y != 2
    clap = CLAPClassifier(Prototypes(task.text, range(4)), logit_scale=TAU)
    clap.fit(task.X[keep], task.y[keep])
    expected = zero_shot_multipliers(task, np.ones(24))
    expected[2] = expected[[0, 1, 3]].mean()
    np.testing.assert_allclose(clap.multipliers_, expected)


def test_huge_multipliers_are_zero_shot(task):
    """At the optimum lambda (w - t) is a sum of n vectors no longer than tau."""
    clap = CLAPClassifier(task.text, multipliers=1e6, **EXACT).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    bound = 100.0 * len(task.y) / (2 * len(task.y) * 1e6 / 4)
    moved = np.linalg.norm(clap.prototypes_ - zero_shot.prototypes_, axis=1)
    assert 0 < moved.max() <= bound


def test_the_recipe_without_a_penalty_is_zs_lp(task):
    parameters = {"prototype_norm": 8.8, "max_iter": 20, "random_state": 0}
    clap = CLAPClassifier(task.text, multipliers=0.0, solver="sgd", **parameters)
    probe = LinearProbeClassifier(task.text, init="prototypes", **parameters)
    np.testing.assert_allclose(
        clap.fit(task.X, task.y).prototypes_, probe.fit(task.X, task.y).prototypes_, atol=1e-12
    )


def test_the_penalty_grows_with_the_square_of_the_norm_of_the_text(task):
    at_norm = CLAPClassifier(task.text, prototype_norm=3.0, **EXACT).fit(task.X, task.y)
    firmer = CLAPClassifier(task.text, multipliers=9 * at_norm.multipliers_, **EXACT)
    precision = 2 * 24 * 9 * at_norm.multipliers_ / 4
    assert_same_optimum(at_norm, firmer.fit(task.X, task.y), precision, 24)


def test_both_solvers_find_the_optimum(task):
    lbfgs = CLAPClassifier(task.text, tol=1e-8).fit(task.X, task.y)
    newton = CLAPClassifier(task.text, **EXACT).fit(task.X, task.y)
    assert_same_optimum(lbfgs, newton, 2 * 24 * newton.multipliers_ / 4, 24)


def test_the_optimum_does_not_depend_on_the_norm_that_prototypes_come_with(task):
    unit = CLAPClassifier(task.text).fit(task.X, task.y)
    raw = CLAPClassifier(4 * task.text).fit(task.X, task.y)
    np.testing.assert_array_equal(raw.prototypes_, unit.prototypes_)


@pytest.mark.parametrize("prototype_norm", [None, 8.8])
def test_the_recipe_gives_unit_prototypes_the_norm_of_raw_ones(task, prototype_norm):
    def fit(text, norm):
        return CLAPClassifier(
            text, solver="sgd", prototype_norm=norm, max_iter=20, random_state=0
        ).fit(task.X, task.y)

    unit = fit(task.text, prototype_norm)
    np.testing.assert_allclose(unit.prototypes_, fit(8.8 * task.text, None).prototypes_, atol=1e-12)
    assert np.abs(unit.prototypes_ - fit(4 * task.text, None).prototypes_).max() > 1e-3


def test_the_recipe_comes_near_the_optimum_at_its_norm(task):
    """Cosine and linear form agree to first order around the text."""
    recipe = CLAPClassifier(task.text, solver="sgd", random_state=0).fit(task.X, task.y)
    exact = CLAPClassifier(task.text, prototype_norm=8.8).fit(task.X, task.y)
    text = ZeroShotClassifier(task.text).fit(task.X, task.y)
    proba = exact.predict_proba(task.X_test)
    gap = np.abs(recipe.predict_proba(task.X_test) - proba).mean()
    assert gap < 0.2 * np.abs(text.predict_proba(task.X_test) - proba).mean()


def test_adaptive_multipliers_grow_from_the_initial_ones(task):
    def fit(multipliers):
        return CLAPClassifier(
            task.text, multipliers=multipliers, solver="sgd", max_iter=50, random_state=0
        ).fit(task.X, task.y)

    initial, adaptive = fit("initial"), fit("adaptive")
    assert np.all(adaptive.multipliers_ > initial.multipliers_)
    assert np.sum(adaptive.prototypes_ * task.text) > np.sum(initial.prototypes_ * task.text)


def test_a_fit_by_the_recipe_has_no_certificate(task):
    clap = CLAPClassifier(task.text).fit(task.X, task.y)
    assert clap.gradient_norm_ <= 1e-6
    clap.set_params(solver="sgd", max_iter=2).fit(task.X, task.y)
    assert not hasattr(clap, "gradient_norm_")
    assert clap.n_iter_ == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"multipliers": "adaptive"},
            "multipliers='adaptive' follow the epochs of solver='sgd'; got solver='lbfgs'",
        ),
        (
            {"multipliers": [1.0, 2.0]},
            r"multipliers must be a number or have one entry per class, shape \(4,\); "
            r"got shape \(2,\)",
        ),
        (
            {"multipliers": [1.0, 1.0, -1.0, 1.0]},
            "multipliers must be non-negative and finite; got a smallest entry of -1 and a largest",
        ),
    ],
)
def test_multipliers_that_do_not_fit_are_refused(task, parameters, message):
    with pytest.raises(ValueError, match=message):
        CLAPClassifier(task.text, **parameters).fit(task.X, task.y)


def test_clap_needs_text(task):
    with pytest.raises(ValueError, match="CLAPClassifier needs text prototypes; got"):
        CLAPClassifier().fit(task.X, task.y)
