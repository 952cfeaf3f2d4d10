"""Gaussian discriminant analysis is scikit-learn's LDA, added to the text."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss

from skclip import GaussianDAClassifier, Prototypes, ZeroShotClassifier

from .conftest import make_task


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
def test_without_text_it_is_linear_discriminant_analysis(load, shrinkage):
    X, y = load(return_X_y=True)
    ours = GaussianDAClassifier(shrinkage=shrinkage).fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.priors_, theirs.priors_)


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_without_shrinkage_it_is_linear_discriminant_analysis(load):
    X, y = load(return_X_y=True)
    X, y = X[30:], y[30:]  # unequal priors
    ours = GaussianDAClassifier(shrinkage=0.0).fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)


def test_a_large_alpha_leaves_the_discriminant_analysis_alone(task):
    both = GaussianDAClassifier(task.text, alpha=1e9, shrinkage=0.5).fit(task.X, task.y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5).fit(task.X, task.y)
    np.testing.assert_array_equal(both.predict(task.X_test), theirs.predict(task.X_test))


def test_the_logits_are_the_published_sum(task):
    """W = P mu and b = log prior - mu' P mu / 2 with the published precision matrix."""
    (n, d), c = task.X.shape, 4
    means = np.stack([task.X[task.y == k].mean(axis=0) for k in range(c)])
    S = np.cov((task.X - means[task.y]).T)
    P = d * np.linalg.inv((n - 1) * S + np.trace(S) * np.eye(d))
    W = means @ P
    b = np.log(1 / c) - 0.5 * np.einsum("cd,cd->c", W, means)
    published = 100 * task.X_test @ task.text.T + 0.3 * (task.X_test @ W.T + b)
    shrinkage = d / (n - 1 + d)
    alpha = 0.3 * shrinkage * (n - 1) / n
    ours = GaussianDAClassifier(task.text, alpha=alpha, priors="uniform").fit(task.X, task.y)
    assert ours.shrinkage_ == pytest.approx(shrinkage)
    log_proba = published - np.logaddexp.reduce(published, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.predict_log_proba(task.X_test), log_proba, atol=1e-8)


def test_alpha_zero_is_zero_shot(task):
    ours = GaussianDAClassifier(task.text, alpha=0.0).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        ours.predict_proba(task.X_test), zero_shot.predict_proba(task.X_test), atol=1e-12
    )


@pytest.mark.parametrize("shots", [2, 4, 16])
def test_the_chosen_alpha_beats_zero_shot(shots):
    task = make_task(n_classes=8, n_features=24, shots=shots, n_test=400)
    ours = GaussianDAClassifier(task.text).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    losses = [log_loss(task.y_test, one.predict_proba(task.X_test)) for one in (ours, zero_shot)]
    assert losses[0] < losses[1]
    assert ours.loo_log_likelihood_ < 0


def test_one_image_per_class_takes_the_documented_alpha(task):
    ours = GaussianDAClassifier(task.text).fit(task.X[:4], task.y[:4])
    assert ours.alpha_ == 0.01
    assert not hasattr(ours, "loo_log_likelihood_")


def test_an_earlier_fit_leaves_no_likelihood(task):
    ours = GaussianDAClassifier(task.text).fit(task.X, task.y).fit(task.X[:4], task.y[:4])
    assert not hasattr(ours, "loo_log_likelihood_")


@pytest.mark.filterwarnings("ignore:Every class needs a prototype of its own")
def test_a_class_without_images_has_the_score_of_an_average_image(task):
    """Its Gaussian is at the mean of the other means, with their average prior."""
    keep = task.y != 3
    means = np.stack([task.X[task.y == k].mean(axis=0) for k in range(3)])
    ours = GaussianDAClassifier(Prototypes(task.text, range(4))).fit(task.X[keep], task.y[keep])
    np.testing.assert_allclose(ours.means_[3], means.mean(axis=0))
    np.testing.assert_allclose(ours.priors_, 0.25)
    # Where the text says nothing, an image at that mean is most like the class without images.
    flat = Prototypes(np.tile(task.text[:1], (4, 1)), range(4))
    neutral = GaussianDAClassifier(flat, alpha=0.1).fit(task.X[keep], task.y[keep])
    assert neutral.predict(means.mean(axis=0)[None]) == 3
    np.testing.assert_array_equal(neutral.predict(means), [0, 1, 2])


def test_copies_of_an_image_in_a_group_are_the_image_itself(task):
    copies = np.repeat(np.arange(len(task.X)), 3)
    views = GaussianDAClassifier(task.text).fit(task.X[copies], task.y[copies], groups=copies)
    images = GaussianDAClassifier(task.text).fit(task.X, task.y)
    assert views.alpha_ == pytest.approx(images.alpha_, rel=1e-6)
    np.testing.assert_allclose(
        views.predict_proba(task.X_test), images.predict_proba(task.X_test), atol=1e-7
    )


def test_ignoring_groups_is_too_optimistic(task):
    """A view left out alone is predicted by its siblings."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(task.X)), 6)
    X = task.X[groups] + 0.02 * rng.normal(size=(len(groups), 16))
    y, weight = task.y[groups], np.full(len(groups), 1 / 6)
    grouped = GaussianDAClassifier(task.text).fit(X, y, groups=groups)
    alone = GaussianDAClassifier(task.text).fit(X, y, sample_weight=weight)
    assert grouped.loo_log_likelihood_ < alone.loo_log_likelihood_
    assert grouped.alpha_ < alone.alpha_


def test_priors_of_another_length_are_refused(task):
    with pytest.raises(ValueError, match="priors must be 4 positive numbers, one per class"):
        GaussianDAClassifier(task.text, priors=[0.5, 0.5]).fit(task.X, task.y)
    with pytest.raises(ValueError, match="priors must be 4 positive numbers, one per class"):
        GaussianDAClassifier(task.text, priors=[0.5, 0.5, 0, 0]).fit(task.X, task.y)
