"""Conformal sets come from MAPIE; these tests are about its use with this package.

MAPIE probes a classifier with a row of zeros, which has no direction and cannot be scaled to
unit norm: ``normalize=False``, which changes nothing on features of unit norm.
"""

import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, check_unseen
from skclip.datasets import load_digits_images, make_clip_features, tiny_clip
from skclip.exceptions import GuaranteeWarning

mapie = pytest.importorskip("mapie.classification", reason="needs the extra conformal")


@pytest.fixture(scope="module")
def data():
    return make_clip_features(4, 10, n_test_per_class=200, random_state=0)


def coverage(sets, codes):
    return sets[np.arange(len(codes)), codes, 0].mean()


def test_normalize_false_changes_nothing_on_features_of_unit_norm(data):
    plain = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    ready = BayesAdapterClassifier(data.prototypes, normalize=False).fit(data.X, data.y)
    np.testing.assert_allclose(
        ready.predict_proba(data.X_test), plain.predict_proba(data.X_test), atol=1e-6
    )


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_cover_at_the_level_asked_for(data, score):
    """On precomputed features: at least 1 - alpha in the mean over 20 calibration draws.

    LAC is exact to 1/(n + 1); four standard errors of the mean of 20 draws, each of 500
    calibration and 1500 test rows.
    """
    classifier = BayesAdapterClassifier(data.prototypes, normalize=False).fit(data.X, data.y)
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(20):
        order = rng.permutation(len(data.X_test))
        calibration, test = order[:500], order[500:]
        sets = mapie.SplitConformalClassifier(
            classifier, confidence_level=0.9, conformity_score=score, random_state=0
        ).conformalize(data.X_test[calibration], data.y_test[calibration])
        covered.append(coverage(sets.predict_set(data.X_test[test])[1], data.y_test[test]))
    error = 4 * np.sqrt(0.09 * (1 / 500 + 1 / 1500) / 20)
    assert np.mean(covered) >= 0.9 - error
    if score == "lac":
        assert np.mean(covered) <= 0.9 + 1 / 501 + error


def test_sets_in_a_pipeline_equal_those_on_features(data):
    classifier = BayesAdapterClassifier(data.prototypes, normalize=False)
    pipeline = make_pipeline(FunctionTransformer(np.negative), classifier).fit(-data.X, data.y)
    half = slice(None, None, 2), slice(1, None, 2)
    (X, y), X_new = (data.X_test[half[0]], data.y_test[half[0]]), data.X_test[half[1]]
    outside = mapie.SplitConformalClassifier(pipeline, 0.95).conformalize(-X, y)
    inside = mapie.SplitConformalClassifier(pipeline[-1], 0.95).conformalize(X, y)
    np.testing.assert_array_equal(outside.predict_set(-X_new)[1], inside.predict_set(X_new)[1])


@pytest.mark.slow
def test_sets_of_images_cover():
    """A pipeline from images to sets, on string labels."""
    digits = load_digits_images(shift="combined")
    featurizer = CLIPFeaturizer(pretrained=tiny_clip())
    classifier = BayesAdapterClassifier(ClassPrompts(featurizer), normalize=False)
    order = np.random.default_rng(0).permutation(len(digits.images))
    train, calibration, test = order[:60], order[60:460], order[460:]
    pipeline = make_pipeline(featurizer, classifier)
    pipeline.fit(digits.images[train], digits.labels[train])
    sets = mapie.SplitConformalClassifier(pipeline, confidence_level=0.9)
    sets.conformalize(digits.images[calibration], digits.labels[calibration])
    codes = np.searchsorted(pipeline.classes_, digits.labels[test])
    error = 4 * np.sqrt(0.09 * (1 / 400 + 1 / len(test)))
    assert abs(coverage(sets.predict_set(digits.images[test])[1], codes) - 0.9) <= error


def test_sets_calibrated_on_the_support_do_not_cover_and_are_warned_about():
    """What check_unseen is for: the classifier is too right and too sure on its own rows."""
    hard = make_clip_features(16, 20, n_test_per_class=50, class_sep=0.5, random_state=0)
    classifier = BayesAdapterClassifier(prior_precision=0.01).fit(hard.X, hard.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuaranteeWarning)
        sets = mapie.SplitConformalClassifier(classifier, 0.9).conformalize(hard.X, hard.y)
    assert coverage(sets.predict_set(hard.X_test)[1], hard.y_test) < 0.8
    with pytest.warns(GuaranteeWarning):
        assert check_unseen(classifier, hard.X) == 1.0
