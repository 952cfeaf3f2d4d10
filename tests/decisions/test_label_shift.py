"""Class proportions from unlabelled rows: recovered, harmless without a shift, and as defined."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.preprocessing import Normalizer

from skclip import BayesAdapterClassifier, LabelShiftClassifier
from skclip.datasets import make_clip_features

SHARES = np.array([0.5, 0.3, 0.1, 0.08, 0.02])


@pytest.fixture(scope="module")
def data():
    """Five classes, four images each, and many to predict."""
    return make_clip_features(4, 5, n_test_per_class=400, random_state=0)


def draw(data, shares, n=800, seed=0):
    """Rows of the test set in these proportions."""
    rng = np.random.default_rng(seed)
    y = rng.choice(5, size=n, p=shares)
    return np.array([rng.choice(np.flatnonzero(data.y_test == k)) for k in y])


def fitted(data, **parameters):
    classifier = BayesAdapterClassifier(data.prototypes)
    return LabelShiftClassifier(classifier, **parameters).fit(data.X, data.y)


def test_proportions_are_recovered_and_probabilities_follow(data):
    """On other rows of the same proportions than those that were adapted to."""
    adapted = fitted(data).adapt(data.X_test[draw(data, SHARES)])
    np.testing.assert_allclose(adapted.priors_, SHARES, atol=0.05)
    rows = draw(data, SHARES, seed=1)
    X, y = data.X_test[rows], data.y_test[rows]
    losses = [
        log_loss(y, model.predict_proba(X), labels=range(5))
        for model in (adapted, adapted.estimator_)
    ]
    assert losses[0] < 0.95 * losses[1]


def test_without_a_shift_little_is_lost(data):
    uniform = np.full(5, 0.2)
    adapted = fitted(data).adapt(data.X_test[draw(data, uniform)])
    rows = draw(data, uniform, seed=1)
    X, y = data.X_test[rows], data.y_test[rows]
    before = log_loss(y, adapted.estimator_.predict_proba(X), labels=range(5))
    assert log_loss(y, adapted.predict_proba(X), labels=range(5)) < 1.03 * before


def test_em_finds_the_maximum_of_the_likelihood(data):
    """Against a general solver."""
    X = data.X_test[draw(data, SHARES, n=100)]
    adapted = fitted(data, pseudo_count=0.5, tol=1e-10, max_iter=100_000).adapt(X)
    ratio = adapted.estimator_.predict_proba(X) / adapted.support_priors_

    def loss(z):
        priors = softmax(z)
        return -np.log(ratio @ priors).sum() - 0.5 * np.log(priors).sum()

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(adapted.priors_, softmax(best.x), atol=1e-5)


def test_before_adapting_it_is_the_estimator(data):
    model = fitted(data)
    for method in ("predict_proba", "predict", "decision_function", "predict_log_proba"):
        np.testing.assert_allclose(
            getattr(model, method)(data.X_test),
            getattr(model.estimator_, method)(data.X_test),
            atol=1e-9,
        )


def test_an_earlier_call_is_forgotten_and_the_limit_is_said(data):
    X, other = data.X_test[draw(data, SHARES)], data.X_test[draw(data, SHARES[::-1])]
    once, twice = fitted(data).adapt(X), fitted(data).adapt(other).adapt(X)
    np.testing.assert_array_equal(once.priors_, twice.priors_)
    with pytest.warns(ConvergenceWarning, match="after 1 iterations, more than tol=1e-06"):
        fitted(data, max_iter=1).adapt(X)


def test_a_class_without_rows_stays_possible(data):
    model = fitted(data).adapt(data.X_test[data.y_test < 2])
    assert (model.priors_ > 0).all()
    with pytest.raises(ValueError, match="estimator must have predict_proba"):
        LabelShiftClassifier(Normalizer()).fit(data.X, data.y)
