"""Left-out models asked for new rows, against fits without the image."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from skclip import (
    BayesAdapterClassifier,
    CLAPClassifier,
    LinearProbeClassifier,
    LPPlusPlusClassifier,
    Prototypes,
    TaskResClassifier,
    ZeroShotClassifier,
)
from skclip.adapters.left_out import left_out_models
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
    n_images = int(left_out.changes.images.max()) + 1
    every = left_out.every_logits(fitted, X, n_images, numbers=5000)
    return np.concatenate([block.numpy()[:, image].copy() for block in every])


def test_a_step_is_close_to_the_fit_without_the_image(task):
    """Of the change that leaving out makes to probabilities, most is in the step."""
    fitted = BayesAdapterClassifier(task.prototypes, prior_shape="isotropic").fit(task.X, task.y)
    left_out = left_out_models(fitted, task.X, task.y, None)
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
    left_out = left_out_models(fitted, task.X, task.y, images)
    assert set(left_out.changes.images.tolist()) == set(range(16))
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


@pytest.mark.parametrize("make", [LinearProbeClassifier, CLAPClassifier, TaskResClassifier])
def test_a_step_of_a_convex_probe_is_close_to_the_fit_without_the_image(make, task):
    """Nearest where it counts: at the image itself."""
    text = Prototypes(task.prototypes, np.arange(8))
    fitted = make(text).fit(task.X, task.y)
    left_out = left_out_models(fitted, task.X, task.y, None)
    assert not left_out.is_exact
    own = left_out.own_logits(fitted, task.X, np.arange(32))
    errors, changes, own_errors, own_changes = [], [], [], []
    for image in range(0, 32, 3):
        refit = make(text).fit(np.delete(task.X, image, 0), np.delete(task.y, image))
        truth = refit.predict_proba(task.X_test)
        step = softmax(moved(fitted, left_out, task.X_test, image), axis=1)
        errors.append(np.abs(step - truth).sum())
        changes.append(np.abs(fitted.predict_proba(task.X_test) - truth).sum())
        row = task.X[image : image + 1]
        own_errors.append(np.abs(softmax(own[image]) - refit.predict_proba(row)).sum())
        own_changes.append(np.abs(fitted.predict_proba(row) - refit.predict_proba(row)).sum())
    assert np.sum(errors) < 0.4 * np.sum(changes)
    assert np.sum(own_errors) < 0.4 * np.sum(own_changes)


def test_a_probe_without_weights_of_images_leaves_out_rows_of_weight_one(task):
    """Its fit takes no groups: views count as often as there are of them."""
    images, text = np.arange(32) // 2, Prototypes(task.prototypes, np.arange(8))
    fitted = CLAPClassifier(text).fit(task.X, task.y)
    left_out = left_out_models(fitted, task.X, task.y, images)
    errors, changes = [], []
    for image in range(0, 16, 2):
        kept = images != image
        truth = CLAPClassifier(text).fit(task.X[kept], task.y[kept]).predict_proba(task.X_test)
        step = softmax(moved(fitted, left_out, task.X_test, image), axis=1)
        errors.append(np.abs(step - truth).sum())
        changes.append(np.abs(fitted.predict_proba(task.X_test) - truth).sum())
    assert np.sum(errors) < 0.4 * np.sum(changes)


def test_there_is_no_step_where_the_prior_or_the_posterior_is_another(task):
    rows = task.X, task.y
    for other in (
        BayesAdapterClassifier(),
        BayesAdapterClassifier(task.prototypes, posterior="laplace"),
        BayesAdapterClassifier(task.prototypes, class_weight="balanced"),
        BayesAdapterClassifier(task.prototypes, fit_intercept=True),
        LinearProbeClassifier(),
        LinearProbeClassifier(task.prototypes, fit_intercept=True),
        LinearProbeClassifier(task.prototypes, class_weight="balanced"),
        LinearProbeClassifier(task.prototypes, solver="sgd", init="prototypes", max_iter=2),
        TaskResClassifier(task.prototypes, alpha=0),
        LPPlusPlusClassifier(task.prototypes),
        ZeroShotClassifier(task.prototypes),
    ):
        assert left_out_models(other.fit(*rows), *rows, None) is None, other
    assert left_out_models(LogisticRegression().fit(*rows), *rows, None) is None
