"""LP++: an optimum under a prior, and the published descent."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from skclip import BayesAdapterClassifier, LPPlusPlusClassifier, ZeroShotClassifier

from .conftest import make_task


def test_the_optimum_is_that_of_an_independent_solver():
    """scipy's BFGS on the objective as it is documented, with gradients by differences."""
    task = make_task(n_classes=3, n_features=4, shots=4)
    X, y, T, tau = task.X, task.y, task.text, 10.0
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))

    def parts(flat):
        W, b, alpha = np.split(flat, [12, 15])
        return W.reshape(3, 4), b, alpha

    def objective(flat):
        W, b, alpha = parts(flat)
        z = X @ W.T + b + alpha * (X @ T.T)
        gap = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]
        prior = 2.0 * ((W**2).sum() + (b**2).sum()) / tau**2 + 3.0 * ((alpha / tau - 1) ** 2).sum()
        return weight @ gap + 0.5 * prior

    start = np.r_[np.zeros(15), np.full(3, tau)]
    W, b, alpha = parts(minimize(objective, start, method="BFGS", options={"gtol": 1e-6}).x)
    ours = LPPlusPlusClassifier(
        T, prior_precision=2.0, multiplier_precision=3.0, logit_scale=tau, tol=1e-10
    ).fit(X, y, sample_weight=weight)
    # BFGS on differences stops at gradients of about 1e-5; the curvature is at least 2 / tau^2.
    np.testing.assert_allclose(ours.alpha_, alpha, atol=1e-2)
    np.testing.assert_allclose(ours.coef_, W + alpha[:, None] * T, atol=1e-2)
    np.testing.assert_allclose(ours.intercept_, b, atol=1e-2)
    fitted = np.r_[(ours.coef_ - ours.alpha_[:, None] * T).ravel(), ours.intercept_]
    assert objective(np.r_[fitted, ours.alpha_]) <= objective(np.r_[W.ravel(), b, alpha]) + 1e-9


def test_fixed_multipliers_and_a_constant_feature_are_the_posterior_mode(task):
    """With the multipliers held, the bias is the weight of a constant feature."""
    ones = np.ones((len(task.X), 1))
    mode = BayesAdapterClassifier(
        np.c_[task.text, np.zeros(4)],
        prior_precision=20.0,
        prior_shape="isotropic",
        temperature=1.0,
        normalize=False,
        logit_scale=100.0,
        tol=1e-10,
    ).fit(np.c_[task.X, ones], task.y)
    ours = LPPlusPlusClassifier(
        task.text, prior_precision=20.0, multiplier_precision=1e9, tol=1e-10
    ).fit(task.X, task.y)
    np.testing.assert_allclose(ours.alpha_, 100.0, atol=1e-4)
    np.testing.assert_allclose(
        ours.predict_proba(task.X_test),
        mode.predict_proba(np.c_[task.X_test, np.ones((len(task.X_test), 1))]),
        atol=1e-6,
    )


def test_a_firm_prior_is_zero_shot(task):
    ours = LPPlusPlusClassifier(task.text, prior_precision=1e9, multiplier_precision=1e9)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        ours.fit(task.X, task.y).predict_proba(task.X_test),
        zero_shot.predict_proba(task.X_test),
        atol=1e-4,
    )


@pytest.mark.parametrize("solver", ["lbfgs", "mm"])
def test_the_logits_are_image_plus_blended_text(task, solver):
    """coef_ holds both parts, of which alpha_ is the text's multiplier."""
    ours = LPPlusPlusClassifier(task.text, solver=solver).fit(task.X, task.y)
    W = ours.coef_ - ours.alpha_[:, None] * task.text
    scores = task.X_test @ W.T + ours.intercept_ + ours.alpha_ * (task.X_test @ task.text.T)
    log_proba = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.predict_log_proba(task.X_test), log_proba, atol=1e-9)


@pytest.mark.parametrize("shots", [1, 4, 16])
@pytest.mark.parametrize(
    "parameters",
    # Nearly separable rows: about a thousand iterations, more or fewer by the arithmetic.
    [{"solver": "lbfgs", "max_iter": 4000}, {"solver": "mm"}],
    ids=["lbfgs", "mm"],
)
def test_both_solvers_are_more_accurate_than_zero_shot(parameters, shots):
    task = make_task(n_classes=8, n_features=24, shots=shots, n_test=400)
    ours = LPPlusPlusClassifier(task.text, **parameters).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    assert ours.score(task.X_test, task.y_test) > zero_shot.score(task.X_test, task.y_test)


def test_the_published_descent_is_less_calibrated_than_the_optimum():
    task = make_task(n_classes=8, n_features=24, shots=4, n_test=400)
    losses = {
        solver: log_loss(
            task.y_test,
            LPPlusPlusClassifier(task.text, solver=solver)
            .fit(task.X, task.y)
            .predict_proba(task.X_test),
        )
        for solver in ("lbfgs", "mm")
    }
    assert losses["lbfgs"] < losses["mm"]


def test_the_loss_curve_never_rises(task):
    ours = LPPlusPlusClassifier(task.text, solver="mm").fit(task.X, task.y)
    assert ours.loss_curve_.shape == (301,)
    assert (np.diff(ours.loss_curve_) <= 1e-12 * ours.loss_curve_[0]).all()
    assert not hasattr(ours, "gradient_norm_")


def test_the_descent_does_not_depend_on_the_logit_scale(task):
    left, right = (
        LPPlusPlusClassifier(task.text, solver="mm", logit_scale=scale).fit(task.X, task.y)
        for scale in (1.0, 100.0)
    )
    np.testing.assert_allclose(
        left.predict_proba(task.X_test), right.predict_proba(task.X_test), atol=1e-12
    )


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_the_certificate_is_below_tol(task, solver):
    for tol in (1e-3, 1e-6, 1e-9):
        ours = LPPlusPlusClassifier(task.text, solver=solver, tol=tol).fit(task.X, task.y)
        assert ours.gradient_norm_ <= tol
        assert not hasattr(ours, "loss_curve_")


def test_running_out_of_iterations_warns_with_the_certificate(task):
    with pytest.warns(ConvergenceWarning, match="The solver stopped before its certificate"):
        LPPlusPlusClassifier(task.text, max_iter=2).fit(task.X, task.y)


def test_it_needs_text(task):
    message = "LPPlusPlusClassifier needs text prototypes; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        LPPlusPlusClassifier().fit(task.X, task.y)
