"""The smooth calibration error against its integral, relplot and theorems; the signed error."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm

from skclip.metrics import (
    confidence_bias,
    expected_calibration_error,
    smooth_calibration_error,
)


def problem(seed, n=300):
    """Two-class predictions of a classifier that is over-confident where it is sure."""
    rng = np.random.default_rng(seed)
    confidence = 0.5 + rng.beta(3, 1, size=n) / 2
    correct = rng.random(n) < confidence - rng.uniform(-0.2, 0.3) * (confidence > 0.8)
    return confidence, correct


def as_predictions(confidence, correct):
    return np.where(correct, 1, 0), np.column_stack([1 - confidence, confidence])


def smooth(confidence, correct, **kwargs):
    y, proba = as_predictions(confidence, correct)
    return smooth_calibration_error(y, proba, labels=[0, 1], **kwargs)


def by_the_integral(confidence, correct, width):
    """Reflections of a normal density, summed one by one, and the trapezoidal rule."""
    t, share = np.linspace(0, 1, 4001), np.zeros(4001)
    for f, r in zip(confidence, correct - confidence, strict=True):
        for shift in (-2, 0, 2):
            for image in (f + shift, -f + shift):
                share += r * norm.pdf(t, image, width)
    return trapezoid(np.abs(share), t) / len(confidence)


@pytest.mark.parametrize("seed", range(6))
def test_the_error_at_its_own_width_is_the_width(seed):
    """Grid and trapezoids are off by their squared steps over those of a kernel this wide."""
    confidence, correct = problem(seed)
    found = smooth(confidence, correct)
    assert 0.01 < found < 0.3
    tolerance = (2**-13 / found) ** 2 + (2.5e-4 / found) ** 2
    assert by_the_integral(confidence, correct, found) == pytest.approx(found, rel=tolerance)


@pytest.mark.parametrize("seed", range(6))
def test_relplot_gives_the_same(seed):
    """Its search halves ten times, and its error at the width it stops at is at most that width
    and no less than by the slope of the error between the two."""
    relplot = pytest.importorskip("relplot")
    confidence, correct = problem(seed, n=2000)
    found = smooth(confidence, correct)
    at_our_width = relplot.smECE_sigma(confidence, correct, found)
    assert at_our_width == pytest.approx(found, abs=1e-3)
    theirs, width = relplot.smECE(confidence, correct, return_width=True)
    assert abs(width - found) <= 2**-10 + 1e-3
    assert theirs == pytest.approx(found, abs=3e-3)


@pytest.mark.parametrize("seed", range(6))
def test_it_lies_between_the_bias_and_the_mean_absolute_residual(seed):
    confidence, correct = problem(seed)
    bias = confidence_bias(*as_predictions(confidence, correct), labels=[0, 1])
    assert bias == pytest.approx(np.mean(confidence - correct), abs=1e-15)
    found = smooth(confidence, correct)
    assert abs(bias) - 1e-12 <= found <= np.abs(correct - confidence).mean()


def test_residuals_of_one_sign_are_the_bias():
    """Nothing cancels, whatever the width."""
    confidence = np.linspace(0.6, 1, 50)
    assert smooth(confidence, np.zeros(50, bool)) == pytest.approx(0.8, abs=1e-12)
    assert confidence_bias(
        *as_predictions(confidence, np.zeros(50, bool)), labels=[0, 1]
    ) == pytest.approx(0.8, abs=1e-15)


@pytest.mark.parametrize("metric", [smooth_calibration_error, confidence_bias])
def test_a_weight_of_two_is_the_row_twice(metric):
    confidence, correct = problem(0)
    times = np.random.default_rng(0).integers(0, 4, size=len(confidence))
    weighted = metric(*as_predictions(confidence, correct), labels=[0, 1], sample_weight=times)
    y, proba = as_predictions(np.repeat(confidence, times), np.repeat(correct, times))
    assert weighted == pytest.approx(metric(y, proba, labels=[0, 1]), abs=1e-12)


def test_perfect_predictions_have_no_error():
    assert smooth_calibration_error([0, 1, 2], np.eye(3)) == 0
    assert confidence_bias([0, 1, 2], np.eye(3)) == 0
    assert smooth_calibration_error([1, 2, 0], np.eye(3)) == pytest.approx(1, abs=1e-12)
    assert confidence_bias([1, 2, 0], np.eye(3)) == 1


def test_a_calibrated_mixture_at_one_confidence_has_no_error():
    confidence = np.full(100, 0.8)
    assert smooth(confidence, np.arange(100) < 80) == pytest.approx(0, abs=1e-12)


def test_it_does_not_jump_where_a_confidence_crosses_an_edge():
    """The error of ten bins does: the pair that cancelled in a bin no longer does."""
    y, size = np.array([1, 0]), 1e-6
    jumps = {}
    for metric in (smooth_calibration_error, expected_calibration_error):
        values = []
        for first in (0.7 - size, 0.7 + size):
            confidence = np.array([first, 0.7 + 2 * size])
            values.append(metric(y, np.column_stack([1 - confidence, confidence]), labels=[0, 1]))
        jumps[metric] = abs(values[0] - values[1])
    assert jumps[expected_calibration_error] > 0.2
    assert jumps[smooth_calibration_error] < 1e-5


def test_over_confidence_is_positive():
    y, proba = as_predictions(np.full(10, 0.9), np.arange(10) < 7)
    assert confidence_bias(y, proba) == pytest.approx(0.2, abs=1e-15)
    y, proba = as_predictions(np.full(10, 0.6), np.arange(10) < 9)
    assert confidence_bias(y, proba) == pytest.approx(-0.3, abs=1e-15)


def test_chance_adds_what_the_docstring_says():
    """To a calibrated classifier, on average over test sets; four standard errors."""
    rng, means, errors = np.random.default_rng(0), {}, {}
    for n in (200, 2000):
        found = []
        for _ in range(60):
            confidence = 0.5 + rng.beta(4, 1, size=n) / 2
            found.append(smooth(confidence, rng.random(n) < confidence))
        means[n], errors[n] = np.mean(found), 4 * np.std(found) / np.sqrt(60)
    assert means[200] == pytest.approx(0.031, abs=errors[200])
    assert means[2000] == pytest.approx(0.014, abs=errors[2000])
