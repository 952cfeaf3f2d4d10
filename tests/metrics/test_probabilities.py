"""What the metrics refuse, and what they accept in spite of appearances."""

import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning

from skclip.metrics import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    classwise_calibration_error,
    confidence_bias,
    coverage_at_risk,
    debiased_calibration_error,
    error_detection_auroc,
    excess_aurc,
    expected_calibration_error,
    maximum_calibration_error,
    probabilities,
    risk_at_coverage,
    risk_coverage_curve,
    smooth_calibration_error,
)

METRICS = {
    "ece": expected_calibration_error,
    "mce": maximum_calibration_error,
    "classwise": classwise_calibration_error,
    "smooth": smooth_calibration_error,
    "bias": confidence_bias,
    "curve": risk_coverage_curve,
    "aurc": area_under_risk_coverage,
    "augrc": area_under_generalized_risk_coverage,
    "excess_aurc": excess_aurc,
    "coverage_at_risk": lambda *args, **kwargs: coverage_at_risk(*args, target_risk=0.3, **kwargs),
    "risk_at_coverage": lambda *args, **kwargs: risk_at_coverage(*args, coverage=0.6, **kwargs),
    "auroc": error_detection_auroc,
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)

Y = ["a", "b", "c", "a"]
P = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.5, 0.3, 0.2], [0.4, 0.35, 0.25]])


def proba_with(row, values):
    proba = P.copy()
    proba[row] = values
    return proba


BAD = {
    "1-D": (Y, P[:, 0], {}, "y_proba must have shape (n_samples, n_classes); got shape (4,)."),
    "no rows": ([], P[:0], {}, "y_proba must have at least one row and one column; got shape"),
    "no columns": (Y, P[:, :0], {}, "y_proba must have at least one row and one column; got"),
    "text": (Y, P.astype(str), {}, "y_proba must be real numbers; got dtype <U"),
    "objects": (Y, P.astype(object), {}, "y_proba must be real numbers; got dtype object."),
    "NaN": (
        Y,
        proba_with(2, [np.nan, 0.5, 0.5]),
        {},
        "y_proba must be finite and in [0, 1]; got nan in row 2 (rows that are not: 2).",
    ),
    "infinity": (Y, proba_with(1, [np.inf, 0, 0]), {}, "y_proba must be finite and in [0, 1]; got"),
    "negative": (
        Y,
        proba_with(1, [-0.1, 0.6, 0.5]),
        {},
        "y_proba must be finite and in [0, 1]; got -0.1 in row 1 (rows that are not: 1).",
    ),
    "above one": (
        Y,
        proba_with(2, [1.2, 0, 0]),
        {},
        "y_proba must be finite and in [0, 1]; got 1.2 in row 2 (rows that are not: 2).",
    ),
    "logits": (Y, 100 * P, {}, "y_proba must be finite and in [0, 1]; got 70.0 in row 0"),
    "row sums": (
        Y,
        proba_with(3, [0.4, 0.4, 0.1]),
        {},
        "Rows of y_proba must sum to 1 within 0.0003; got 0.9 in row 3 (rows that do not: 3).",
    ),
    "length": (Y[:3], P, {}, "y_true and y_proba must have as many rows; got 3 and 4."),
    "one-hot": (np.eye(4), P, {}, "y_true must be one label per sample, of shape (n_samples,)"),
    "missing float": (
        [0.0, np.nan, 1.0, 2.0],
        P,
        {},
        "y_true must have no missing values; got nan at position(s) 1.",
    ),
    "missing object": (
        np.array(["a", None, "b", "c"], dtype=object),
        P,
        {},
        "y_true must have no missing values; got None at position(s) 1.",
    ),
    "mixed types": (
        np.array(["a", 1, "b", 2], dtype=object),
        P,
        {"labels": ["a", "b", 1]},
        "y_true must hold labels of one type; got 'int', 'str'.",
    ),
    "absent class": (
        ["a", "b", "b", "a"],
        P,
        {},
        "y_proba must have one column per label; got 3 columns and 2 distinct labels in y_true.",
    ),
    "few labels": (
        Y,
        P,
        {"labels": ["a", "b"]},
        "labels must name every column of y_proba; got 2 labels and 3 columns.",
    ),
    "repeated label": (
        Y,
        P,
        {"labels": ["a", "b", "a"]},
        "labels must be distinct; got 'a' more than once.",
    ),
    "unknown label": (
        Y,
        P,
        {"labels": ["a", "b", "d"]},
        "y_true must contain only the given labels; got 'c', not in labels ('a', 'b', 'd').",
    ),
    "codes for names": (
        [0, 1, 2, 0],
        P,
        {"labels": ["a", "b", "c"]},
        "y_true must contain only the given labels; got 0, 1, 2, not in labels ('a', 'b', 'c').",
    ),
    "weight length": (
        Y,
        P,
        {"sample_weight": [1, 1]},
        "sample_weight must have shape (4,), one weight per sample; got shape (2,).",
    ),
    "weight sign": (
        Y,
        P,
        {"sample_weight": [1, -1, 1, 1]},
        "sample_weight must be finite and not negative; got -1.0 at position(s) 1.",
    ),
    "weight NaN": (
        Y,
        P,
        {"sample_weight": [1, 1, np.nan, 1]},
        "sample_weight must be finite and not negative; got nan at position(s) 2.",
    ),
    "weight zero": (
        Y,
        P,
        {"sample_weight": np.zeros(4)},
        "sample_weight must have at least one positive entry; got zeros only.",
    ),
}


@every_metric
@pytest.mark.parametrize("case", BAD)
def test_a_bad_argument_is_named(metric, case):
    y, proba, kwargs, message = BAD[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        metric(y, proba, **kwargs)


def test_at_most_five_offenders_are_listed():
    with pytest.raises(ValueError, match=re.escape("0, 1, 2, 3, 4 and 7 more")):
        expected_calibration_error(np.arange(12) % 3, np.full((12, 3), 0.5))


@pytest.mark.parametrize("n_bins", [0, -1, 2.0, "10", True, None])
@pytest.mark.parametrize("metric", ["ece", "mce", "classwise"])
def test_a_bad_number_of_bins_is_refused(metric, n_bins):
    with pytest.raises(ValueError, match="n_bins must be an integer of at least 1; got"):
        METRICS[metric](Y, P, n_bins=n_bins)


@pytest.mark.parametrize("metric", ["ece", "mce", "classwise"])
def test_an_unknown_strategy_is_refused(metric):
    with pytest.raises(ValueError, match="strategy must be 'uniform' .* got 'equal'"):
        METRICS[metric](Y, P, strategy="equal")


@pytest.mark.parametrize("target", [-0.1, 1.1, np.nan])
def test_a_risk_outside_its_range_is_refused(target):
    with pytest.raises(ValueError, match=re.escape("target_risk must be a fraction in [0, 1]")):
        coverage_at_risk(Y, P, target_risk=target)


@pytest.mark.parametrize("coverage", [0.0, 1.1, np.nan])
def test_a_coverage_outside_its_range_is_refused(coverage):
    with pytest.raises(ValueError, match=re.escape("coverage must be a fraction in (0, 1]")):
        risk_at_coverage(Y, P, coverage=coverage)


@pytest.mark.parametrize("case", sorted(case for case in BAD if "weight" not in case))
def test_a_bad_argument_of_the_debiased_error_is_named(case):
    """It takes no weights, and otherwise what all metrics take."""
    y, proba, kwargs, message = BAD[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        debiased_calibration_error(y, proba, **kwargs)


def test_offenders_are_found_beyond_the_first_block(monkeypatch):
    """Large arrays are checked block by block; the message is that of the whole."""
    monkeypatch.setattr(probabilities, "_BLOCK_ENTRIES", 6)
    proba = np.full((9, 3), 1 / 3)
    proba[[4, 8]] = [np.nan, 0.5, 0.5]
    with pytest.raises(ValueError, match=re.escape("got nan in row 4 (rows that are not: 4, 8)")):
        expected_calibration_error(np.arange(9) % 3, proba)


@every_metric
def test_blocks_change_nothing(metric, monkeypatch):
    _, y, proba = sample(0, decimals=9)
    whole = metric(y, proba)
    monkeypatch.setattr(probabilities, "_BLOCK_ENTRIES", 12)
    np.testing.assert_array_equal(metric(y, proba), whole)


@every_metric
def test_one_class_is_certain_and_right(metric):
    """Its probability is 1 everywhere: no error of any kind, and the whole is covered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)  # no error to detect
        value = metric(["a", "a"], np.ones((2, 1)))
    perfect = {
        METRICS["curve"]: ([1.0], [0.0], [1.0]),
        METRICS["coverage_at_risk"]: 1.0,
        METRICS["auroc"]: np.nan,
    }.get(metric, 0.0)
    np.testing.assert_allclose(np.ravel(value), np.ravel(perfect), rtol=0, atol=1e-15)


CERTAINTIES = {
    "ece": 1 / 4,
    "mce": 1 / 4,
    "classwise": (1 + 0 + 1) / 4 / 3,
    "smooth": 1 / 4,
    "bias": 1 / 4,
    "curve": ([1.0], [1 / 4], [1.0]),
    "aurc": 1 / 4,
    "augrc": 1 / 8,
    "excess_aurc": 1 / 4 - 1 / 16,
    "coverage_at_risk": 1.0,
    "risk_at_coverage": 1 / 4,
    "auroc": 0.5,
}


@pytest.mark.parametrize("name", METRICS)
def test_certainties_are_defined(name):
    """Probabilities of exactly 0 and 1, one of four wrong: an a for a c, all of them tied."""
    value = METRICS[name](["a", "b", "c", "a"], np.eye(3)[[0, 1, 0, 0]])
    # The smooth error is a sum of 8192 entries of an inverse transform.
    atol = 1e-14 if name == "smooth" else 1e-15
    np.testing.assert_allclose(np.ravel(value), np.ravel(CERTAINTIES[name]), rtol=0, atol=atol)


@every_metric
def test_probabilities_in_single_precision_are_accepted(metric):
    """A float32 softmax misses 1 by more than float64 rounding, also once it is converted."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(200, 1000)).astype(np.float32)
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert proba.dtype == np.float32
    assert np.abs(proba.astype(float).sum(axis=1) - 1).max() > 1e-8
    y = rng.integers(1000, size=200)
    single = metric(y, proba, labels=np.arange(1000))
    double = metric(y, proba.astype(np.float64), labels=np.arange(1000))
    np.testing.assert_array_equal(single, double)


@every_metric
def test_rounding_beyond_one_is_accepted(metric):
    """The mean of several predictions of exactly 1 may exceed 1 by an ulp."""
    exact, rounded = np.eye(3), np.eye(3) * np.nextafter(1, 2)
    y, labels = ["a", "b", "a"], ["a", "b", "c"]
    np.testing.assert_array_equal(
        metric(y, rounded, labels=labels), metric(y, exact, labels=labels)
    )


@every_metric
def test_the_type_of_labels_is_irrelevant(metric):
    expected = metric(Y, P)
    codes = [0, 1, 2, 0]
    for y, labels in [
        (codes, None),
        (np.array(codes, dtype=np.uint8), [0, 1, 2]),
        (np.array(codes, dtype=float)[:, None], None),
        (np.array(Y, dtype=object), np.array(["a", "b", "c"])),
        ([5, 7, 9, 5], [5, 7, 9]),
    ]:
        np.testing.assert_array_equal(metric(y, P, labels=labels), expected)


@every_metric
def test_pandas_input_is_accepted(metric):
    pd = pytest.importorskip("pandas")
    frame, series = pd.DataFrame(P, columns=list("abc")), pd.Series(Y, dtype="category")
    np.testing.assert_array_equal(metric(series, frame), metric(Y, P))


@every_metric
def test_labels_give_the_order_of_the_columns(metric):
    """Permuting the columns together with the labels changes nothing."""
    permuted = metric(Y, P[:, [2, 0, 1]], labels=["c", "a", "b"])
    np.testing.assert_allclose(permuted, metric(Y, P), rtol=1e-15)


@every_metric
def test_an_absent_class_keeps_its_column(metric):
    """As if it had a label that sorts elsewhere: no other column takes its place."""
    y = ["a", "b", "b", "a"]
    found = metric(y, P, labels=["a", "b", "c"])
    moved = metric(y, P[:, [2, 0, 1]], labels=["A", "a", "b"])
    np.testing.assert_allclose(found, moved, rtol=1e-15)


@every_metric
def test_the_input_is_not_changed(metric):
    proba, weight = P.copy(), np.array([1.0, 0.0, 2.0, 1.0])
    metric(Y, proba, sample_weight=weight)
    np.testing.assert_array_equal(proba, P)
    np.testing.assert_array_equal(weight, [1, 0, 2, 1])


# The symmetries that every metric shares. Rounded probabilities make ties, many weights
# make uneven ones.
def sample(seed, n=60, c=4, decimals=1):
    rng = np.random.default_rng(seed)
    proba = rng.multinomial(10**decimals, rng.dirichlet(np.ones(c)), size=n) / 10**decimals
    return rng, rng.integers(c, size=n), proba


@every_metric
@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_samples_is_irrelevant(metric, seed):
    rng, y, proba = sample(seed)
    order = rng.permutation(len(y))
    shuffled = metric(y[order], proba[order])
    np.testing.assert_allclose(shuffled, metric(y, proba), rtol=0, atol=1e-14)


def quantile(metric):
    return lambda *args, **kwargs: metric(*args, strategy="quantile", **kwargs)


WEIGHTED = METRICS | {
    f"{name}-quantile": quantile(METRICS[name]) for name in ("ece", "mce", "classwise")
}
weighted_metric = pytest.mark.parametrize("metric", WEIGHTED.values(), ids=WEIGHTED)


@weighted_metric
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("low", [0, 1, 2])
@pytest.mark.parametrize("decimals", [1, 9])
def test_a_whole_weight_repeats_the_row(metric, seed, low, decimals):
    rng, y, proba = sample(seed, decimals=decimals)
    weight = rng.integers(low, 4, size=len(y))
    np.testing.assert_allclose(
        metric(y, proba, labels=range(4), sample_weight=weight),
        metric(np.repeat(y, weight), np.repeat(proba, weight, axis=0), labels=range(4)),
        rtol=0,
        atol=1e-13,
    )


@weighted_metric
def test_weight_two_everywhere_is_every_row_twice(metric):
    _, y, proba = sample(0, decimals=9)
    np.testing.assert_allclose(
        metric(y, proba, sample_weight=np.full(len(y), 2)),
        metric(np.repeat(y, 2), np.repeat(proba, 2, axis=0)),
        rtol=0,
        atol=1e-13,
    )


@weighted_metric
def test_unit_weights_change_nothing(metric):
    _, y, proba = sample(1, decimals=9)
    np.testing.assert_allclose(
        metric(y, proba, sample_weight=np.ones(len(y))), metric(y, proba), rtol=0, atol=1e-15
    )


@weighted_metric
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("scale", [0.1, 3.0, 1e-12])
def test_the_scale_of_weights_is_irrelevant(metric, seed, scale):
    rng, y, proba = sample(seed)
    weight = rng.uniform(0.05, 3, size=len(y))
    np.testing.assert_allclose(
        metric(y, proba, sample_weight=scale * weight),
        metric(y, proba, sample_weight=weight),
        rtol=0,
        atol=1e-12,
    )


@weighted_metric
def test_equal_weights_of_any_size_are_no_weights(metric):
    """Also 0.1, whose running sum is not a multiple of itself."""
    _, y, proba = sample(2, decimals=9)
    np.testing.assert_allclose(
        metric(y, proba, sample_weight=np.full(len(y), 0.1)), metric(y, proba), rtol=0, atol=1e-14
    )
