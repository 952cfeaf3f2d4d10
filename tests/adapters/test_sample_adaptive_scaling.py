"""SaLS: the formula, what it ignores, and that it wraps any classifier."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skclip import (
    BayesAdapterClassifier,
    LinearProbeClassifier,
    Prototypes,
    SampleAdaptiveScaling,
    ZeroShotClassifier,
)


def test_the_published_formula_on_logistic_regression(task):
    """On its decision values, which differ from log-probabilities by a shift."""
    probe = LogisticRegression(C=100).fit(task.X, task.y)
    scaled = SampleAdaptiveScaling(LogisticRegression(C=100), task.text).fit(task.X, task.y)
    s, z = probe.decision_function(task.X_test), 100 * task.X_test @ task.text.T
    low, high = (f(s, axis=1, keepdims=True) for f in (np.min, np.max))
    floor, top = (f(z, axis=1, keepdims=True) for f in (np.min, np.max))
    logits = (s - low) / (high - low) * (top - floor) + floor
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        scaled.predict_proba(task.X_test), proba / proba.sum(axis=1, keepdims=True), rtol=1e-8
    )


def test_predictions_stay_those_of_the_estimator(task):
    scaled = SampleAdaptiveScaling(BayesAdapterClassifier(task.text), task.text)
    scaled.fit(task.X, task.y)
    np.testing.assert_array_equal(
        scaled.predict(task.X_test), scaled.estimator_.predict(task.X_test)
    )


def test_zero_shot_is_left_alone(task):
    zero_shot = ZeroShotClassifier(task.text)
    scaled = SampleAdaptiveScaling(zero_shot, task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        scaled.predict_proba(task.X_test),
        zero_shot.fit(task.X, task.y).predict_proba(task.X_test),
        rtol=1e-9,
    )


def test_the_temperature_of_the_estimator_does_not_matter(task):
    warm, cold = (
        SampleAdaptiveScaling(
            BayesAdapterClassifier(task.text, prior_precision=20.0, temperature=temperature),
            task.text,
        )
        .fit(task.X, task.y)
        .predict_proba(task.X_test)
        for temperature in (0.5, 3.0)
    )
    np.testing.assert_allclose(warm, cold, rtol=1e-8)


def test_a_frozen_estimator_is_not_fitted_again(task):
    probe = LinearProbeClassifier(task.text).fit(task.X, task.y)
    scaled = SampleAdaptiveScaling(FrozenEstimator(probe), task.text)
    other = np.roll(task.y, 1)
    scaled.fit(task.X, other)
    np.testing.assert_array_equal(scaled.estimator_.coef_, probe.coef_)
    np.testing.assert_array_equal(scaled.predict(task.X_test), probe.predict(task.X_test))


def test_a_pipeline_gets_the_rows_as_they_are(task):
    """Only the zero-shot logits are of unit rows: a scaler in front sees the others."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    X = task.X * np.linspace(1, 3, len(task.X))[:, None]
    scaled = SampleAdaptiveScaling(pipeline, task.text).fit(X, task.y)
    np.testing.assert_array_equal(scaled.estimator_[0].mean_, X.mean(axis=0))


def test_nested_parameters_are_searchable(task):
    scaled = SampleAdaptiveScaling(LinearProbeClassifier(task.text), task.text)
    scaled.set_params(estimator__C=0.1).fit(task.X, task.y)
    assert scaled.estimator_.C == 0.1


def test_column_names_reach_the_estimator(task):
    columns = [f"x{j}" for j in range(16)]
    X = pd.DataFrame(task.X, columns=columns)
    scaled = SampleAdaptiveScaling(LogisticRegression(), task.text).fit(X, task.y)
    assert scaled.estimator_.feature_names_in_.tolist() == columns
    assert scaled.feature_names_in_.tolist() == columns
    assert scaled.predict(X).shape == (len(X),)


def test_weights_and_groups_reach_the_estimator(task):
    weight = np.arange(1.0, 25.0)
    scaled = SampleAdaptiveScaling(BayesAdapterClassifier(task.text), task.text)
    scaled.fit(task.X, task.y, sample_weight=weight, groups=np.arange(24))
    direct = BayesAdapterClassifier(task.text)
    direct.fit(task.X, task.y, sample_weight=weight, groups=np.arange(24))
    np.testing.assert_array_equal(scaled.estimator_.coef_, direct.coef_)


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(random_state=0),
        CalibratedClassifierCV(LogisticRegression(), method="temperature", cv=3),
    ],
)
def test_probabilities_of_zero_and_estimators_without_logarithms_will_do(estimator, task):
    scaled = SampleAdaptiveScaling(estimator, task.text).fit(task.X, task.y)
    proba = scaled.predict_proba(task.X_test)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


def test_two_classes_are_as_sure_as_zero_shot(task):
    """Of two logits the range is all that the softmax sees."""
    keep = task.y < 2
    scaled = SampleAdaptiveScaling(LogisticRegression(), task.text[:2])
    scaled.fit(task.X[keep], task.y[keep])
    zero_shot = ZeroShotClassifier(task.text[:2]).fit(task.X[keep], task.y[keep])
    np.testing.assert_allclose(
        scaled.predict_proba(task.X_test).max(axis=1),
        zero_shot.predict_proba(task.X_test).max(axis=1),
    )


def test_without_text_it_is_refused(task):
    message = "SampleAdaptiveScaling needs text prototypes; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        SampleAdaptiveScaling(LogisticRegression()).fit(task.X, task.y)


def test_an_estimator_that_lacks_a_class_is_refused(task):
    keep = task.y != 2
    scaled = SampleAdaptiveScaling(LogisticRegression(), Prototypes(task.text, range(4)))
    message = (
        "The estimator and the prototypes must know the same classes; got only one of them for 2"
    )
    with pytest.raises(ValueError, match=message):
        scaled.fit(task.X[keep], task.y[keep])
