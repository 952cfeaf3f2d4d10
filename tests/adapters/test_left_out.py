"""Left-out models in closed form are the fits without each image, for rows that nobody has seen."""

import numpy as np
import pytest
from scipy.special import log_softmax

from skclip import GaussianDAClassifier, ProKeRClassifier, Prototypes
from skclip.adapters import proker
from skclip.adapters.augmented import augmented_models
from skclip.adapters.left_out import LeftOut, left_out_models
from skclip.datasets import make_clip_features

GIVEN = {
    "GDA, shares": lambda text: GaussianDAClassifier(text, alpha=0.05),
    "GDA, uniform": lambda t: GaussianDAClassifier(t, alpha=0.3, shrinkage=0.3, priors="uniform"),
    "GDA, spherical": lambda text: GaussianDAClassifier(text, alpha=0.3, shrinkage=1.0),
    "ProKeR": lambda text: ProKeRClassifier(text, beta=1.0, ridge=0.1, temperature=0.8),
    "ProKeR, full weight": lambda text: ProKeRClassifier(
        text, beta=3.0, ridge=0.01, temperature=0.8, residual_weight=0.5
    ),
}
every_given = pytest.mark.parametrize("make", list(GIVEN.values()), ids=list(GIVEN))


@pytest.fixture(scope="module")
def task():
    """Six classes: number 3 has no images, number 4 one."""
    made = make_clip_features(4, 6, n_features=24, n_informative=12, random_state=0)
    order = np.argsort(made.y, kind="stable")
    made.X, made.y = made.X[order].astype(float), made.y[order]
    kept = (made.y != 3) & ((made.y != 4) | (np.arange(24) % 4 < 2))
    made.X, made.y = made.X[kept], made.y[kept]
    made.text = Prototypes(made.prototypes, np.arange(6))
    made.X_test = made.X_test[::10].astype(float)
    return made


def images_of(task, views):
    """Codes of the images, and the groups that a fit is told; two views each, or one."""
    images = np.arange(len(task.y)) // views
    return images, None if views == 1 else images


def every(left_out, fitted, X, n_images):
    """(m, g, c), in blocks of a few rows."""
    blocks = left_out.every_logits(fitted, X, n_images, numbers=7 * n_images * 6)
    return np.concatenate([block.numpy().copy() for block in blocks])


@pytest.mark.parametrize("views", [1, 2])
@every_given
def test_they_are_the_fits_without_each_image(make, views, task):
    """Also of the image that is its class's only one (two views of it), and a class without.

    Differences are in single precision: of logits of up to 1000 (of GDA) that is 1e-4.
    """
    images, groups = images_of(task, views)
    fitted = make(task.text).fit(task.X, task.y, groups=groups)
    left_out = left_out_models(fitted, task.X, task.y, groups)
    assert left_out.is_exact
    n_images = images[-1] + 1
    found = every(left_out, fitted, task.X_test, n_images)
    own = left_out.own_logits(fitted, task.X, images)
    whole = log_softmax(fitted.logits(task.X_test), axis=1)
    for image in range(n_images):
        kept = images != image
        codes = None if groups is None else groups[kept]
        refit = make(task.text).fit(task.X[kept], task.y[kept], groups=codes)
        truth = log_softmax(refit.logits(task.X_test), axis=1)
        size = np.abs(refit.logits(task.X_test)).max()
        np.testing.assert_allclose(
            log_softmax(found[:, image].astype(float), axis=1), truth, atol=2e-6 * size, rtol=0
        )
        # The support's own have the level of the logits, too: energies need it.
        np.testing.assert_allclose(own[~kept], refit.logits(task.X[~kept]), atol=2e-6 * size)
        assert np.abs(whole - truth).max() > 100 * 2e-6 * size


@every_given
def test_they_outlive_their_arrays(make, task):
    """What a fitted estimator stores makes the same models again."""
    fitted = make(task.text).fit(task.X, task.y)
    left_out = left_out_models(fitted, task.X, task.y, None)
    again = LeftOut.of_arrays(left_out.arrays(), left_out.is_exact)
    n = len(task.y)
    np.testing.assert_array_equal(
        *(every(models, fitted, task.X_test[:5], n) for models in (left_out, again))
    )


@pytest.mark.parametrize(
    "chosen",
    [
        GaussianDAClassifier,
        ProKeRClassifier,
        lambda text: ProKeRClassifier(text, beta=1.0, ridge=0.1),
        lambda text: ProKeRClassifier(text, ridge=0.1, temperature=1.0),
    ],
)
def test_what_was_chosen_on_all_images_is_not_exact(chosen, task):
    fitted = chosen(task.text).fit(task.X, task.y)
    assert not left_out_models(fitted, task.X, task.y, None).is_exact


def test_keys_that_are_some_of_the_rows_have_no_closed_form(task, monkeypatch):
    """Nor do full conformal sets."""
    fitted = ProKeRClassifier(task.text).fit(task.X, task.y)
    assert left_out_models(fitted, task.X, task.y, None) is not None
    assert augmented_models(fitted, task.y) is not None
    monkeypatch.setattr(proker, "_MOST_ROWS", 10)
    monkeypatch.setattr(proker, "_N_LANDMARKS", 8)
    with pytest.warns(UserWarning, match="a weaker classifier"):
        fitted = ProKeRClassifier(task.text).fit(task.X, task.y)
    assert left_out_models(fitted, task.X, task.y, None) is None
    assert augmented_models(fitted, task.y) is None


def test_without_a_text_every_class_needs_two_images(task):
    """The model without a lone image does not know its class; this one would."""
    kept = task.y < 3
    for make in (GaussianDAClassifier, ProKeRClassifier):
        fitted = make().fit(task.X[kept], task.y[kept])
        assert left_out_models(fitted, task.X[kept], task.y[kept], None) is not None
        lone = np.append(np.flatnonzero(kept), np.flatnonzero(task.y == 4)[0])
        fitted = make().fit(task.X[lone], task.y[lone])
        assert left_out_models(fitted, task.X[lone], task.y[lone], None) is None
    fitted = GaussianDAClassifier().fit(task.X[kept], task.y[kept])
    assert left_out_models(fitted, task.X[kept], task.y[kept], None).is_exact  # alpha is 1


@pytest.mark.parametrize(
    ("rows", "parameters"),
    [
        ([0, 4, 8], {}),  # no class has two images
        ([0, 1, 8], {}),  # nothing is left of the scatter without the first one
        (range(12), {"shrinkage": 0.0}),  # a pseudo-inverse, which jumps
    ],
)
def test_there_is_no_downdate_of_a_covariance_that_jumps(rows, parameters, task):
    X, y = task.X[list(rows)], task.y[list(rows)]
    fitted = GaussianDAClassifier(task.text, alpha=0.1, **parameters).fit(X, y)
    assert left_out_models(fitted, X, y, None) is None


def test_a_covariance_that_loses_a_rank_jumps(task):
    """13 rows of 3 classes span 10 dimensions, and 9 without one of them."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(13, 10)), np.arange(13) % 3
    fitted = GaussianDAClassifier(shrinkage=0.0).fit(X, y)
    assert left_out_models(fitted, X, y, None) is None
    more = np.concatenate([X, rng.normal(size=(3, 10))]), np.append(y, [0, 1, 2])
    fitted = GaussianDAClassifier(shrinkage=0.0).fit(*more)
    left_out = left_out_models(fitted, *more, None)
    refit = GaussianDAClassifier(shrinkage=0.0).fit(more[0][1:], more[1][1:])
    own = left_out.own_logits(fitted, more[0], np.arange(16))[0]
    truth = refit.logits(more[0][:1])[0]
    np.testing.assert_allclose(own, truth, rtol=1e-4, atol=1e-4)
