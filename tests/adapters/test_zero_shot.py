"""The zero-shot classifier is CLIP's formula."""

import numpy as np
import pytest
from scipy.special import softmax

from skclip import Prototypes, ZeroShotClassifier


def test_probabilities_are_the_softmax_of_scaled_cosines(task):
    classifier = ZeroShotClassifier(task.text).fit(task.X, task.y)
    expected = softmax(100.0 * task.X_test @ task.text.T, axis=1)
    np.testing.assert_allclose(classifier.predict_proba(task.X_test), expected, atol=1e-12)


def test_the_images_do_not_matter(task):
    other = np.random.default_rng(1).normal(size=task.X.shape)
    np.testing.assert_array_equal(
        ZeroShotClassifier(task.text).fit(task.X, task.y).predict_proba(task.X_test),
        ZeroShotClassifier(task.text).fit(other, task.y).predict_proba(task.X_test),
    )


def test_the_logit_scale_comes_from_the_prototypes(task):
    prototypes = Prototypes(task.text, range(4), logit_scale=57.0)
    assert ZeroShotClassifier(prototypes).fit(task.X, task.y).logit_scale_ == 57.0
    assert ZeroShotClassifier(prototypes, logit_scale=10).fit(task.X, task.y).logit_scale_ == 10.0
    assert ZeroShotClassifier(task.text).fit(task.X, task.y).logit_scale_ == 100.0


def test_raw_embeddings_are_scaled_to_unit_norm(task):
    np.testing.assert_allclose(
        ZeroShotClassifier(8.8 * task.text).fit(task.X, task.y).predict_proba(task.X_test),
        ZeroShotClassifier(task.text).fit(task.X, task.y).predict_proba(task.X_test),
        atol=1e-12,
    )


def test_no_prototypes_is_an_error(task):
    message = "ZeroShotClassifier needs text prototypes; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        ZeroShotClassifier().fit(task.X, task.y)
