"""Rows of fit are recognised, other rows are not."""

import warnings

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skclip import BayesAdapterClassifier, check_unseen
from skclip.decisions.unseen import row_digests
from skclip.exceptions import GuaranteeWarning


def share(estimator, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuaranteeWarning)
        return check_unseen(estimator, X)


def test_the_share_is_that_of_rows_that_were_fitted_on(task):
    classifier = BayesAdapterClassifier(task.text).fit(task.X[:12], task.y[:12])
    assert share(classifier, task.X) == 0.5
    assert share(classifier, np.r_[task.X[:12], task.X_test]) == 12 / 92
    assert share(classifier, task.X_test) == 0.0
    # Features are stored in single precision.
    assert share(classifier, task.X[:12].astype(np.float32)) == 1.0


def test_wrapped_classifiers_are_looked_into(task):
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    pipeline = make_pipeline(FunctionTransformer(np.negative), FrozenEstimator(classifier))
    assert share(FrozenEstimator(pipeline.fit(task.X, task.y)), -task.X) == 1.0
    twice = make_pipeline(*[FunctionTransformer(np.negative)] * 2, FrozenEstimator(classifier))
    assert share(twice.fit(task.X, task.y), task.X) == 1.0
    assert share(make_pipeline(classifier), task.X) == 1.0


def test_a_few_known_rows_are_tolerated(task):
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    assert check_unseen(classifier, np.r_[task.X[:2], task.X_test]) == 2 / 82
    with pytest.warns(
        GuaranteeWarning, match="Calibration rows must not have been used to fit the"
    ):
        check_unseen(classifier, np.r_[task.X[:8], task.X_test])


def test_nothing_is_known_of_other_classifiers(task):
    assert check_unseen(LogisticRegression().fit(task.X, task.y), task.X) == 0.0


def test_all_batches_are_remembered_and_a_new_fit_forgets(task):
    classifier = BayesAdapterClassifier(task.text).partial_fit(task.X, task.y)
    classifier.partial_fit(task.X_test, task.y_test)
    assert share(classifier, np.r_[task.X, task.X_test]) == 1.0
    assert share(classifier.fit(task.X_test, task.y_test), task.X) == 0.0


def test_digests_depend_on_order_and_not_on_layout():
    X = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(row_digests(X), row_digests(np.asfortranarray(X)))
    assert not np.isin(row_digests(X), row_digests(X[:, ::-1])).any()


def test_both_zeros_are_one():
    assert row_digests([[0.0, 1.0]]) == row_digests([[-0.0, 1.0]])
