"""The displays: what they store, what they draw, and how they share axes."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skclip.metrics import (
    ConfidenceHistogramDisplay,
    CoverageAtReliabilityDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    area_under_risk_coverage,
    expected_calibration_error,
    risk_coverage_curve,
)

plt = pytest.importorskip("matplotlib.pyplot")
CURVES = [ReliabilityDisplay, RiskCoverageDisplay, CoverageAtReliabilityDisplay]
every_curve = pytest.mark.parametrize("display_class", CURVES)
every_display = pytest.mark.parametrize("display_class", [*CURVES, ConfidenceHistogramDisplay])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    """A classifier with string labels, held-out inputs and labels."""
    X, y = load_iris(return_X_y=True)
    y = np.array(["setosa", "versicolor", "virginica"])[y]
    return LogisticRegression(C=0.1).fit(X[::2], y[::2]), X[1::2], y[1::2]


def stored(display):
    """What the constructor took; attributes that end in _ belong to the figure."""
    return {name: value for name, value in vars(display).items() if not name.endswith("_")}


def assert_same(ours, theirs):
    assert stored(ours).keys() == stored(theirs).keys()
    for name, value in stored(ours).items():
        np.testing.assert_array_equal(value, stored(theirs)[name], name)


@every_display
def test_estimator_and_predictions_give_the_same_display(display_class, fitted):
    estimator, X, y = fitted
    kwargs = {"sample_weight": np.arange(1.0, 1 + len(y))}
    ours = display_class.from_estimator(estimator, X, y, **kwargs)
    assert ours.name == "LogisticRegression"
    proba = estimator.predict_proba(X)
    assert_same(ours, display_class.from_predictions(y, proba, name=ours.name, **kwargs))


@every_display
def test_a_class_that_is_absent_from_y_keeps_its_column(display_class, fitted):
    """The columns are named by the estimator, here a pipeline."""
    _, X, y = fitted
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    X, y = X[y != "setosa"], y[y != "setosa"]
    proba, labels = pipe.predict_proba(X), ["setosa", "versicolor", "virginica"]
    ours = display_class.from_estimator(pipe, X, y)
    assert ours.name == "Pipeline"
    assert_same(ours, display_class.from_predictions(y, proba, labels=labels, name=ours.name))


@every_display
def test_the_labels_are_not_to_be_given_beside_an_estimator(display_class, fitted):
    with pytest.raises(TypeError, match="multiple values for keyword argument 'labels'"):
        display_class.from_estimator(*fitted, labels=["setosa", "versicolor", "virginica"])


@every_display
def test_an_estimator_without_probabilities_is_refused(display_class, fitted):
    _, X, y = fitted
    with pytest.raises(ValueError, match="estimator must have predict_proba; got LinearSVC"):
        display_class.from_estimator(LinearSVC().fit(X, y), X, y)


@every_curve
def test_the_display_stores_arrays_only(display_class, fitted):
    """What was computed pickles and plots again, without data, estimator or figure."""
    display = display_class.from_estimator(*fitted)
    state = stored(display)
    assert state.keys() == inspect.signature(display_class).parameters.keys()
    assert all(isinstance(value, np.ndarray | float | str | None) for value in state.values())
    again = display_class(**pickle.loads(pickle.dumps(state))).plot()
    np.testing.assert_array_equal(again.line_.get_xydata(), display.line_.get_xydata())
    assert again.line_.get_label() == display.line_.get_label()


def test_the_reliability_curve_is_accuracy_against_confidence(fitted):
    estimator, X, y = fitted
    display = ReliabilityDisplay.from_estimator(estimator, X, y, n_bins=5)
    proba = estimator.predict_proba(X)
    confidence = proba.max(axis=1)
    correct = estimator.classes_[proba.argmax(axis=1)] == y
    for b, (low, high) in enumerate(zip(np.arange(5) / 5, np.arange(1, 6) / 5, strict=True)):
        inside = (confidence >= low) & (confidence < high)
        assert display.bin_weight[b] == inside.sum()
        if inside.any():
            assert display.bin_confidence[b] == pytest.approx(confidence[inside].mean(), abs=1e-15)
            assert display.bin_accuracy[b] == pytest.approx(correct[inside].mean(), abs=1e-15)
        else:
            assert np.isnan(display.bin_confidence[b])
    filled = display.bin_weight > 0
    np.testing.assert_array_equal(display.line_.get_xdata(), display.bin_confidence[filled])
    np.testing.assert_array_equal(display.histogram, display.bin_weight / len(y))


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_in_the_legend_is_that_of_the_metric(fitted, strategy, weighted):
    estimator, X, y = fitted
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y)) if weighted else None
    kwargs = {"strategy": strategy, "sample_weight": weight}
    display = ReliabilityDisplay.from_estimator(estimator, X, y, name="probe", **kwargs)
    expected = expected_calibration_error(y, estimator.predict_proba(X), **kwargs)
    assert display.expected_calibration_error == pytest.approx(expected, abs=1e-12)
    kind = "ECE" if strategy == "uniform" else "AECE"
    (text,) = display.ax_.get_legend().get_texts()
    assert text.get_text() == f"probe ({kind} = {100 * expected:.1f} %)"


def test_the_risk_coverage_line_is_the_curve(fitted):
    estimator, X, y = fitted
    proba = estimator.predict_proba(X)
    display = RiskCoverageDisplay.from_estimator(estimator, X, y, name="probe")
    coverages, risks, thresholds = risk_coverage_curve(y, proba)
    np.testing.assert_array_equal(display.line_.get_xdata(), coverages)
    np.testing.assert_array_equal(display.line_.get_ydata(), risks)
    np.testing.assert_array_equal(display.thresholds, thresholds)
    assert display.aurc == area_under_risk_coverage(y, proba)
    (text,) = display.ax_.get_legend().get_texts()
    assert text.get_text() == f"probe (AURC × 1000 = {1000 * display.aurc:.1f})"


@every_curve
def test_several_displays_share_one_axes(display_class, fitted):
    """Each has its own colour, dashes and entry; frame and histogram are drawn once."""
    estimator, X, y = fitted
    first = display_class.from_estimator(estimator, X, y, name="one")
    n_axes = len(first.figure_.axes)
    others = [display_class.from_estimator(estimator, X, y, ax=first.ax_, name=n) for n in "ab"]
    lines = [display.line_ for display in (first, *others)]
    assert len({line.get_color() for line in lines}) == 3
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == 3
    assert len(first.ax_.get_legend().get_texts()) == 3
    assert len(first.figure_.axes) == n_axes
    assert {display.ax_ for display in others} == {first.ax_}
    # A diagonal once, or the dotted line and the crosses of each.
    extra = {ReliabilityDisplay: 1, RiskCoverageDisplay: 0, CoverageAtReliabilityDisplay: 2 * 3}
    assert len(first.ax_.lines) == 3 + extra[display_class]


FRAMES = {
    ReliabilityDisplay: ("", "Accuracy", (0, 1), (0, 1)),
    RiskCoverageDisplay: (
        "Coverage (share of samples accepted)",
        "Risk (error rate among accepted)",
        (0, 1),
        None,
    ),
    CoverageAtReliabilityDisplay: (
        "Confidence asked for, and accuracy to be kept",
        "Coverage of samples (× if accuracy is lower)",
        None,
        (0, 1),
    ),
    ConfidenceHistogramDisplay: (
        "Confidence (largest class probability)",
        "Share of right, share of wrong",
        (0, 1),
        None,
    ),
}


@every_display
def test_the_axes_say_what_they_show(display_class, fitted):
    ax = display_class.from_estimator(*fitted).ax_
    xlabel, ylabel, xlim, ylim = FRAMES[display_class]
    assert (ax.get_xlabel(), ax.get_ylabel()) == (xlabel, ylabel)
    assert ax.get_xlim() == (xlim or ax.get_xlim())
    assert ax.get_ylim() == (ylim or (0, ax.get_ylim()[1]))
    visible = {side for side, spine in ax.spines.items() if spine.get_visible()}
    assert visible == {"left", "bottom"}


@every_display
def test_a_long_name_does_not_squeeze_the_axes(display_class, fitted):
    """A legend wider than its axes once shrank them to nothing."""
    widths = []
    for name in ("a", 100 * "a"):
        figure, axes = plt.subplots(1, 2, layout="constrained")
        display = display_class.from_estimator(*fitted, ax=axes[0], name=name)
        display.ax_.set_title("")  # a title of that length does take the room
        figure.draw_without_rendering()
        widths.append(axes[0].get_position().width)
    assert widths[0] == widths[1] > 0.3


@every_curve
def test_the_eighth_curve_has_the_style_of_the_first(display_class, fitted):
    estimator, X, y = fitted
    ax, lines = None, []
    for _ in range(9):
        display = display_class.from_estimator(estimator, X, y, ax=ax)
        ax, lines = display.ax_, [*lines, display.line_]

    def style(line):
        return line.get_color(), str(line._dash_pattern), line.get_marker()

    assert [style(line) for line in lines[7:]] == [style(line) for line in lines[:2]]
    assert len({style(line) for line in lines}) == 7
    assert len(ax.get_legend().get_texts()) == 9


@every_curve
def test_keywords_reach_the_line(display_class, fitted):
    """Also under matplotlib's short names, which must not clash with the defaults."""
    display = display_class.from_estimator(*fitted, c="red", lw=4, ls=":", marker="x", label="mine")
    line = display.line_
    assert (line.get_color(), line.get_linewidth(), line.get_linestyle()) == ("red", 4, ":")
    assert (line.get_marker(), line.get_label()) == ("x", "mine")


@every_curve
def test_the_name_given_to_plot_wins(display_class, fitted):
    display = display_class.from_estimator(*fitted, name="old").plot(name="new")
    assert display.line_.get_label().startswith("new")


def test_without_name_and_area_there_is_no_legend():
    display = RiskCoverageDisplay(coverages=[0.5, 1], risks=[0, 0.5], thresholds=[0.9, 0.6])
    assert display.plot().ax_.get_legend() is None


def test_without_a_name_the_legend_has_the_error_alone(fitted):
    estimator, X, y = fitted
    display = ReliabilityDisplay.from_predictions(y, estimator.predict_proba(X))
    assert display.line_.get_label().startswith("ECE = ")
    display = RiskCoverageDisplay.from_predictions(y, estimator.predict_proba(X))
    assert display.line_.get_label().startswith("AURC × 1000 = ")


def test_the_histogram_can_be_left_out(fitted):
    display = ReliabilityDisplay.from_estimator(*fitted, show_histogram=False)
    assert display.histogram_ax_ is None
    assert len(display.figure_.axes) == 1
    assert display.ax_.get_xlabel() == "Confidence (largest class probability)"


@pytest.mark.parametrize("layout", [None, "tight", "constrained"])
def test_the_histogram_stays_within_the_place_of_the_axes(fitted, layout):
    """In a grid, whatever arranges it, the pair covers the neighbour's height."""
    figure, (left, right) = plt.subplots(1, 2, layout=layout)
    display = ReliabilityDisplay.from_estimator(*fitted, ax=left)
    RiskCoverageDisplay.from_estimator(*fitted, ax=right)
    figure.draw_without_rendering()
    upper, lower = left.get_position(), display.histogram_ax_.get_position()
    assert lower.y1 < upper.y0
    assert lower.height < upper.height / 2
    assert upper.y1 == pytest.approx(right.get_position().y1, abs=0.02)
    assert lower.y0 == pytest.approx(right.get_position().y0, abs=0.02)
    assert (lower.x0, lower.x1) == pytest.approx((upper.x0, upper.x1))


def test_two_diagrams_of_a_figure_have_a_histogram_each(fitted):
    """The label below belongs to the lower axes, which share the scale of their diagram."""
    _, pair = plt.subplots(1, 2)
    displays = [ReliabilityDisplay.from_estimator(*fitted, ax=ax) for ax in pair]
    below = [display.histogram_ax_ for display in displays]
    assert len({*pair, *below}) == 4
    for ax, lower in zip(pair, below, strict=True):
        assert ax.get_shared_x_axes().joined(ax, lower)
        assert (ax.get_xlabel(), lower.get_xlabel()) == (
            "",
            "Confidence (largest class probability)",
        )


def test_axes_outside_a_grid_are_split_too(fitted):
    figure = plt.figure()
    ax = figure.add_axes([0.1, 0.1, 0.8, 0.8])
    display = ReliabilityDisplay.from_estimator(*fitted, ax=ax)
    upper, lower = ax.get_position(), display.histogram_ax_.get_position()
    assert lower.y0 == pytest.approx(0.1)
    assert upper.y1 == pytest.approx(0.9)
    assert lower.y1 < upper.y0
    ReliabilityDisplay.from_estimator(*fitted, ax=ax)
    assert len(figure.axes) == 2


def test_the_first_accepted_samples_do_not_set_the_scale():
    """The most confident of 1000 samples is wrong: risk 1 at coverage 0.001."""
    confidence, y = np.linspace(0.99, 0.51, 1000), np.ones(1000, dtype=int)
    y[0] = 0
    proba = np.column_stack([1 - confidence, confidence])
    display = RiskCoverageDisplay.from_predictions(y, proba, labels=[0, 1])
    assert display.risks[0] == 1
    assert display.ax_.get_ylim() == pytest.approx((0, 1.1 / 50))  # one error in 50
    worse = RiskCoverageDisplay.from_predictions(1 - y, proba, labels=[0, 1], ax=display.ax_)
    top = worse.ax_.get_ylim()[1]
    assert top == pytest.approx(1.1 * 999 / 1000)
    display.plot(ax=worse.ax_)  # which needs less room, does not take the other's
    assert worse.ax_.get_ylim()[1] == top


def test_a_missing_matplotlib_is_named_with_its_remedy(monkeypatch):
    display = RiskCoverageDisplay(coverages=[1.0], risks=[0.1], thresholds=[0.5])
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="RiskCoverageDisplay.plot needs .* pip install"):
        display.plot()


@every_display
def test_the_figure_of_its_own_has_its_size_and_the_first_colour(display_class, fitted, tmp_path):
    """Blue, in as many pixels as the legend's line has at least."""
    display = display_class.from_estimator(*fitted)
    display.figure_.savefig(tmp_path / "figure.png", dpi=100)
    pixels = plt.imread(tmp_path / "figure.png")
    size = (480, 440) if display_class is ReliabilityDisplay else (360, 480)
    assert pixels.shape[:2] == size
    blue = np.abs(pixels[..., :3] - to_rgb("#0072B2")).max(axis=2) < 1 / 255
    assert blue.sum() > 20


def test_importing_the_metrics_loads_neither_matplotlib_nor_netcal():
    """Both are paid for by the first call that needs them."""
    code = "import sys, skclip.metrics; print({'matplotlib', 'netcal'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
