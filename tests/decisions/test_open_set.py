"""Unknown images: the threshold by hand and by refits, and its false alarms by simulation."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import LinearSVC

from skclip import (
    BayesAdapterClassifier,
    GaussianDAClassifier,
    OpenSetClassifier,
    PredictionSetClassifier,
    ProKeRClassifier,
    ood_score,
)
from skclip.datasets import make_clip_features
from skclip.exceptions import GuaranteeWarning


@pytest.fixture(scope="module")
def data():
    made = make_clip_features(4, 10, n_test_per_class=100, random_state=0)
    order = np.argsort(made.y, kind="stable")  # neighbours can be views of one image
    made.X, made.y = made.X[order], made.y[order]
    return made


class Told(ClassifierMixin, BaseEstimator):
    """Its probabilities are its input."""

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X):
        return np.column_stack([X, 1 - X])

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def calibrated(confidence, **parameters):
    """A frozen classifier, whose msp is one minus each of the confidences."""
    frozen = FrozenEstimator(Told().fit(None, None))
    rows = np.asarray(confidence, float)[:, None]
    return OpenSetClassifier(frozen, kind="msp", **parameters).fit(rows, [0] * len(rows))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.9])
def test_unknown_is_what_has_a_conformal_p_value_of_at_most_the_rate(rate):
    """p = (1 + images with at least this score) / (n + 1); with ties."""
    rng = np.random.default_rng(0)
    known = np.round(rng.uniform(0.5, 1, 39), 1)
    new = np.round(rng.uniform(0.5, 1, 60), 1)
    found = calibrated(known, false_alarm_rate=rate)
    p = (1 + (1 - known >= (1 - new)[:, None] - 1e-12).sum(axis=1)) / 40
    np.testing.assert_array_equal(found.is_outlier(new[:, None]), p <= rate + 1e-12)


def test_false_alarms_of_calibration_rows_are_as_rare_as_stated():
    """39 rows and 10 %: rank 4 of 40 is exact without ties."""
    rng, alarms = np.random.default_rng(0), []
    for _ in range(2000):
        rows = rng.uniform(0.5, 1, 40)
        found = calibrated(rows[:39], false_alarm_rate=0.1)
        assert (found.is_guaranteed_, found.method_) == (True, "calibration")
        alarms.append(found.is_outlier(rows[39:, None])[0])
    assert np.mean(alarms) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 2000))


@pytest.mark.parametrize("kind", ["entropy", "msp"])
def test_every_image_is_scored_by_a_model_without_it(kind, data):
    X, y = data.X[:20], data.y[:20]
    found = OpenSetClassifier(GaussianNB(), 0.1, kind=kind).fit(X, y)
    assert (found.method_, found.is_guaranteed_) == ("refit", False)
    for i in range(20):
        model = GaussianNB().fit(np.delete(X, i, 0), np.delete(y, i))
        assert found.support_scores_[i] == pytest.approx(ood_score(model, X[i : i + 1], kind)[0])


def test_steps_are_those_of_prediction_sets(data):
    """And near to real refits, which the fit itself is not: it knows its images."""
    classifier = BayesAdapterClassifier(data.prototypes)
    found = OpenSetClassifier(classifier, kind="msp").fit(data.X, data.y)
    assert found.method_ == "step"
    sets = PredictionSetClassifier(classifier).fit(data.X, data.y)
    np.testing.assert_allclose(
        found.support_scores_, 1 - np.exp(sets.support_log_proba_).max(axis=1), atol=1e-12
    )
    fitted, rows = found.estimator_, range(0, 40, 4)
    given = {"prior_precision": fitted.prior_precision_, "temperature": fitted.temperature_}
    step = OpenSetClassifier(classifier, kind="energy").fit(data.X, data.y).support_scores_[rows]
    refits = []
    for i in rows:
        model = BayesAdapterClassifier(data.prototypes, **given)
        model.fit(np.delete(data.X, i, 0), np.delete(data.y, i))
        refits.append(ood_score(model, data.X[i : i + 1])[0])
    seen = ood_score(fitted, data.X)[rows]
    assert np.abs(step - refits).max() < 0.2 * np.abs(seen - refits).max()


@pytest.mark.parametrize(
    "classifier",
    [
        lambda text: GaussianDAClassifier(text, alpha=0.05),
        lambda text: ProKeRClassifier(text, beta=1.0, ridge=0.1, temperature=1.0),
    ],
)
@pytest.mark.parametrize("kind", ["energy", "msp"])
def test_steps_in_closed_form_are_refits(classifier, kind, data):
    """Energies, too, which know the level of all logits."""
    step, refit = (
        OpenSetClassifier(classifier(data.prototypes), 0.1, kind=kind, method=method, cv=cv)
        for method, cv in (("auto", None), ("refit", 40))
    )
    step, refit = (found.fit(data.X, data.y) for found in (step, refit))
    assert step.method_ == "step"
    np.testing.assert_allclose(step.support_scores_, refit.support_scores_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shots", [2, 4, 16])
def test_false_alarms_of_a_support_are_about_as_rare_as_stated(shots):
    """Means over ten tasks; the naive threshold, by the fitted images, gives more of them."""
    alarms, naive = [], []
    for seed in range(10):
        data = make_clip_features(shots, 20, n_test_per_class=50, random_state=seed)
        classifier = BayesAdapterClassifier(data.prototypes)
        found = OpenSetClassifier(classifier).fit(data.X, data.y)
        alarms.append(found.is_outlier(data.X_test).mean())
        seen = ood_score(found.estimator_, data.X)
        naive.append((ood_score(found.estimator_, data.X_test) > np.quantile(seen, 0.95)).mean())
    assert 0.005 < np.mean(alarms) < 0.06
    assert np.mean(naive) > 0.1


@pytest.mark.parametrize("kind", ["mutual_information", "prototype_distance"])
def test_scores_that_need_an_estimator_are_refitted(kind, data):
    found = OpenSetClassifier(BayesAdapterClassifier(data.prototypes), kind=kind, cv=3)
    found.fit(data.X, data.y)
    assert (found.method_, len(found.support_scores_)) == ("refit", 40)
    if kind == "prototype_distance":  # of the text alone: leaving out changes nothing
        np.testing.assert_allclose(
            found.support_scores_, ood_score(found.estimator_, data.X, kind), atol=1e-12
        )


def test_views_of_an_image_have_one_vote(data):
    """Each image twice, as its own view: the threshold is that of the images."""
    X, y, groups = np.repeat(data.X, 2, 0), np.repeat(data.y, 2), np.repeat(np.arange(40), 2)
    twice = OpenSetClassifier(BayesAdapterClassifier(data.prototypes)).fit(X, y, groups)
    once = OpenSetClassifier(BayesAdapterClassifier(data.prototypes)).fit(data.X, data.y)
    assert twice.n_support_ == once.n_support_ == 40
    assert twice.threshold_ == pytest.approx(once.threshold_, rel=0.01)
    rows = np.tile(np.linspace(0.5, 1, 15), 2)[:, None]
    frozen = FrozenEstimator(Told().fit(None, None))
    with pytest.warns(GuaranteeWarning, match="at least 19 images; got 15"):
        few = OpenSetClassifier(frozen, kind="msp").fit(rows, [0] * 30, np.tile(range(15), 2))
    assert few.threshold_ == np.inf


def test_labels_say_unknown(data):
    names = np.array(list("abcdefghij"))
    text = make_pipeline(Normalizer(), BayesAdapterClassifier(data.prototypes))
    found = OpenSetClassifier(text).fit(data.X, names[data.y])
    predicted = found.predict(np.concatenate([data.X_test, -data.X_test]))
    assert set(predicted[1000:]) == {"unknown"}
    assert (predicted[:1000] == "unknown").mean() < 0.1
    assert found.outlier_label_ == "unknown"
    np.testing.assert_array_equal(
        predicted == "unknown", found.is_outlier(np.concatenate([data.X_test, -data.X_test]))
    )


def test_too_few_images_are_said_and_nothing_is_unknown(data):
    with pytest.warns(GuaranteeWarning, match=r"of 0.01 needs at least 99 images; got 40"):
        found = OpenSetClassifier(BayesAdapterClassifier(data.prototypes), 0.01).fit(data.X, data.y)
    assert not found.is_outlier(-data.X_test).any()
    calibrated(np.linspace(0.5, 1, 19), false_alarm_rate=0.05)  # 19 are enough for 5 %


def test_rows_of_the_fit_do_not_calibrate(data):
    classifier = FrozenEstimator(BayesAdapterClassifier(data.prototypes).fit(data.X, data.y))
    with pytest.warns(GuaranteeWarning, match="must not have been used to fit"):
        OpenSetClassifier(classifier).fit(data.X, data.y)


@pytest.mark.parametrize(
    ("estimator", "parameters", "message"),
    [
        (LinearSVC(), {}, "estimator must have predict_proba"),
        (GaussianNB(), {"kind": "energy"}, "kind='energy' needs a logit for every class"),
        (GaussianNB(), {"method": "step"}, "method='step' needs an adapter"),
        (GaussianNB(), {"cv": 60}, "cv must be at most the number of images"),
        (GaussianNB(), {"outlier_label": 3}, "outlier_label must not be a class"),
    ],
)
def test_what_cannot_be_is_refused(estimator, parameters, message, data):
    with pytest.raises(ValueError, match=message):
        OpenSetClassifier(estimator, **parameters).fit(data.X, data.y)
