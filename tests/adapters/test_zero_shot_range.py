"""ZS-Norm and the range penalty; their numerics are tested in tests/_core."""

import numpy as np
import pytest

from skclip import LinearProbeClassifier, ZeroShotClassifier, ZeroShotRangeClassifier


def spread(classifier, X):
    """Mean range of the logits of a row."""
    scores = classifier.logit_scale_ * X @ classifier.prototypes_.T
    return np.ptp(scores, axis=1).mean()


def test_without_a_penalty_the_recipe_is_zs_lp(task):
    """Unit prototypes start at the norm of raw text embeddings."""
    ours = ZeroShotRangeClassifier(task.text, penalty=0.0, max_iter=20, random_state=0)
    probe = LinearProbeClassifier(
        task.text, init="prototypes", prototype_norm=8.8, max_iter=20, random_state=0
    )
    np.testing.assert_allclose(
        ours.fit(task.X, task.y).prototypes_, probe.fit(task.X, task.y).prototypes_, rtol=1e-9
    )


def test_without_a_penalty_the_optimum_is_the_linear_probes(task):
    ours = ZeroShotRangeClassifier(task.text, penalty=0.0, solver="lbfgs", tol=1e-10)
    probe = LinearProbeClassifier(
        task.text, init="prototypes", solver="lbfgs", C=0.01, fit_intercept=False, tol=1e-11
    )
    np.testing.assert_allclose(
        ours.fit(task.X, task.y).prototypes_, probe.fit(task.X, task.y).prototypes_, atol=1e-6
    )


def test_a_small_C_is_zero_shot(task):
    """Each logit's slope is at most 1 + penalty / c per row, so weights move by that."""
    C = 1e-9
    ours = ZeroShotRangeClassifier(task.text, solver="lbfgs", C=C).fit(task.X, task.y)
    bound = C * 100 * len(task.X) * (1 + 10 / 4)
    assert np.linalg.norm(ours.prototypes_ - task.text, axis=1).max() <= bound


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_the_penalty_keeps_the_range_nearer_to_zero_shot(task, solver):
    def fitted(penalty):
        classifier = ZeroShotRangeClassifier(
            task.text, penalty=penalty, solver=solver, C=1.0, prototype_norm=1.0, random_state=0
        )
        return spread(classifier.fit(task.X, task.y), task.X)

    zero_shot = spread(ZeroShotClassifier(task.text).fit(task.X, task.y), task.X)
    assert fitted(10.0) < fitted(0.0)
    assert abs(fitted(10.0) - zero_shot) < abs(fitted(0.0) - zero_shot)


def test_the_norm_method_learns(task):
    ours = ZeroShotRangeClassifier(
        task.text, method="norm", prototype_norm=1.0, max_iter=100, random_state=0
    ).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    assert ours.score(task.X_test, task.y_test) > zero_shot.score(task.X_test, task.y_test)


def test_a_nonconvex_problem_has_no_convex_solver(task):
    message = "method='norm' is not convex, and solver='lbfgs' is for convex problems"
    with pytest.raises(ValueError, match=message):
        ZeroShotRangeClassifier(task.text, method="norm", solver="lbfgs").fit(task.X, task.y)


def test_without_text_it_is_refused(task):
    message = "ZeroShotRangeClassifier needs text prototypes; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        ZeroShotRangeClassifier().fit(task.X, task.y)
