"""Scores of outliers: by hand, and what each kind needs."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skclip import (
    BayesAdapterClassifier,
    LinearProbeClassifier,
    Prototypes,
    ZeroShotClassifier,
    ood_score,
)
from skclip.datasets import make_clip_features

KINDS = ("msp", "entropy", "energy", "mutual_information", "prototype_distance")


@pytest.fixture
def axes():
    """Zero-shot between two axes, at a scale of 2: logits are twice the coordinates."""
    return ZeroShotClassifier(np.eye(2), logit_scale=2.0).fit(np.eye(2), [0, 1])


def test_scores_by_hand(axes):
    """On the diagonal both classes are as likely; along an axis the logits are 2 and 0."""
    X = np.array([[1.0, 1.0], [1.0, 0.0]])
    p = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(ood_score(axes, X, "msp"), [0.5, 1 - p])
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(ood_score(axes, X, "entropy"), [np.log(2), entropy])
    energy = [-np.log(2) - np.sqrt(2), -np.log(np.exp(2) + 1)]
    np.testing.assert_allclose(ood_score(axes, X, "energy"), energy)
    np.testing.assert_allclose(
        ood_score(axes, X, "prototype_distance"), [1 - np.sqrt(0.5), 0], atol=1e-15
    )


@pytest.mark.parametrize("kind", ["energy", "prototype_distance"])
def test_the_opposite_side_of_the_sphere_is_more_outlying(kind, task):
    """Images lie in one cone; nothing of any class points away from it."""
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    assert ood_score(classifier, -task.X_test, kind).min() > (
        ood_score(classifier, task.X_test, kind).max()
    )


@pytest.mark.parametrize("kind", ["msp", "entropy", "mutual_information"])
def test_rows_between_two_classes_are_more_outlying(kind, task):
    classifier = BayesAdapterClassifier(task.text, posterior="laplace").fit(task.X, task.y)
    means = np.stack([task.X[task.y == code].mean(axis=0) for code in range(4)])
    between = ood_score(classifier, (means + np.roll(means, 1, axis=0)) / 2, kind)
    assert between.min() > ood_score(classifier, means, kind).max()


def test_energy_is_that_of_the_logits_whose_softmax_are_the_probabilities(task):
    """Energy plus logits are log-probabilities."""
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    scores = task.X_test @ classifier.coef_.T + classifier.intercept_
    log_proba = scores + ood_score(classifier, task.X_test, "energy").reshape(-1, 1)
    np.testing.assert_allclose(log_proba, classifier.predict_log_proba(task.X_test), atol=1e-9)


def test_energy_of_a_scikit_learn_classifier(task):
    classifier = LogisticRegression().fit(task.X, task.y)
    expected = -logsumexp(classifier.decision_function(task.X_test), axis=1)
    np.testing.assert_allclose(ood_score(classifier, task.X_test, "energy"), expected)


def test_mutual_information_is_the_acquisition(task):
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_array_equal(
        ood_score(classifier, task.X_test, "mutual_information"),
        classifier.acquisition(task.X_test, "bald"),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_scores_what_its_last_step_sees(kind, task):
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    pipeline = make_pipeline(FunctionTransformer(np.negative), FrozenEstimator(classifier))
    pipeline.fit(task.X, task.y)
    np.testing.assert_allclose(
        ood_score(pipeline, -task.X_test, kind), ood_score(classifier, task.X_test, kind)
    )
    twice = make_pipeline(*[FunctionTransformer(np.negative)] * 2, FrozenEstimator(classifier))
    np.testing.assert_allclose(
        ood_score(twice.fit(task.X, task.y), task.X_test, kind),
        ood_score(classifier, task.X_test, kind),
    )
    alone = make_pipeline(FrozenEstimator(classifier)).fit(task.X, task.y)
    np.testing.assert_allclose(
        ood_score(alone, task.X_test, kind), ood_score(classifier, task.X_test, kind)
    )


def test_labelled_prototypes_without_rows_count(task):
    """A class that has text only is known."""
    text = Prototypes(task.text, ["a", "b", "c", "d"])
    labels = np.array(["a", "b", "c", "d"])[task.y]
    kept = labels != "d"
    classifier = BayesAdapterClassifier(text).fit(task.X[kept], labels[kept])
    full = BayesAdapterClassifier(text).fit(task.X, labels)
    np.testing.assert_allclose(
        ood_score(classifier, task.X_test, "prototype_distance"),
        ood_score(full, task.X_test, "prototype_distance"),
    )


def test_the_lengths_of_rows_and_prototypes_do_not_change_the_distance(task):
    lengths = np.array([[1.0], [2.0], [3.0], [0.5]])
    plain = ZeroShotClassifier(task.text).fit(task.X, task.y)
    long = ZeroShotClassifier(lengths * task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        ood_score(long, 5 * task.X_test, "prototype_distance"),
        ood_score(plain, task.X_test, "prototype_distance"),
        atol=1e-14,
    )


def test_the_kind_must_be_known(axes):
    with pytest.raises(
        ValueError, match="kind must be one of 'auto', 'msp', 'entropy', 'energy', 'mutual"
    ):
        ood_score(axes, np.eye(2), "knn")


def test_what_a_kind_needs_is_said(task):
    plain = LinearProbeClassifier().fit(task.X, task.y)
    with pytest.raises(ValueError, match="needs a posterior over the weights; got LinearProbeClas"):
        ood_score(plain, task.X_test, "mutual_information")
    with pytest.raises(
        ValueError, match="needs a classifier with prototypes; got LinearProbeClass"
    ):
        ood_score(plain, task.X_test, "prototype_distance")
    binary = LogisticRegression().fit(task.X, task.y == 0)
    with pytest.raises(ValueError, match="kind='energy' needs a logit for every class; got Logist"):
        ood_score(binary, task.X_test, "energy")


def test_auto_is_energy_where_there_are_logits_and_entropy_elsewhere():
    data = make_clip_features(4, 5, random_state=0)
    adapter = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    np.testing.assert_array_equal(
        ood_score(adapter, data.X_test), ood_score(adapter, data.X_test, "energy")
    )
    bayes = GaussianNB().fit(data.X, data.y)
    np.testing.assert_array_equal(
        ood_score(bayes, data.X_test), ood_score(bayes, data.X_test, "entropy")
    )
