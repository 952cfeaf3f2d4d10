"""Synthetic features: CLIP's geometry, and the answer that is known."""

import re

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import vonmises_fisher

from skclip.datasets import make_clip_features
from skclip.datasets.clip_features import _von_mises_fisher


def zero_shot_logits(data):
    return data.logit_scale * data.X_test @ data.prototypes.T


def nll(proba, y):
    return -np.log(proba[np.arange(len(y)), y]).mean()


@pytest.mark.parametrize("n_classes", [2, 10, 1000])
def test_shapes_and_unit_norms(n_classes):
    data = make_clip_features(3, n_classes, n_features=64, n_test_per_class=2, random_state=0)
    assert data.X.shape == (3 * n_classes, 64)
    assert data.X_test.shape == (2 * n_classes, 64)
    assert data.proba_test.shape == (2 * n_classes, n_classes)
    assert data.prototypes.shape == data.coef.shape == (n_classes, 64)
    np.testing.assert_array_equal(np.bincount(data.y), 3)
    for rows in (data.X, data.X_test, data.prototypes):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-12)


def test_the_same_seed_gives_the_same_arrays_and_another_seed_others():
    first, again, other = (make_clip_features(random_state=seed) for seed in (0, 0, 1))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(first.X, other.X)


def test_the_cosines_are_those_of_clip():
    """Two cones (modality gap), and an image slightly nearer to its own class's text."""
    data = make_clip_features(random_state=0)
    own = np.zeros((len(data.y_test), 10), dtype=bool)
    own[np.arange(len(own)), data.y_test] = True
    image_text = data.X_test @ data.prototypes.T
    different = data.y_test[:, np.newaxis] != data.y_test
    assert image_text[own].mean() == pytest.approx(0.25, abs=0.03)
    assert image_text[~own].mean() == pytest.approx(0.1, abs=0.03)
    assert (data.X_test @ data.X_test.T)[different].mean() == pytest.approx(0.5, abs=0.05)
    assert (data.prototypes @ data.prototypes.T)[~np.eye(10, dtype=bool)].mean() > 0.65


def test_a_perfect_prior_makes_zero_shot_the_true_probabilities():
    """The model's central identity: with quality 1 the prototypes are the true weights,
    up to a part that is the same for all classes."""
    data = make_clip_features(prior_quality=1.0, random_state=0)
    np.testing.assert_allclose(softmax(zero_shot_logits(data), axis=1), data.proba_test, atol=1e-12)


def test_coef_gives_the_true_probabilities_whatever_the_prior():
    data = make_clip_features(prior_quality=-0.5, logit_scale=60.0, random_state=0)
    proba = softmax(data.logit_scale * data.X_test @ data.coef.T, axis=1)
    np.testing.assert_allclose(proba, data.proba_test, atol=1e-12)


def test_labels_are_distributed_as_the_true_probabilities_say():
    """The standardised sum of (log-loss - its expectation) is a standard normal variable:
    beyond 4 the probabilities are not those of the labels."""
    data = make_clip_features(
        1, 10, n_features=40, n_test_per_class=4000, class_sep=0.5, random_state=0
    )
    log_proba = log_softmax(data.logit_scale * data.X_test @ data.coef.T, axis=1)
    entropy = -(data.proba_test * log_proba).sum(axis=1)
    variance = (data.proba_test * log_proba**2).sum(axis=1) - entropy**2
    surprise = -log_proba[np.arange(len(log_proba)), data.y_test]
    assert abs((surprise - entropy).sum()) < 4 * np.sqrt(variance.sum())


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_other_temperatures_are_worse_than_the_truth(factor):
    data = make_clip_features(n_test_per_class=2000, class_sep=0.5, random_state=0)
    logits = data.logit_scale * data.X_test @ data.coef.T
    scaled = softmax(factor * logits, axis=1)
    assert nll(data.proba_test, data.y_test) < nll(scaled, data.y_test)


def test_zero_shot_improves_with_the_quality_of_the_prior():
    accuracies = [
        np.mean(zero_shot_logits(data).argmax(axis=1) == data.y_test)
        for data in (
            make_clip_features(n_features=64, prior_quality=quality, random_state=0)
            for quality in (-0.5, 0.0, 0.4, 0.8, 1.0)
        )
    ]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] < 0.02
    assert accuracies[-1] > 0.95


def test_no_separation_leaves_nothing_to_tell_the_classes_by():
    data = make_clip_features(class_sep=0.0, random_state=0)
    np.testing.assert_allclose(data.proba_test, 0.1, rtol=1e-12)
    np.testing.assert_allclose(np.ptp(data.prototypes, axis=0), 0, atol=1e-15)


def test_imbalance_is_the_ratio_of_the_largest_to_the_smallest_class():
    data = make_clip_features(100, 10, imbalance=20, n_features=64, random_state=0)
    sizes = np.bincount(data.y)
    assert sizes[0] == 100
    assert sizes[-1] == 5
    assert np.all(np.diff(sizes) < 0)
    assert np.all(np.bincount(data.y_test) == 50)


def test_every_class_keeps_a_row_under_imbalance():
    data = make_clip_features(2, 10, imbalance=1000, n_features=64, random_state=0)
    assert np.bincount(data.y).min() == 1


@pytest.mark.parametrize(("dim", "concentration"), [(3, 2.0), (32, 32.0)])
def test_the_sampler_agrees_with_scipy(dim, concentration):
    """Mean and standard deviation of the cosine with the mean direction, by SciPy's sampler."""
    n = 20_000
    mean = np.eye(dim)[0]
    rng = np.random.RandomState(0)
    ours = _von_mises_fisher(np.tile(mean, (n, 1)), concentration, rng)
    theirs = vonmises_fisher(mean, concentration, seed=1).rvs(n)
    # Means of n draws: their difference has standard error sd sqrt(2 / n).
    spread = theirs.std(axis=0)
    assert np.all(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * spread * np.sqrt(2 / n))
    np.testing.assert_allclose(ours.std(axis=0), spread, rtol=0.05)


def test_too_few_features_is_an_error():
    with pytest.raises(ValueError, match=r"^n_features must be at least n_informative \+ 3"):
        make_clip_features(n_features=34, n_informative=32)


def test_classes_sharper_than_unit_prototypes_can_be_is_an_error():
    message = "Prototypes of unit norm can be as sharp as the classes only if class_sep <= 0.924"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_clip_features(logit_scale=50)


@pytest.mark.parametrize(
    "parameters", [{"n_classes": 1}, {"prior_quality": 1.5}, {"imbalance": 0.5}, {"logit_scale": 0}]
)
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make_clip_features(**parameters)
