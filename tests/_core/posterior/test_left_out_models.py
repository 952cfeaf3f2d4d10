"""Left-out models asked for new rows, against fits without the image."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from skclip import BayesAdapterClassifier, LinearProbeClassifier, Prototypes
from skclip.adapters.left_out import left_out_step
from skclip.datasets import make_clip_features


@pytest.fixture(scope="module")
def task():
    return by_class(make_clip_features(4, 8, n_test_per_class=20, random_state=0))


def by_class(made):
    """Rows of a class side by side, so that neighbours can be views of one image."""
    order = np.argsort(made.y, kind="stable")
    made.X, made.y = made.X[order], made.y[order]
    return made


def without(task, fitted, rows, **weights):
    """Fitted again with the prior and the temperature of the whole."""
    return BayesAdapterClassifier(
        Prototypes(task.prototypes, fitted.classes_),
        prior_precision=fitted.prior_precision_,
        temperature=fitted.temperature_,
        prior_shape="isotropic",
    ).fit(task.X[rows], task.y[rows], **weights)


def moved(fitted, left_out, X, image):
    logits, shifts = left_out.logits(fitted, X)
    where = left_out.images == image
    logits[:, left_out.classes[where]] += shifts[:, where]
    return logits


def test_a_step_is_close_to_the_fit_without_the_image(task):
    """Of the change that leaving out makes to probabilities, most is in the step."""
    fitted = BayesAdapterClassifier(task.prototypes, prior_shape="isotropic").fit(task.X, task.y)
    left_out = left_out_step(fitted, task.X, task.y, None)
    whole = fitted.predict_proba(task.X_test)
    errors, changes = [], []
    for image in range(0, 32, 3):
        truth = without(task, fitted, np.arange(32) != image).predict_proba(task.X_test)
        step = softmax(moved(fitted, left_out, task.X_test, image), axis=1)
        errors.append(np.abs(step - truth).sum())
        changes.append(np.abs(whole - truth).sum())
    assert np.sum(errors) < 0.35 * np.sum(changes)


def test_views_of_an_image_leave_together(task):
    """The step without both views is close to the fit without them."""
    images = np.arange(32) // 2
    weight = np.full(32, 0.5)
    fitted = BayesAdapterClassifier(task.prototypes, prior_shape="isotropic").fit(
        task.X, task.y, sample_weight=weight, groups=images
    )
    left_out = left_out_step(fitted, task.X, task.y, images)
    assert set(left_out.images) == set(range(16))
    whole = fitted.predict_proba(task.X_test)
    errors, changes = [], []
    for image in range(0, 16, 2):
        kept = images != image
        truth = without(
            task, fitted, kept, sample_weight=weight[kept], groups=images[kept]
        ).predict_proba(task.X_test)
        step = softmax(moved(fitted, left_out, task.X_test, image), axis=1)
        errors.append(np.abs(step - truth).sum())
        changes.append(np.abs(whole - truth).sum())
    assert np.sum(errors) < 0.35 * np.sum(changes)


def test_there_is_no_step_where_the_prior_or_the_posterior_is_another(task):
    rows = task.X, task.y
    for other in (
        LinearProbeClassifier(task.prototypes),
        BayesAdapterClassifier(),
        BayesAdapterClassifier(task.prototypes, posterior="laplace"),
        BayesAdapterClassifier(task.prototypes, class_weight="balanced"),
        BayesAdapterClassifier(task.prototypes, fit_intercept=True),
    ):
        fitted = other.fit(*rows)
        step = left_out_step(fitted, *rows, None)
        if step is not None:  # an intercept with a proper prior has one
            assert np.isfinite(log_softmax(moved(fitted, step, task.X_test, 0), axis=1)).all()
            assert other.fit_intercept is True
