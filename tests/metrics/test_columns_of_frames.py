"""Probabilities as a DataFrame are read by the labels of its columns, in whatever order."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import brier_score_loss, log_loss

from skclip import metrics
from skclip.metrics import (
    ConfidenceHistogramDisplay,
    CoverageAtReliabilityDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    bootstrap_interval,
    get_scorer,
    reliability_coverage_table,
)

LABELS = np.array(["ant", "bee", "cow"])
RNG = np.random.default_rng(0)
P = RNG.dirichlet([0.5] * 3, size=200)
Y = LABELS[[RNG.choice(3, p=p) for p in P]]
FRAME = pd.DataFrame(P, columns=LABELS)[["cow", "ant", "bee"]]

FUNCTIONS = {
    "ece": metrics.expected_calibration_error,
    "mce": metrics.maximum_calibration_error,
    "classwise": metrics.classwise_calibration_error,
    "smooth": metrics.smooth_calibration_error,
    "bias": metrics.confidence_bias,
    "debiased": metrics.debiased_calibration_error,
    "aurc": metrics.area_under_risk_coverage,
    "excess": metrics.excess_aurc,
    "augrc": metrics.area_under_generalized_risk_coverage,
    "auroc": metrics.error_detection_auroc,
    "curve": metrics.risk_coverage_curve,
    "coverage_at_risk": lambda y, p, **k: metrics.coverage_at_risk(y, p, target_risk=0.4, **k),
    "risk_at_coverage": lambda y, p, **k: metrics.risk_at_coverage(y, p, coverage=0.5, **k),
    "table": lambda y, p, **k: reliability_coverage_table(y, p, thresholds=[0.6], **k),
    "bootstrap": lambda y, p, **k: bootstrap_interval(
        metrics.expected_calibration_error, y, p, n_resamples=9, random_state=0, **k
    ),
    "of a class": lambda y, p, **k: (
        ReliabilityDisplay.from_predictions(
            y, p, kind="class-wise", class_label="cow", **k
        ).bin_accuracy
    ),
    "reliability": lambda y, p, **k: ReliabilityDisplay.from_predictions(y, p, **k).bin_accuracy,
    "histogram": lambda y, p, **k: ConfidenceHistogramDisplay.from_predictions(y, p, **k).right,
    "coverage display": lambda y, p, **k: (
        CoverageAtReliabilityDisplay.from_predictions(y, p, **k).sample_coverage
    ),
    "risk display": lambda y, p, **k: RiskCoverageDisplay.from_predictions(y, p, **k).risks,
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("labels", [None, LABELS, LABELS[[1, 0, 2]]], ids=["none", "as", "other"])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_columns_are_read_by_label(function, labels):
    arguments = {} if labels is None else {"labels": labels}
    expected = function(Y, P, labels=LABELS)
    found = function(Y, FRAME, **arguments)
    for a, b in zip(np.atleast_1d(expected), np.atleast_1d(found), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, dtype=float), np.asarray(b, dtype=float), rtol=1e-12
        )


def test_metrics_of_scikit_learn_get_sorted_columns():
    """They know no other order."""
    arguments = {"n_resamples": 9, "random_state": 0}
    found = bootstrap_interval(log_loss, Y, FRAME, **arguments)
    assert found == bootstrap_interval(log_loss, Y, P, **arguments)


@pytest.mark.parametrize("columns", [["ant", "bee", "emu"], ["Ant", "bee", "cow"], [1, 2, 3]])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_columns_that_are_not_the_labels_are_refused(columns, labels):
    frame = pd.DataFrame(P, columns=columns)
    with pytest.raises(ValueError, match="The columns of y_proba must be the labels; got the colu"):
        metrics.expected_calibration_error(Y, frame, labels=labels)


def test_columns_that_nobody_named_are_in_the_order_of_the_labels():
    expected = metrics.expected_calibration_error(Y, P)
    assert metrics.expected_calibration_error(Y, pd.DataFrame(P)) == expected


class Framed(ClassifierMixin, BaseEstimator):
    """Predicts a DataFrame whose columns are in another order than its classes."""

    def fit(self, X, y):
        self.classes_ = LABELS
        return self

    def predict_proba(self, X):
        return FRAME


@pytest.mark.parametrize("name", ["neg_log_loss", "neg_brier", "neg_ece", "neg_aurc"])
def test_scorers_and_displays_read_what_an_estimator_predicts(name):
    framed = Framed().fit(None, None)
    expected = {
        "neg_log_loss": -log_loss(Y, P, labels=LABELS),
        "neg_brier": -brier_score_loss(Y, P, labels=LABELS, scale_by_half=False),
        "neg_ece": -metrics.expected_calibration_error(Y, P),
        "neg_aurc": -metrics.area_under_risk_coverage(Y, P),
    }[name]
    assert get_scorer(name)(framed, np.zeros((200, 1)), Y) == pytest.approx(expected)
    display = ReliabilityDisplay.from_estimator(framed, np.zeros((200, 1)), Y)
    same = ReliabilityDisplay.from_predictions(Y, P, labels=LABELS)
    np.testing.assert_allclose(display.bin_accuracy, same.bin_accuracy)
