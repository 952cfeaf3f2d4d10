"""The paper's two tables, and their figure."""

import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt

from skclip.metrics import CoverageAtReliabilityDisplay, reliability_coverage_table

# Confidence .995 .97 .97 .93 .91 .86 .82 .60 and whether the prediction is right.
CONFIDENCE = np.array([0.995, 0.97, 0.97, 0.93, 0.91, 0.86, 0.82, 0.60])
CORRECT = np.array([1, 1, 1, 1, 0, 1, 1, 0], dtype=bool)
CODES = np.array([0, 0, 1, 2, 3, 1, 2, 3])
N_CLASSES = 5  # one of them never occurs


def predictions():
    """Probabilities over five classes with these confidences, outcomes and true classes."""
    proba = np.tile(((1 - CONFIDENCE) / (N_CLASSES - 1))[:, None], N_CLASSES)
    predicted = np.where(CORRECT, CODES, (CODES + 1) % N_CLASSES)
    proba[np.arange(len(CODES)), predicted] = CONFIDENCE
    return CODES, proba


def table(*args, **kwargs):
    return reliability_coverage_table(*predictions(), *args, labels=range(N_CLASSES), **kwargs)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_table_by_hand():
    """Selected at .80: 7, 6 right (.857); .85: 6, 5 (.833); .90: 5, 4 (.80); .95: 3, 3; .99: 1."""
    found = table()
    assert found.index.tolist() == [0.80, 0.85, 0.90, 0.95, 0.99]
    assert found["n_selected"].tolist() == [7, 6, 5, 3, 1]
    np.testing.assert_allclose(found["accuracy"], [6 / 7, 5 / 6, 4 / 5, 1, 1], rtol=1e-15)
    assert found["reliable"].tolist() == [True, False, False, True, True]
    cross = np.nan
    np.testing.assert_allclose(found["sample_coverage"], [7 / 8, cross, cross, 3 / 8, 1 / 8])
    # True classes: 0 1 2 3 at .80; 0 1 at .95; 0 at .99.
    np.testing.assert_allclose(found["class_coverage"], [4 / 5, cross, cross, 2 / 5, 1 / 5])


def test_the_printed_table_has_crosses():
    shown = table(formatted=True)
    assert shown["sample coverage (%)"].iloc[0].tolist() == ["87.5", "x", "x", "37.5", "12.5"]
    assert shown["class coverage (%)"].iloc[0].tolist() == ["80.0", "x", "x", "40.0", "20.0"]


def test_nothing_selected_is_a_cross():
    found = table([0.999]).iloc[0]
    assert np.isnan(found[["sample_coverage", "class_coverage", "accuracy"]].astype(float)).all()
    assert (found["n_selected"], found["reliable"]) == (0, False)
    assert table([0.999], formatted=True).iloc[0].tolist() == ["x", "x"]


def test_several_classifiers_make_one_table():
    y, proba = predictions()
    certain = (proba == proba.max(axis=1, keepdims=True)).astype(float)
    both = {"ours": proba, "certain": certain}
    found = reliability_coverage_table(y, both, labels=range(N_CLASSES))
    assert found.index.names == ["classifier", "threshold"]
    assert found.loc["ours"].equals(table())
    # Six of eight are right, fewer than any threshold asks for.
    assert not found.loc["certain", "reliable"].any()
    shown = reliability_coverage_table(y, both, labels=range(N_CLASSES), formatted=True)
    assert shown.index.tolist() == ["ours", "certain"]
    assert shown.columns.tolist() == [
        (f"{kind} coverage (%)", level)
        for kind in ("sample", "class")
        for level in ("0.80", "0.85", "0.90", "0.95", "0.99")
    ]
    assert (shown.loc["certain"] == "x").all()


def test_accuracy_equal_to_the_threshold_is_reliable():
    """17 of 20 right keeps a promise of 85 %, also where weights round to a little less."""
    proba = np.column_stack([np.full(20, 0.96), np.full(20, 0.04)])
    y = np.r_[np.zeros(17, dtype=int), [1, 1, 1]]
    assert reliability_coverage_table(y, proba, [0.85])["reliable"].all()
    weighted = reliability_coverage_table(y, proba, [0.85], sample_weight=np.full(20, 0.1))
    assert weighted["accuracy"].item() < 0.85
    assert weighted["reliable"].all()


def test_confidence_equal_to_the_threshold_is_selected():
    """Also where it was computed: 0.1 + 0.7 is a little less than 0.8."""
    assert 0.1 + 0.7 < 0.8
    proba = np.array([[0.1 + 0.7, 0.2]])
    assert reliability_coverage_table([0], proba, [0.8], labels=[0, 1])["n_selected"].item() == 1


def test_everything_is_selected_at_zero():
    found = table([0.0]).iloc[0]
    assert (found["n_selected"], found["reliable"], found["sample_coverage"]) == (8, True, 1)


def test_certain_predictions_are_selected_at_one():
    found = reliability_coverage_table([0, 1, 2], np.eye(3), [1.0])
    assert found.iloc[0].tolist() == [1.0, 1.0, True, 1.0, 3.0]


def test_a_whole_weight_repeats_the_row():
    y, proba = predictions()
    weight = np.array([1, 2, 1, 3, 1, 0, 2, 1])
    twice = reliability_coverage_table(
        np.repeat(y, weight), np.repeat(proba, weight, axis=0), labels=range(N_CLASSES)
    )
    assert table(sample_weight=weight).equals(twice)


def test_an_empty_dict_is_refused():
    with pytest.raises(ValueError, match="y_proba must hold the predictions of at least one"):
        reliability_coverage_table([0], {})


@pytest.mark.parametrize("thresholds", [[], [1.1], [-0.1], [np.nan], [[0.8]], 95])
def test_bad_thresholds_are_refused(thresholds):
    with pytest.raises(ValueError, match=r"thresholds must be fractions in \[0, 1\], at least one"):
        table(thresholds)


def test_a_missing_pandas_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="reliability_coverage_table needs .* pip install pandas"):
        table()


@pytest.mark.parametrize("kind", ["sample", "class"])
def test_the_figure_shows_the_table(kind):
    """Marks where it has numbers, crosses where it has crosses."""
    y, proba = predictions()
    display = CoverageAtReliabilityDisplay.from_predictions(
        y, proba, labels=range(N_CLASSES), kind=kind
    )
    found = table()
    np.testing.assert_array_equal(display.line_.get_xdata(), found.index)
    np.testing.assert_array_equal(display.line_.get_ydata(), found[f"{kind}_coverage"])
    np.testing.assert_array_equal(display.crosses_.get_xdata(), [0.85, 0.90])
    selected = {"sample": [6 / 8, 5 / 8], "class": [4 / 5, 4 / 5]}[kind]
    np.testing.assert_allclose(display.crosses_.get_ydata(), selected, rtol=1e-15)
    assert kind in display.ax_.get_ylabel()
    assert display.ax_.get_xlabel() == "Confidence asked for, and accuracy to be kept"


def test_thresholds_are_sorted_for_the_figure():
    y, proba = predictions()
    kwargs = {"labels": range(N_CLASSES), "thresholds": [0.95, 0.8]}
    display = CoverageAtReliabilityDisplay.from_predictions(y, proba, **kwargs)
    np.testing.assert_array_equal(display.thresholds, [0.8, 0.95])


def test_an_unknown_kind_is_refused():
    y, proba = predictions()
    with pytest.raises(ValueError, match="kind must be 'sample' or 'class'; got 'both'"):
        CoverageAtReliabilityDisplay.from_predictions(
            y, proba, labels=range(N_CLASSES), kind="both"
        )


def test_marks_do_not_move_the_axes():
    """Lines without points have an extent that once shrank the axes to nothing."""
    widths = []
    for y, p in [(0, 0.7), (1, 0.7), (0, 1.0), (1, 1.0)]:  # no mark, then crosses or marks only
        figure, axes = plt.subplots(1, 2, layout="constrained")
        display = CoverageAtReliabilityDisplay.from_predictions(
            [y], [[1 - p, p]], labels=[0, 1], ax=axes[0]
        )
        figure.draw_without_rendering()
        widths.append(axes[0].get_position().width)
        assert not display.line_.get_clip_on()  # whole marks also at the edge
        assert not display.crosses_.get_clip_on()
    assert widths == [widths[0]] * 4
    assert widths[0] > 0.3
