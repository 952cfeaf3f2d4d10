"""Selective classification against hand computation, enumeration and theorems."""

import csv
from itertools import permutations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import brier_score_loss, log_loss

from skclip.metrics import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    coverage_at_risk,
    error_detection_auroc,
    excess_aurc,
    expected_calibration_error,
    risk_at_coverage,
    risk_coverage_curve,
)

# Six samples in order of confidence: right, right, wrong, right, wrong, right.
CONFIDENCE = np.array([0.95, 0.85, 0.8, 0.65, 0.6, 0.55])
CORRECT = np.array([True, True, False, True, False, True])


def problem(confidence, correct):
    """Labels and two-class probabilities with these confidences and outcomes."""
    confidence, correct = np.asarray(confidence), np.asarray(correct, dtype=bool)
    return np.where(correct, 1, 0), np.column_stack([1 - confidence, confidence])


def score(metric, confidence, correct, **kwargs):
    return metric(*problem(confidence, correct), labels=[0, 1], **kwargs)


def plain_aurc(confidence, correct):
    """The plain definition, ties in the order given."""
    order = np.argsort(-np.asarray(confidence), kind="stable")
    errors = np.cumsum(~np.asarray(correct)[order])
    return np.mean(errors / np.arange(1, len(order) + 1))


def random_problem(seed, n=None, decimals=None):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 400)) if n is None else n
    confidence = rng.uniform(0.56, 1, size=n)  # rounds to .6 at least: no tie of the classes
    if decimals is not None:
        confidence = confidence.round(decimals)
    return confidence, rng.random(n) < confidence


def test_the_curve_of_six_samples_by_hand():
    coverages, risks, thresholds = score(risk_coverage_curve, CONFIDENCE, CORRECT)
    np.testing.assert_array_equal(coverages, np.arange(1, 7) / 6)
    np.testing.assert_array_equal(risks, [0, 0, 1 / 3, 1 / 4, 2 / 5, 2 / 6])
    np.testing.assert_array_equal(thresholds, CONFIDENCE)


def test_the_area_of_six_samples_by_hand():
    expected = (0 + 0 + 1 / 3 + 1 / 4 + 2 / 5 + 2 / 6) / 6
    assert score(area_under_risk_coverage, CONFIDENCE, CORRECT) == pytest.approx(
        expected, abs=1e-16
    )
    best = (1 / 5 + 2 / 6) / 6  # both errors last
    assert score(excess_aurc, CONFIDENCE, CORRECT) == pytest.approx(expected - best, abs=1e-15)


def test_the_generalised_area_of_six_samples_by_hand():
    """Errors accepted: 0 0 1 1 2 2 of six; linear between."""
    expected = (0 + 0 + 0.5 + 1 + 1.5 + 2) / 36
    ours = score(area_under_generalized_risk_coverage, CONFIDENCE, CORRECT)
    assert ours == pytest.approx(expected, abs=1e-16)


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_generalised_area_is_that_of_its_closed_form(decimals):
    """(1 - AUROC) a (1 - a) + (1 - a)^2 / 2, ties included."""
    for seed in range(20):
        confidence, correct = random_problem(seed, n=60, decimals=decimals)
        a, auroc = correct.mean(), score(error_detection_auroc, confidence, correct)
        ours = score(area_under_generalized_risk_coverage, confidence, correct)
        assert ours == pytest.approx((1 - auroc) * a * (1 - a) + (1 - a) ** 2 / 2, abs=1e-14)


def test_the_generalised_area_of_random_confidence_is_half_the_error_rate():
    correct = np.array([True, False, True, True, False])
    ours = score(area_under_generalized_risk_coverage, np.full(5, 0.8), correct)
    assert ours == pytest.approx(0.2, abs=1e-15)


def test_thresholds_of_six_samples_by_hand():
    def coverage(target):
        return score(coverage_at_risk, CONFIDENCE, CORRECT, target_risk=target)

    def risk(coverage):
        return score(risk_at_coverage, CONFIDENCE, CORRECT, coverage=coverage)

    assert coverage(0) == 2 / 6
    assert coverage(0.25) == 4 / 6  # also where a smaller coverage has a larger risk
    assert coverage(1 / 3) == 1
    assert risk(0.01) == 0
    assert risk(3 / 6) == 1 / 3
    assert risk(0.51) == 1 / 4
    assert risk(1) == 2 / 6


def test_error_detection_of_six_samples_by_hand():
    """Of 8 pairs, the wrong one is below in .95, .85 (twice each) and .65 (once)."""
    assert score(error_detection_auroc, CONFIDENCE, CORRECT) == pytest.approx(5 / 8, abs=1e-15)


def test_without_ties_the_area_is_the_plain_one_exactly():
    for seed in range(200):
        confidence, correct = random_problem(seed)
        assert score(area_under_risk_coverage, confidence, correct) == plain_aurc(
            confidence, correct
        )


def test_with_ties_the_area_is_the_mean_over_their_orders():
    """All 720 orders of six samples, of which three and two are tied."""
    confidence = np.array([0.9, 0.7, 0.7, 0.7, 0.6, 0.6])
    for correct in ([1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 0], [1, 1, 1, 0, 0, 0]):
        correct = np.array(correct, dtype=bool)
        orders = [list(order) for order in permutations(range(6))]
        expected = np.mean([plain_aurc(confidence[o], correct[o]) for o in orders])
        ours = score(area_under_risk_coverage, confidence, correct)
        assert ours == pytest.approx(expected, abs=1e-14)


def test_ties_of_equal_outcome_leave_the_plain_area():
    """Two confidences, one for the right and one for the wrong: any order is the same."""
    confidence, correct = np.repeat([0.9, 0.6], [30, 20]), np.repeat([True, False], [30, 20])
    area = score(area_under_risk_coverage, confidence, correct)
    assert area == pytest.approx(plain_aurc(confidence, correct), abs=1e-14)
    assert score(excess_aurc, confidence, correct) == pytest.approx(0, abs=1e-14)


def test_a_constant_confidence_has_the_error_rate_as_area():
    correct = np.array([True, False, True, True, False])
    assert score(area_under_risk_coverage, np.full(5, 0.8), correct) == pytest.approx(
        0.4, abs=1e-15
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_weight_that_is_not_whole_lies_between_whole_ones(seed):
    """The area is a smooth function of the weight of an error that is ranked first."""
    confidence, correct = random_problem(seed, n=40, decimals=1)
    worst = np.argmax(np.where(correct, 0, confidence))
    assert not correct[worst]

    def area(value):
        weight = np.ones(40)
        weight[worst] = value
        return score(area_under_risk_coverage, confidence, correct, sample_weight=weight)

    areas = [area(value) for value in (1, 1.25, 1.5, 1.75, 2)]
    assert (np.diff(areas) > 0).all()


def test_a_perfect_ranking_is_the_least_area_of_all():
    """Over every assignment of six confidences to six outcomes."""
    areas = {
        order: score(area_under_risk_coverage, CONFIDENCE[list(order)], CORRECT)
        for order in permutations(range(6))
    }
    optimum = (1 / 5 + 2 / 6) / 6
    assert min(areas.values()) == pytest.approx(optimum, abs=1e-16)
    # Best are those that give the errors, at positions 2 and 4, the two lowest confidences.
    best = {order for order, area in areas.items() if area == min(areas.values())}
    assert best == {order for order in areas if {order[2], order[4]} == {4, 5}}


def test_a_perfect_ranking_has_no_excess():
    for seed in range(50):
        confidence, correct = random_problem(seed)
        ranked = np.empty_like(confidence)
        ranked[np.argsort(~correct, kind="stable")] = -np.sort(-confidence)
        plain = score(excess_aurc, ranked, correct)
        assert plain == pytest.approx(0, abs=1e-14)
        weight = np.random.default_rng(seed).uniform(0.2, 5, size=len(correct))
        weighted = score(excess_aurc, ranked, correct, sample_weight=weight)
        assert weighted == pytest.approx(0, abs=1e-13)
        assert min(plain, weighted) >= 0  # not even by rounding


def test_the_least_area_approaches_its_known_limit():
    """For many samples with error rate r it is r + (1 - r) log(1 - r)."""
    n, r = 100_000, 0.2
    correct = np.arange(n) < (1 - r) * n
    confidence = np.linspace(1, 0.51, n)
    area = score(area_under_risk_coverage, confidence, correct)
    # A sum against its integral: off by at most the last term over n.
    assert area == pytest.approx(r + (1 - r) * np.log(1 - r), abs=r / n)


def test_the_excess_is_never_negative():
    for seed in range(50):
        confidence, correct = random_problem(seed, decimals=1 if seed % 2 else None)
        area = score(area_under_risk_coverage, confidence, correct)
        assert 0 <= score(excess_aurc, confidence, correct) <= area <= 1


@pytest.mark.parametrize(("correct", "area"), [(True, 0.0), (False, 1.0)])
def test_the_area_of_all_right_and_of_all_wrong(correct, area):
    confidence, _ = random_problem(0)
    outcome = np.full(len(confidence), correct)
    assert score(area_under_risk_coverage, confidence, outcome) == area
    assert score(excess_aurc, confidence, outcome) == pytest.approx(0, abs=1e-14)
    assert score(coverage_at_risk, confidence, outcome, target_risk=0.05) == 1 - area
    assert score(risk_at_coverage, confidence, outcome, coverage=0.5) == area


def test_only_the_ranking_matters_to_the_area():
    confidence, correct = random_problem(3)
    squeezed = 0.5 + (confidence - 0.5) ** 3
    for metric in (area_under_risk_coverage, excess_aurc, error_detection_auroc):
        assert score(metric, squeezed, correct) == score(metric, confidence, correct)


def test_a_random_ranking_has_about_the_error_rate_as_area():
    """The risk at every coverage has the error rate as its mean; over 200 draws the mean
    area is within four standard errors."""
    rng = np.random.default_rng(0)
    correct = np.arange(300) >= 60
    areas = [
        score(area_under_risk_coverage, rng.uniform(0.51, 1, 300), correct) for _ in range(200)
    ]
    assert np.mean(areas) == pytest.approx(0.2, abs=4 * np.std(areas) / np.sqrt(200))


@pytest.mark.parametrize("decimals", [None, 1])
def test_coverage_and_risk_are_read_from_the_curve(decimals):
    for seed in range(20):
        confidence, correct = random_problem(seed, n=50, decimals=decimals)
        accepted = [confidence >= threshold for threshold in confidence]
        achieved = {mask.mean(): 1 - correct[mask].mean() for mask in accepted}
        for target in (0, 0.05, 0.1, 0.3, 1):
            expected = max((k for k, r in achieved.items() if r <= target + 1e-12), default=0)
            ours = score(coverage_at_risk, confidence, correct, target_risk=target)
            assert ours == pytest.approx(expected, abs=1e-15)
            if target:
                expected = achieved[min(k for k in achieved if k >= target - 1e-12)]
                ours = score(risk_at_coverage, confidence, correct, coverage=target)
                assert ours == pytest.approx(expected, abs=1e-15)


def test_a_coverage_that_is_computed_meets_the_one_that_is_typed():
    """3 * 0.1 is a little more than 3 / 10 and must not accept a fourth sample."""
    confidence, correct = np.linspace(0.95, 0.55, 10), np.arange(10) != 3
    assert 3 * 0.1 > 0.3
    assert score(risk_at_coverage, confidence, correct, coverage=3 * 0.1) == 0


def test_a_risk_that_is_computed_meets_the_one_that_is_typed():
    """1 - 0.9 is a little less than 1 / 10 and must not turn a risk of 1 / 10 down."""
    confidence, correct = np.linspace(0.95, 0.55, 10), np.arange(10) != 3
    assert 1 - 0.9 < 0.1
    assert score(coverage_at_risk, confidence, correct, target_risk=1 - 0.9) == 1


def test_the_curve_has_one_point_per_distinct_confidence():
    confidence, correct = random_problem(0, n=100, decimals=1)
    coverages, risks, thresholds = score(risk_coverage_curve, confidence, correct)
    np.testing.assert_array_equal(thresholds, np.unique(confidence)[::-1])
    assert (np.diff(coverages) > 0).all()
    assert coverages[-1] == 1
    assert risks[-1] == pytest.approx(1 - correct.mean(), abs=1e-15)


@pytest.mark.parametrize("decimals", [None, 1])
def test_error_detection_is_the_share_of_ordered_pairs(decimals):
    confidence, correct = random_problem(5, n=80, decimals=decimals)
    right, wrong = confidence[correct][:, None], confidence[~correct]
    expected = np.mean((right > wrong) + 0.5 * (right == wrong))
    ours = score(error_detection_auroc, confidence, correct)
    assert ours == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(("outcome", "state"), [(True, "correct"), (False, "wrong")])
def test_error_detection_is_undefined_without_both_outcomes(outcome, state):
    with pytest.warns(UndefinedMetricWarning, match=f"got only {state} ones, so the result is NaN"):
        assert np.isnan(score(error_detection_auroc, [0.9, 0.8], [outcome, outcome]))


REFERENCE = {
    "caltech69": "caltech69_vitb32",
    "cifar10": "cifar10_laion_vitb32",
    "food9": "food9_semanticlip_vitb32",
    "pets25": "pets25_vitb32",
}


@pytest.mark.feature_sets
@pytest.mark.parametrize("name", REFERENCE)
def test_the_zero_shot_figures_of_real_features_are_reproduced(feature_sets, name):
    """Stored figures have four decimals: ECE in percent, AURC times 1000."""
    with (feature_sets / "reference_results.csv").open(newline="", encoding="utf-8") as file:
        row = next(
            row
            for row in csv.DictReader(file)
            if row["dataset"] == name and row["method"] == "zero-shot"
        )
    with np.load(feature_sets / f"{REFERENCE[name]}.npz") as arrays:
        X, T = (arrays[key].astype(np.float64) for key in ("test_features", "text_features"))
        y = arrays["test_labels"]
    X, T = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (X, T))
    proba, labels = softmax(100 * X @ T.T, axis=1), np.arange(len(T))
    ours = {
        "ece10": 100 * expected_calibration_error(y, proba, labels=labels),
        "aurc_x1000": 1000 * area_under_risk_coverage(y, proba, labels=labels),
        "nll": log_loss(y, proba, labels=labels),
        "brier": brier_score_loss(y, proba, labels=labels),
    }
    # Half a unit of the last stored decimal, and as much for float32 in the stored run.
    assert ours == pytest.approx({key: float(row[key]) for key in ours}, abs=1e-4)
