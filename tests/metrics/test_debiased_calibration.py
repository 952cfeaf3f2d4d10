"""The debiased calibration errors against enumeration, normal draws and simulation."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from skclip.metrics import debiased_calibration_error, expected_calibration_error
from skclip.metrics.binning import bin_confidences
from skclip.metrics.debiased_calibration import debiased_mean_gap, unbiased_squared_gap


def problem(confidence, correct):
    return np.where(correct, 1, 0), np.column_stack([1 - confidence, confidence])


def bins_of(confidence, correct, edges):
    return bin_confidences(
        np.asarray(confidence), np.asarray(correct, bool), None, np.asarray(edges)
    )


def test_six_samples_by_hand():
    """Two bins: .6 .7 | .8 .9 .9 1 of accuracies 1/2 and 3/4."""
    confidence = np.array([0.6, 0.7, 0.8, 0.9, 0.9, 1.0])
    y, proba = problem(confidence, [True, False, True, True, True, False])
    gaps, variances = np.array([0.15, 0.15]), np.array([0.25, 0.1875])
    square = np.dot([2, 4], gaps**2 - variances / [1, 3]) / 6
    assert square < 0  # so that the root is 0
    found = debiased_calibration_error(y, proba, norm="l2", n_bins=4, labels=[0, 1])
    assert found == 0
    edges = [0, 0.25, 0.5, 0.75, 1]
    exact = unbiased_squared_gap(bins_of(confidence, y == 1, edges))
    assert exact == pytest.approx(square, abs=1e-15)


def test_a_gap_beyond_the_noise_keeps_its_root():
    """Accuracy 1 has no measured noise: nothing is subtracted."""
    y, proba = problem(np.full(9, 0.7), np.ones(9, dtype=bool))
    for norm in ("l1", "l2"):
        found = debiased_calibration_error(y, proba, norm=norm, labels=[0, 1])
        assert found == pytest.approx(0.3, abs=1e-15)


@pytest.mark.parametrize("p", [0.3, 0.75, 1.0])
def test_the_square_is_unbiased(p):
    """Over all outcomes of two bins of 3 and 4 samples that are right with probability p."""
    confidence, edges = np.repeat([0.6, 0.9], [3, 4]), [0, 0.75, 1]
    expectation = 0.0
    for outcome in product([False, True], repeat=7):
        chance = np.prod(np.where(outcome, p, 1 - p))
        expectation += chance * unbiased_squared_gap(bins_of(confidence, outcome, edges))
    truth = (3 * (p - 0.6) ** 2 + 4 * (p - 0.9) ** 2) / 7
    assert expectation == pytest.approx(truth, abs=1e-14)


def test_the_mean_gap_subtracts_what_normal_noise_adds():
    """The authors' estimator draws the noise; the mean over n draws is within 5 std / sqrt(n)."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=400)
    correct = rng.random(400) < confidence - 0.02
    bins = bins_of(confidence, correct, np.linspace(0, 1, 11))
    kept = bins.weight > 0
    size, accuracy = bins.weight[kept], bins.accuracy[kept]
    std = np.sqrt(accuracy * (1 - accuracy) / size)
    n_draws = 200_000
    noisy = accuracy + std * rng.standard_normal((n_draws, len(size)))
    errors = np.abs(noisy - bins.confidence[kept]) @ size / 400
    plain = bins.gap @ bins.weight / 400
    tolerance = 5 * errors.std() / np.sqrt(n_draws)
    assert debiased_mean_gap(bins) == pytest.approx(2 * plain - errors.mean(), abs=tolerance)


def expected_value(estimate, size, p, confidence):
    """Of `estimate` of a single bin, over the number of correct predictions."""
    total = 0.0
    for hits in range(size + 1):
        bins = bins_of(np.full(size, confidence), np.arange(size) < hits, [0, 1])
        total += binom.pmf(hits, size, p) * estimate(bins)
    return total


@pytest.mark.parametrize("p", [0.8, 0.75, 0.6])
def test_the_mean_gap_has_less_bias_than_the_plain_one(p):
    """Exact expectations for 50 samples of confidence 0.8. Far off the diagonal both are fair:
    the bias is below a fiftieth of the gap's standard error."""
    truth = abs(p - 0.8)
    plain = expected_value(lambda bins: bins.gap[0], 50, p, 0.8) - truth
    debiased = expected_value(debiased_mean_gap, 50, p, 0.8) - truth
    assert plain > 0
    assert abs(debiased) <= max(0.7 * plain, np.sqrt(p * (1 - p) / 50) / 50)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_bin_of_one_sample_contributes_nothing(norm):
    y, proba = problem(np.array([0.55, 0.95, 0.95]), [False, True, True])
    both = debiased_calibration_error(y, proba, norm=norm, labels=[0, 1])
    gap = 0.05 if norm == "l1" else 0.05**2
    expected = 2 / 3 * gap
    assert both == pytest.approx(expected if norm == "l1" else np.sqrt(expected), abs=1e-14)
    alone = debiased_calibration_error(y[:1], proba[:1], norm=norm, labels=[0, 1])
    assert alone == 0


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_it_is_less_than_the_plain_error_and_not_always_zero(strategy):
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.5, 1, size=60)
        y, proba = problem(confidence, rng.random(60) < confidence)
        kwargs = {"strategy": strategy, "labels": [0, 1]}
        plain = expected_calibration_error(y, proba, **kwargs)
        found.append(debiased_calibration_error(y, proba, **kwargs))
        assert 0 <= found[-1] < plain
    assert max(found) > 0


def test_certain_predictions_have_no_noise():
    assert debiased_calibration_error([0, 1, 2], np.eye(3)) == 0
    # Wrong ones neither; their confidence is kept one eps away from 1.
    wrong = debiased_calibration_error([1, 2, 0], np.eye(3))
    assert wrong == pytest.approx(1, abs=1e-15)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match=r"norm must be 'l1' .* or 'l2' .* got 'l3'"):
        debiased_calibration_error([0, 1], np.eye(2), norm="l3")


@pytest.mark.parametrize("n", [200, 2000])
def test_of_a_calibrated_classifier_it_takes_off_two_fifths(n):
    """The limit that the docstring states; the means of 100 test sets."""
    rng, errors = np.random.default_rng(0), []
    for _ in range(100):
        confidence = 0.5 + rng.beta(4, 1, size=n) / 2
        y, proba = problem(confidence, rng.random(n) < confidence)
        errors.append(
            [
                metric(y, proba, labels=[0, 1])
                for metric in (expected_calibration_error, debiased_calibration_error)
            ]
        )
    plain, debiased = np.mean(errors, axis=0)
    assert 0.35 < 1 - debiased / plain < 0.45
