"""Calibration errors against hand computation, theorems, netcal and torchmetrics."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import softmax

from skclip.metrics import (
    calibration,
    classwise_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from skclip.metrics.binning import bin_edges
from skclip.metrics.probabilities import TopLabel
from skclip.metrics.weights import as_repetitions

STRATEGIES = ("uniform", "quantile")

# Six samples: confidence .95 .85 .80 .65 .62 .55, the third and the fifth wrong.
Y = ["a", "b", "c", "a", "b", "c"]
P = np.array(
    [
        [0.95, 0.03, 0.02],
        [0.10, 0.85, 0.05],
        [0.80, 0.10, 0.10],
        [0.65, 0.15, 0.20],
        [0.62, 0.28, 0.10],
        [0.25, 0.20, 0.55],
    ]
)


def netcal_metric(name, n_bins, strategy):
    from netcal import metrics

    return getattr(metrics, name)(bins=n_bins, equal_intervals=strategy == "uniform").measure


def by_definition(kind, confidence, outcome, n_bins, strategy):
    """ECE or MCE, one bin at a time; netcal moves 0 and 1 by one eps."""
    confidence = np.clip(confidence, np.spacing(1.0), 1 - np.spacing(1.0))
    edges = np.linspace(0, 1, n_bins + 1)
    if strategy == "quantile":
        edges[1:-1] = np.quantile(confidence, edges)[1:-1]
    sizes, gaps = [], []
    for low, high in pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        sizes.append(inside.sum())
        gaps.append(abs(outcome[inside].mean() - confidence[inside].mean()) if inside.any() else 0)
    return max(gaps) if kind == "MCE" else np.dot(sizes, gaps) / len(confidence)


def draw(rng, proba):
    """Codes drawn from the rows of `proba`."""
    return (proba.cumsum(axis=1) < rng.random((len(proba), 1))).sum(axis=1)


def random_problem(seed):
    """Probabilities, codes and a number of bins; every third problem is full of ties."""
    rng = np.random.default_rng(seed)
    n, c = int(rng.integers(3, 80)), int(rng.integers(3, 12))
    proba = softmax(rng.normal(scale=rng.uniform(0.5, 20), size=(n, c)), axis=1)
    if seed % 3 == 1:
        proba = rng.multinomial(10, np.ones(c) / c, size=n) / 10  # on the edges of 10 bins
    y = draw(rng, proba).clip(max=c - 1)
    y[rng.permutation(n)[:3]] = [0, 1, 2]  # netcal needs three distinct labels
    return proba, y, np.arange(c), int(rng.integers(1, 25)) if seed % 2 else 10


def test_six_samples_by_hand_with_bins_of_equal_width():
    """Bins (.5,.6): .55 hit; [.6,.7): .65 hit, .62 miss; [.8,.9): .85 hit, .80 miss; .95 hit."""
    gaps = [0.45, abs(1 - 1.27) / 2, abs(1 - 1.65) / 2, 0.05]
    sizes = [1, 2, 2, 1]
    assert expected_calibration_error(Y, P) == pytest.approx(np.dot(gaps, sizes) / 6, abs=1e-15)
    assert maximum_calibration_error(Y, P) == pytest.approx(0.45, abs=1e-15)


def test_six_samples_by_hand_with_bins_of_equal_count():
    """Three bins of two: .55 hit .62 miss; .65 hit .80 miss; .85 hit .95 hit."""
    gaps = [abs(1 - 1.17) / 2, abs(1 - 1.45) / 2, abs(2 - 1.80) / 2]
    kwargs = {"n_bins": 3, "strategy": "quantile"}
    assert expected_calibration_error(Y, P, **kwargs) == pytest.approx(np.mean(gaps), abs=1e-15)
    assert maximum_calibration_error(Y, P, **kwargs) == pytest.approx(0.225, abs=1e-15)


def test_six_samples_by_hand_class_by_class():
    """Two bins, cut at 0.5, for each of the three columns."""
    sums = [
        abs(0.35 - 0) + abs(3.02 - 2),  # a: .10 .25 | .95 .80 .65 .62, two of them a
        abs(0.76 - 1) + abs(0.85 - 1),  # b: .03 .10 .15 .28 .20, one of them b | .85 b
        abs(0.47 - 1) + abs(0.55 - 1),  # c: .02 .05 .10 .20 .10, one of them c | .55 c
    ]
    error = classwise_calibration_error(Y, P, n_bins=2)
    assert error == pytest.approx(np.mean(sums) / 6, abs=1e-15)


def test_ten_bins_are_the_default_of_every_error():
    """Eleven would part the .80 from the .85 of the six samples, for one."""
    for metric in (
        expected_calibration_error,
        maximum_calibration_error,
        classwise_calibration_error,
    ):
        assert metric(Y, P) == metric(Y, P, n_bins=10) != metric(Y, P, n_bins=11)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("kind", "metric"), [("ECE", expected_calibration_error), ("MCE", maximum_calibration_error)]
)
def test_equal_to_netcal_wherever_netcal_answers(kind, metric, strategy):
    """netcal gets the multi-class problem itself, not the reduction that the package makes."""
    answered = 0
    for seed in range(200):
        proba, y, labels, n_bins = random_problem(seed)
        ours = metric(y, proba, n_bins=n_bins, strategy=strategy, labels=labels)
        outcome = proba.argmax(axis=1) == y
        defined = by_definition(kind, proba.max(axis=1), outcome, n_bins, strategy)
        assert ours == pytest.approx(defined, abs=1e-12), seed
        measure = netcal_metric(kind, n_bins, strategy)
        if not calibration._netcal_has_an_answer(proba.max(axis=1), n_bins, strategy):
            with pytest.raises(ValueError, match="smallest edge difference is numerically 0"):
                measure(proba, y)
            continue
        theirs = measure(proba, y)
        answered += 1
        assert ours == pytest.approx(theirs, abs=1e-12), seed
    assert answered >= (200 if strategy == "uniform" else 100)


def edge_cases():
    """Confidences and outcomes at the ends, on edges of bins, tied and nearly so."""
    rng = np.random.default_rng(0)
    cases = {
        "one": np.ones(7),
        "zero": np.zeros(7),
        "both ends": np.repeat([0.0, 1.0], 5),
        "edges": np.linspace(0, 1, 11),
        "typed edges": np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        "next to edges": np.nextafter(np.linspace(0, 1, 11)[1:], 0),
        "next to one": np.array([1, 1 - 2**-53, 1 - 2**-52, 1 - 2**-51, 0.3]),
        "denormal": np.array([5e-324, 1e-300, 1e-17, 1e-15, 0.4]),
        "single": np.array([0.3]),
        "ties": rng.integers(11, size=200) / 10,
        "a tie at a quantile edge": np.r_[np.linspace(0.1, 0.4, 8), [0.5] * 3, 0.9],
        "saturated": np.r_[rng.uniform(0.2, 1, 50), np.ones(4)],
    }
    for name, confidence in cases.items():
        for n_bins in (1, 2, 3, 10, 15):
            for strategy in STRATEGIES:
                yield pytest.param(confidence, n_bins, strategy, id=f"{name}-{n_bins}-{strategy}")


@pytest.mark.parametrize("kind", ["ECE", "MCE"])
@pytest.mark.parametrize(("confidence", "n_bins", "strategy"), list(edge_cases()))
def test_own_bins_are_those_of_netcal_on_edge_cases(confidence, n_bins, strategy, kind):
    """And of the definition, where netcal has no answer."""
    outcome = np.random.default_rng(1).random(len(confidence)) < confidence
    top = TopLabel(confidence, outcome, None)
    ours = calibration._own_error(kind, top, n_bins, strategy)
    defined = by_definition(kind, confidence, outcome, n_bins, strategy)
    assert ours == pytest.approx(defined, abs=1e-12)
    if calibration._netcal_has_an_answer(confidence, n_bins, strategy):
        theirs = calibration._netcal_error(kind, top, n_bins, strategy)
        assert ours == pytest.approx(theirs, abs=1e-12)
    else:
        assert strategy == "quantile"
        with pytest.raises(ValueError, match="smallest edge difference is numerically 0"):
            calibration._netcal_error(kind, top, n_bins, strategy)


def test_coinciding_quantile_edges_are_one_edge():
    """Where netcal raises an error, the bins between equal edges are empty."""
    confidence = np.array([0.5] * 8 + [0.7, 0.9])
    proba = np.column_stack([confidence, 1 - confidence])
    y = np.array([0, 1] * 4 + [0, 0])
    ece = expected_calibration_error(y, proba, strategy="quantile")
    # The quantiles are .5 (eight times, and .52 between .5 and .7), then .72: three bins.
    assert ece == pytest.approx((8 * 0.0 + 0.3 + 0.1) / 10, abs=1e-15)


@pytest.mark.parametrize("kind", ["ECE", "MCE"])
def test_netcal_does_the_computing_where_it_can(kind, monkeypatch):
    from netcal import metrics

    monkeypatch.setattr(getattr(metrics, kind), "measure", lambda *args, **kwargs: 0.123)
    metric = {"ECE": expected_calibration_error, "MCE": maximum_calibration_error}[kind]
    assert metric(Y, P) == 0.123
    assert metric(Y, P, strategy="quantile") == 0.123
    assert metric(["a", "b"] * 3, P, labels=["a", "b", "c"]) == 0.123
    assert metric(Y, P, sample_weight=np.arange(6)) != 0.123


@pytest.mark.parametrize("norm", ["l1", "max"])
def test_equal_to_torchmetrics(norm, second_opinion):
    """Below a confidence of 1, for which torchmetrics has a bin of its own."""
    metric = {"l1": expected_calibration_error, "max": maximum_calibration_error}[norm]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        proba = second_opinion.on_a_grid(
            softmax(rng.normal(scale=rng.uniform(0.5, 1.5), size=(200, 5)), axis=1)
        )
        y = draw(rng, proba)
        assert proba.max() < 1
        theirs = second_opinion.error(y, proba, 10, norm)
        ours = metric(y, proba, labels=range(5))
        assert ours == pytest.approx(theirs, abs=second_opinion.rounding)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_class_equals_netcal_on_its_column(strategy):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        proba = softmax(rng.normal(scale=2, size=(50, 4)), axis=1)
        y, labels, n_bins = draw(rng, proba), np.arange(4), int(rng.integers(1, 25))
        measure = netcal_metric("ECE", n_bins, strategy)
        theirs = np.mean([measure(proba[:, k], (y == k).astype(int)) for k in labels])
        ours = classwise_calibration_error(
            y, proba, n_bins=n_bins, strategy=strategy, labels=labels
        )
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_two_classes_are_treated_alike():
    """netcal scores the second column of two; here the predicted class counts."""
    rng = np.random.default_rng(0)
    p = rng.uniform(size=500)
    y = (rng.random(500) < p**2).astype(int)
    proba = np.column_stack([1 - p, p])
    confidence, correct = proba.max(axis=1), proba.argmax(axis=1) == y
    expected = netcal_metric("ECE", 10, "uniform")(confidence, correct.astype(int))
    assert expected_calibration_error(y, proba) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error(1 - y, proba[:, ::-1]) == pytest.approx(expected, abs=1e-12)
    assert abs(netcal_metric("ECE", 10, "uniform")(proba, y) - expected) > 0.01


def test_classes_of_two_are_complements():
    """With two classes and an even number of bins, both columns have the same error."""
    rng = np.random.default_rng(0)
    p = rng.uniform(size=500)
    y = (rng.random(500) < p**2).astype(int)
    both = classwise_calibration_error(y, np.column_stack([1 - p, p]))
    one = netcal_metric("ECE", 10, "uniform")(p, y)
    assert both == pytest.approx(one, abs=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n", [200, 20_000])
def test_a_calibrated_classifier_has_an_error_within_the_sampling_bound(strategy, n):
    """With y drawn from p, a bin of size k has E|acc - conf| <= 1 / (2 sqrt(k)), hence
    E[ECE] <= sqrt(m / n) / 2; one label moves the ECE by 1/n at most, so that it exceeds
    its mean by t with probability exp(-2 n t^2) at most: one in 10^9 for the t below."""
    bound = np.sqrt(10 / n) / 2 + np.sqrt(np.log(1e9) / (2 * n))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        proba = softmax(rng.normal(scale=2, size=(n, 5)), axis=1)
        y = draw(rng, proba)
        assert expected_calibration_error(y, proba, strategy=strategy, labels=range(5)) < bound
        assert classwise_calibration_error(y, proba, strategy=strategy, labels=range(5)) < bound


def test_sharpened_probabilities_are_over_confident_by_their_excess():
    """Where every confidence is above the accuracy, one bin or ten, the ECE is the excess."""
    rng = np.random.default_rng(0)
    n = 20_000
    y = rng.integers(2, size=n)
    hit = rng.random(n) < 0.5
    confidence = rng.uniform(0.75, 1, size=n)
    proba = np.empty((n, 2))
    predicted = np.where(hit, y, 1 - y)
    proba[np.arange(n), predicted], proba[np.arange(n), 1 - predicted] = confidence, 1 - confidence
    expected = confidence.mean() - hit.mean()
    for n_bins in (1, 10):
        ece = expected_calibration_error(y, proba, n_bins=n_bins)
        assert ece == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_maximum_is_at_least_the_mean(strategy):
    for seed in range(50):
        proba, y, labels, n_bins = random_problem(seed)
        kwargs = {"n_bins": n_bins, "strategy": strategy, "labels": labels}
        mean = expected_calibration_error(y, proba, **kwargs)
        largest = maximum_calibration_error(y, proba, **kwargs)
        assert 0 <= mean <= largest + 1e-15 <= 1 + 1e-15


def test_one_bin_gives_the_distance_of_accuracy_and_mean_confidence():
    for seed in range(20):
        proba, y, labels, _ = random_problem(seed)
        accuracy = np.mean(proba.argmax(axis=1) == y)
        expected = abs(proba.max(axis=1).mean() - accuracy)
        ece = expected_calibration_error(y, proba, n_bins=1, labels=labels)
        assert ece == pytest.approx(expected, abs=1e-13)


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_worst():
    right, wrong = np.eye(3), np.eye(3)[[1, 2, 0]]
    for metric in (expected_calibration_error, maximum_calibration_error):
        assert metric([0, 1, 2], right) == pytest.approx(0, abs=1e-15)
        assert metric([0, 1, 2], wrong) == pytest.approx(1, abs=1e-15)


def test_weighted_quantiles_of_ones_are_the_plain_ones():
    rng = np.random.default_rng(0)
    confidence = rng.random(37)
    plain = bin_edges(confidence, None, 10, "quantile")
    weighted = bin_edges(confidence, np.full(37, 0.3), 10, "quantile")
    np.testing.assert_array_equal(weighted, plain)


def test_tenths_are_as_whole_as_units():
    """0.3 / 0.1 is less than 3, which would count as fewer than three repetitions."""
    whole = np.arange(1.0, 30.0)
    assert (0.1 * whole / 0.1 != whole).any()
    np.testing.assert_array_equal(as_repetitions(0.1 * whole), whole)


def test_weighted_quantile_bins_have_about_equal_weight():
    """Each bin's weight misses a tenth by less than two of the largest weights."""
    rng = np.random.default_rng(0)
    confidence, weight = rng.random(2000), rng.exponential(size=2000)
    edges = bin_edges(confidence, weight, 10, "quantile")
    mass, _ = np.histogram(confidence, edges, weights=weight)
    assert np.abs(mass - weight.sum() / 10).max() < 2 * weight.max()
