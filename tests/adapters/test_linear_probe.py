"""The linear probe is scikit-learn's LogisticRegression, and ZS-LP its text-started cousin."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skclip import BayesAdapterClassifier, LinearProbeClassifier, ZeroShotClassifier


def logistic_regression(C=1.0, **parameters):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, **parameters)


def assert_equal_fit(ours, theirs, X):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    # Intercepts are free up to a common shift.
    np.testing.assert_allclose(
        ours.intercept_ - ours.intercept_.mean(),
        theirs.intercept_ - theirs.intercept_.mean(),
        rtol=0,
        atol=1e-6,
    )
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_coefficients_equal_logistic_regression(load, C):
    X, y = load(return_X_y=True)
    X = scale(X)
    ours = LinearProbeClassifier(C=C, tol=1e-10).fit(X, y)
    assert_equal_fit(ours, logistic_regression(C=C).fit(X, y), X)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_coefficients_equal_logistic_regression_with_weights(fit_intercept):
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.2, 3.0, len(y))
    ours = LinearProbeClassifier(fit_intercept=fit_intercept, class_weight="balanced", tol=1e-11)
    theirs = logistic_regression(fit_intercept=fit_intercept, class_weight="balanced")
    assert_equal_fit(
        ours.fit(X, y, sample_weight=weight), theirs.fit(X, y, sample_weight=weight), X
    )


def test_two_classes_agree_at_twice_the_C():
    """Both rows are penalised here, only their difference there."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y > 0], y[y > 0]
    ours = LinearProbeClassifier(C=1.0, tol=1e-11).fit(X, y)
    theirs = logistic_regression(C=2.0).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_the_logit_scale_multiplies_the_features(task):
    ours = LinearProbeClassifier(task.text, tol=1e-10).fit(task.X, task.y)
    theirs = logistic_regression(fit_intercept=False).fit(100.0 * task.X, task.y)
    np.testing.assert_allclose(
        ours.predict_proba(task.X_test), theirs.predict_proba(100.0 * task.X_test), atol=1e-6
    )


def test_the_certificate_is_below_tol():
    X, y = load_iris(return_X_y=True)
    for tol in (1e-3, 1e-6, 1e-9):
        assert LinearProbeClassifier(tol=tol).fit(X, y).gradient_norm_ <= tol


def test_running_out_of_iterations_warns_with_the_certificate():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="The solver stopped before its certificate"):
        LinearProbeClassifier(max_iter=2).fit(X, y)


def test_converging_in_the_last_iteration_does_not_warn():
    """The warning comes from the status, not from the count."""
    X, y = load_iris(return_X_y=True)
    needed = LinearProbeClassifier().fit(X, y).n_iter_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearProbeClassifier(max_iter=needed).fit(X, y)


def test_the_text_start_without_training_is_zero_shot(task):
    """One epoch at the warm-up rate of 1e-5 does not turn long vectors."""
    probe = LinearProbeClassifier(
        task.text, init="prototypes", prototype_norm=1e3, max_iter=1, random_state=0
    )
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        probe.fit(task.X, task.y).predict_proba(task.X_test),
        zero_shot.predict_proba(task.X_test),
        atol=1e-6,
    )


def test_the_text_start_learns(task):
    probe = LinearProbeClassifier(task.text, init="prototypes", max_iter=100, random_state=0)
    probe.fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    assert probe.score(task.X_test, task.y_test) > zero_shot.score(task.X_test, task.y_test)
    np.testing.assert_allclose(np.linalg.norm(probe.prototypes_, axis=1), 1.0)


def test_the_text_start_needs_text(task):
    with pytest.raises(ValueError, match="init='prototypes' starts at the text prototypes"):
        LinearProbeClassifier(init="prototypes").fit(task.X, task.y)


def test_the_norm_of_the_start_sets_the_pace(task):
    """A cosine gradient falls with the norm: the same steps turn a long vector less."""

    def turned(norm):
        probe = LinearProbeClassifier(
            task.text, init="prototypes", prototype_norm=norm, max_iter=20, random_state=0
        ).fit(task.X, task.y)
        return np.linalg.norm(probe.prototypes_ - task.text)

    assert turned(20.0) < turned(5.0)


# -- starts and solvers ---------------------------------------------------------------


def test_the_text_as_the_centre_of_the_penalty_is_an_isotropic_prior_there(task):
    """BayesAdapterClassifier of precision 1 / C, with nothing chosen automatically."""
    ours = LinearProbeClassifier(task.text, init="prototypes", solver="lbfgs", C=0.05, tol=1e-10)
    bayes = BayesAdapterClassifier(
        task.text,
        prior_precision=20.0,
        temperature=1.0,
        prior_shape="isotropic",
        fit_intercept=False,
        tol=1e-10,
    )
    np.testing.assert_allclose(
        ours.fit(task.X, task.y).prototypes_, bayes.fit(task.X, task.y).prototypes_, atol=1e-7
    )


@pytest.mark.parametrize("init", ["zeros", "prototypes", "random"])
def test_a_small_C_leaves_the_weights_at_the_start(task, init):
    """The gradient of the log-likelihood is at most tau n in any w_c."""
    C = 1e-9
    probe = LinearProbeClassifier(task.text, init=init, solver="lbfgs", C=C, random_state=0)
    probe.fit(task.X, task.y)
    again = LinearProbeClassifier(task.text, init=init, solver="lbfgs", C=C / 2, random_state=0)
    bound = 100.0 * len(task.X) * C
    assert np.abs(probe.prototypes_ - again.fit(task.X, task.y).prototypes_).max() <= 2 * bound
    if init == "random":
        # 64 squares of N(0, 2/16): their mean within five standard errors.
        assert abs(8 * np.square(probe.prototypes_).mean() - 1) < 5 * np.sqrt(2 / 64)
    else:
        start = task.text if init == "prototypes" else np.zeros_like(task.text)
        assert np.abs(probe.prototypes_ - start).max() <= bound


def test_the_random_start_does_not_matter_where_the_penalty_vanishes(task):
    """With rows that no plane separates, the optimum of the likelihood is where all ends."""
    y = np.random.default_rng(0).integers(0, 4, size=240)
    X = np.random.default_rng(1).normal(size=(240, 16))
    first, second = (
        LinearProbeClassifier(
            task.text, init="random", solver="lbfgs", C=1e9, logit_scale=1.0, random_state=seed
        )
        .fit(X, y)
        .predict_proba(task.X_test)
        for seed in (0, 1)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_random_start_knows_nothing_and_learns(task):
    def probe(epochs):
        return LinearProbeClassifier(task.text, init="random", max_iter=epochs, random_state=0).fit(
            task.X, task.y
        )

    # Chance is 0.25.
    assert probe(1).score(task.X, task.y) < 0.5
    assert probe(100).score(task.X, task.y) > 0.7
    np.testing.assert_allclose(np.linalg.norm(probe(1).prototypes_, axis=1), 1.0)


def test_the_certificate_of_another_solver_is_forgotten(task):
    probe = LinearProbeClassifier(task.text).fit(task.X, task.y)
    assert probe.gradient_norm_ <= probe.tol
    probe.set_params(init="random", max_iter=2).fit(task.X, task.y)
    assert not hasattr(probe, "gradient_norm_")


def test_starts_that_a_solver_does_not_have_are_refused(task):
    message = "solver='sgd' trains the directions of the weights, and init='zeros' has none"
    with pytest.raises(ValueError, match=message):
        LinearProbeClassifier(task.text, solver="sgd").fit(task.X, task.y)
    message = "solver='sgd' trains cosine logits at the scale of the text; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        LinearProbeClassifier(init="random").fit(task.X, task.y)
