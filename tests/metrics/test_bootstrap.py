"""Intervals: what is resampled, and that they hold what they promise."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import log_loss

from skclip.metrics import (
    area_under_risk_coverage,
    bootstrap_interval,
    coverage_at_risk,
    error_detection_auroc,
    expected_calibration_error,
)


def sample(n, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, size=n)
    y = (rng.random(n) < confidence).astype(int)
    return y, np.column_stack([1 - confidence, confidence])


def accuracy(y_true, y_proba, *, labels, sample_weight=None):
    return np.average(np.asarray(labels)[y_proba.argmax(axis=1)] == y_true, weights=sample_weight)


@pytest.mark.parametrize("method", ["basic", "percentile", "BCa"])
def test_the_interval_of_a_mean_is_the_normal_one(method):
    """500 outcomes: the standard error is sqrt(a (1 - a) / n), known to 1 / sqrt(2 * 2000)."""
    y, proba = sample(500)
    interval = bootstrap_interval(
        accuracy, y, proba, n_resamples=2000, method=method, random_state=0
    )
    rate = accuracy(y, proba, labels=[0, 1])
    error = np.sqrt(rate * (1 - rate) / 500)
    assert interval.value == rate
    assert interval.standard_error == pytest.approx(error, rel=5 / np.sqrt(2 * 2000))
    expected = rate + norm.ppf([0.025, 0.975]) * error
    # A quantile of 2000 draws has std sqrt(q (1 - q) / 2000) / density, here 0.06 errors;
    # discreteness adds half a sample, skewness less.
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.3 * error + 1e-3)


def test_the_interval_holds_what_it_promises():
    """95 %: of 40 intervals of a mean, 33 or more hold the truth (all but one in 2000)."""
    truth = 0.75  # the mean of the confidences, which are calibrated
    held = 0
    for seed in range(40):
        y, proba = sample(300, seed)
        interval = bootstrap_interval(accuracy, y, proba, n_resamples=100, random_state=seed)
        held += interval.low <= truth <= interval.high
    assert held >= 33


def test_the_basic_interval_of_a_calibration_error_lies_lower():
    """Resampling adds bias as sampling did; "basic" takes it off, "percentile" doubles it."""
    y, proba = sample(300)
    basic, percentile = (
        bootstrap_interval(
            expected_calibration_error, y, proba, n_resamples=100, method=method, random_state=0
        )
        for method in ("basic", "percentile")
    )
    assert basic.high - basic.low == pytest.approx(percentile.high - percentile.low, abs=1e-15)
    assert basic.low < percentile.low
    assert basic.low + percentile.high == pytest.approx(2 * basic.value, abs=1e-15)


def test_the_seed_decides():
    y, proba = sample(50)
    first, again, other = (
        bootstrap_interval(area_under_risk_coverage, y, proba, n_resamples=20, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_higher_level_is_wider():
    y, proba = sample(100)
    widths = []
    for level in (0.5, 0.9, 0.99):
        interval = bootstrap_interval(
            accuracy, y, proba, confidence_level=level, n_resamples=200, random_state=0
        )
        widths.append(interval.high - interval.low)
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_labels_are_kept_where_a_resample_misses_a_class():
    """Of three classes one has a single row; without its label, metrics would refuse."""
    y = ["a"] * 10 + ["b"] * 10 + ["c"]
    proba = np.full((21, 3), 1 / 3)
    interval = bootstrap_interval(log_loss, y, proba, n_resamples=20, random_state=0)
    assert interval.value == pytest.approx(np.log(3), abs=1e-14)


def test_weights_stay_with_their_rows():
    """Rows of weight zero change nothing but which rows are drawn."""
    y, proba = sample(200)
    weight = np.r_[np.ones(100), np.zeros(100)]
    interval = bootstrap_interval(
        accuracy, y, proba, sample_weight=weight, n_resamples=500, random_state=0
    )
    half = bootstrap_interval(accuracy, y[:100], proba[:100], n_resamples=500, random_state=0)
    assert interval.value == half.value
    # About a hundred rows count in each resample; errors are known to 1 / sqrt(1000) each.
    assert interval.standard_error == pytest.approx(half.standard_error, rel=0.25)


def test_a_resample_without_any_weight_is_undefined():
    """Of two rows one has no weight; a quarter of the resamples have that one only."""
    y, proba = sample(2)
    with pytest.warns(UndefinedMetricWarning, match=r"got \d+ of 40 resamples where it is not"):
        interval = bootstrap_interval(
            accuracy, y, proba, labels=[0, 1], sample_weight=[1, 0], n_resamples=40, random_state=0
        )
    assert interval.value == accuracy(y[:1], proba[:1], labels=[0, 1])
    assert np.isnan(interval[1:]).all()


def test_keywords_reach_the_metric():
    y, proba = sample(100)
    interval = bootstrap_interval(
        coverage_at_risk, y, proba, target_risk=1.0, n_resamples=5, random_state=0
    )
    assert interval[:3] == (1, 1, 1)


def test_an_undefined_resample_leaves_the_interval_undefined():
    """One error among 20: a third of the resamples have none to detect."""
    y, proba = sample(20)
    proba = np.sort(proba, axis=1)
    y = np.r_[0, np.ones(19, dtype=int)]
    with pytest.warns(UndefinedMetricWarning, match=r"got \d+ of 50 resamples where it is not"):
        interval = bootstrap_interval(
            error_detection_auroc, y, proba, n_resamples=50, random_state=0
        )
    assert interval.value == error_detection_auroc(y, proba)
    assert np.isnan(interval[1:]).all()


def test_a_metric_that_does_not_vary_has_no_bca_interval():
    with pytest.warns(UndefinedMetricWarning, match="got 0 of 5 resamples"):
        interval = bootstrap_interval(
            accuracy, [0, 1], np.eye(2), method="BCa", n_resamples=5, random_state=0
        )
    assert interval.value == 1
    assert np.isnan(interval.low)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence_level": 95}, r"confidence_level must be a fraction in \(0, 1\); got 95"),
        ({"confidence_level": 1.0}, r"confidence_level must be a fraction in \(0, 1\); got 1.0"),
        ({"confidence_level": 0.0}, r"confidence_level must be a fraction in \(0, 1\); got 0.0"),
        ({"n_resamples": 1}, "n_resamples must be at least 2; got 1"),
        ({"method": "bca"}, "method must be 'basic', 'percentile' or 'BCa'; got 'bca'"),
        ({"labels": [0]}, "labels must name every column of y_proba; got 1 labels and 2 columns"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(accuracy, *sample(10), **change)


def test_one_sample_cannot_be_resampled():
    with pytest.raises(ValueError, match="needs at least two samples to resample; got 1. Score"):
        bootstrap_interval(accuracy, [0], [[0.6, 0.4]], labels=[0, 1])
