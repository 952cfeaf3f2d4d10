"""Bands, counts and class-wise curves of the reliability diagram; histogram of right and wrong."""

import pickle

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy.stats import beta, binom, binomtest

from skclip.metrics import (
    ConfidenceHistogramDisplay,
    ReliabilityDisplay,
    classwise_calibration_error,
)
from skclip.metrics.binning import proportion_interval

Y = np.array(["a", "b", "c", "a", "b", "c"])
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


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_is_that_of_clopper_and_pearson(level):
    for n, k in [(1, 0), (1, 1), (7, 3), (50, 49)]:
        low, high = proportion_interval(np.array([k / n]), np.array([float(n)]), level)
        expected = binomtest(k, n).proportion_ci(level, method="exact")
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_covers_at_least_what_it_promises():
    """Over the binomial distribution of 12 samples, for every probability."""
    hits = np.arange(13)
    low, high = proportion_interval(hits / 12, np.full(13, 12.0), 0.9)
    for p in np.linspace(0, 1, 101):
        covered = (low <= p) & (p <= high)
        assert binom.pmf(hits, 12, p)[covered].sum() >= 0.9 - 1e-12


def test_an_empty_bin_has_no_interval():
    low, high = proportion_interval(np.array([np.nan, 0.5]), np.array([0.0, 2.0]), 0.95)
    np.testing.assert_array_equal(np.isnan([low, high]), [[True, False]] * 2)


def test_the_band_is_the_interval_of_each_bin():
    display = ReliabilityDisplay.from_predictions(Y, P, n_bins=2, confidence_level=0.8)
    expected = binomtest(4, 6).proportion_ci(0.8, method="exact")
    assert (display.bin_low[1], display.bin_high[1]) == pytest.approx(expected, abs=1e-12)
    assert np.isnan([display.bin_low[0], display.bin_high[0]]).all()


def test_equal_weights_leave_the_band():
    plain = ReliabilityDisplay.from_predictions(Y, P, n_bins=4)
    weighted = ReliabilityDisplay.from_predictions(Y, P, n_bins=4, sample_weight=np.full(6, 0.3))
    np.testing.assert_allclose(weighted.bin_low, plain.bin_low, rtol=1e-12)


def test_unequal_weights_widen_the_band():
    """Fewer samples count: (sum w)^2 / sum w^2 of them."""
    rng = np.random.default_rng(0)
    confidence = np.full(200, 0.8)
    proba, y = np.column_stack([1 - confidence, confidence]), np.tile([1, 1, 1, 0], 50)
    plain = ReliabilityDisplay.from_predictions(y, proba, n_bins=1)
    weight = np.repeat(rng.exponential(size=50), 4)  # the accuracy stays
    wide = ReliabilityDisplay.from_predictions(y, proba, n_bins=1, sample_weight=weight)
    assert wide.bin_accuracy == pytest.approx(plain.bin_accuracy)
    assert wide.bin_low < plain.bin_low
    assert wide.bin_high > plain.bin_high
    size = weight.sum() ** 2 / (weight**2).sum()
    assert wide.bin_low == pytest.approx(beta.ppf(0.025, 0.75 * size, 0.25 * size + 1), abs=1e-9)


@pytest.mark.parametrize("kwargs", [{"confidence_level": None}, {"show_band": False}])
def test_the_band_can_be_left_out(kwargs):
    def surfaces(display):
        return len(display.ax_.collections)

    with_band = ReliabilityDisplay.from_predictions(Y, P)
    assert surfaces(with_band) == 2  # the surface and the bars
    if "show_band" in kwargs:
        without = with_band.plot(ax=plt.figure().add_subplot(), **kwargs)
    else:
        without = ReliabilityDisplay.from_predictions(Y, P, **kwargs)
    assert surfaces(without) == 0


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_bad_level_is_refused(level):
    with pytest.raises(ValueError, match=r"confidence_level must be a fraction in \(0, 1\), or"):
        ReliabilityDisplay.from_predictions(Y, P, confidence_level=level)


def test_markers_at_the_edge_are_whole():
    """An accuracy of 0 or 1 lies on the frame."""
    display = ReliabilityDisplay.from_predictions(["a", "b"], [[0.9, 0.1], [0.4, 0.6]])
    np.testing.assert_array_equal(display.line_.get_ydata(), [1, 1])
    assert not display.line_.get_clip_on()


def test_columns_of_the_histogram_have_their_counts():
    display = ReliabilityDisplay.from_predictions(Y, P)
    texts = display.histogram_ax_.texts
    assert [text.get_text() for text in texts] == ["1", "2", "2", "1"]
    # Over the middle of their columns, from .5, .6, .8 and .9 on.
    at = [(0.55, 1 / 6), (0.65, 2 / 6), (0.85, 2 / 6), (0.95, 1 / 6)]
    np.testing.assert_allclose([text.xy for text in texts], at)
    again = ReliabilityDisplay.from_predictions(Y, P, ax=display.ax_)
    assert not again.histogram_ax_.texts  # they would cover each other


def test_counts_are_short():
    n = 12_345
    confidence = np.r_[np.full(n, 0.85), np.full(2345, 0.65)]
    display = ReliabilityDisplay.from_predictions(
        np.zeros(len(confidence)), np.column_stack([confidence, 1 - confidence]), labels=[0, 1]
    )
    low, high = display.histogram_ax_.texts
    assert [low.get_text(), high.get_text()] == ["2.3k", "12k"]
    # Over a low column, and inside of one that reaches to the top.
    assert [low.get_va(), high.get_va()] == ["bottom", "top"]
    assert low.xyann[1] > 0 > high.xyann[1]


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (999, "999"),
        (1000, "1.0k"),
        (9949, "9.9k"),
        (9950, "10k"),
        (999_499, "999k"),
        (1_000_000, "1M"),
    ],
)
def test_no_count_has_more_than_four_characters(weight, text):
    display = ReliabilityDisplay.from_predictions(
        [0], [[0.9, 0.1]], labels=[0, 1], sample_weight=[weight]
    )
    assert [shown.get_text() for shown in display.histogram_ax_.texts] == [text]


def test_the_count_of_a_tall_column_is_inside():
    """Above it there is no room."""
    n = [1, 4]
    display = ReliabilityDisplay.from_predictions(
        np.zeros(5), np.repeat([[0.65, 0.35], [0.85, 0.15]], n, axis=0), labels=[0, 1]
    )
    low, tall = display.histogram_ax_.texts
    assert (low.xy, low.get_va()) == ((0.65, 0.2), "bottom")
    assert (tall.xy, tall.get_va()) == ((pytest.approx(0.85), 0.8), "top")


@pytest.mark.parametrize(("n_bins", "n_counts"), [(12, 4), (13, 0)])
def test_many_columns_have_no_counts(n_bins, n_counts):
    proba = np.array([[c, 1 - c] for c in (0.55, 0.65, 0.8, 0.95)])
    display = ReliabilityDisplay.from_predictions([0] * 4, proba, labels=[0, 1], n_bins=n_bins)
    assert len(display.histogram_ax_.texts) == n_counts


def test_the_curve_of_a_class_is_its_frequency_against_its_probability():
    """Column a: .10 .25 | .95 .80 .65 .62, of which two are of class a."""
    display = ReliabilityDisplay.from_predictions(
        Y, P, kind="class-wise", class_label="a", n_bins=2
    )
    np.testing.assert_allclose(display.bin_confidence, [0.175, 3.02 / 4], rtol=1e-14)
    np.testing.assert_allclose(display.bin_accuracy, [0, 2 / 4])
    assert display.line_.get_label() == f"a (ECE = {100 * (0.35 + 1.02) / 6:.1f} %)"
    assert display.ax_.get_ylabel() == "Frequency of the class"


def test_the_errors_of_the_classes_average_to_the_class_wise_error():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(4), size=80)
    y = rng.integers(4, size=80)
    errors = [
        ReliabilityDisplay.from_predictions(
            y, proba, kind="class-wise", class_label=k
        ).expected_calibration_error
        for k in range(4)
    ]
    expected = classwise_calibration_error(y, proba)
    assert np.mean(errors) == pytest.approx(expected, abs=1e-14)
    pooled = ReliabilityDisplay.from_predictions(y, proba, kind="class-wise")
    assert pooled.expected_calibration_error <= expected  # gaps cancel in the pool
    assert pooled.bin_weight.sum() == 4 * 80
    assert pooled.line_.get_label().startswith("pooled ECE = ")


def test_the_pool_weighs_all_probabilities_of_a_sample():
    weight = np.array([1, 2, 1, 3, 1, 2])
    kwargs = {"kind": "class-wise", "n_bins": 3}
    weighted = ReliabilityDisplay.from_predictions(Y, P, sample_weight=weight, **kwargs)
    repeated = ReliabilityDisplay.from_predictions(
        np.repeat(Y, weight), np.repeat(P, weight, axis=0), **kwargs
    )
    np.testing.assert_allclose(weighted.bin_weight, repeated.bin_weight)
    np.testing.assert_allclose(weighted.bin_accuracy, repeated.bin_accuracy, rtol=1e-14)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kind": "classwise"}, "kind must be 'top-label' or 'class-wise'; got 'classwise'"),
        ({"class_label": "a"}, "class_label must be None for kind='top-label'; got 'a'"),
        (
            {"kind": "class-wise", "class_label": "d"},
            "class_label must be one of the labels \\('a', 'b', 'c'\\); got 'd'",
        ),
    ],
)
def test_bad_choices_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ReliabilityDisplay.from_predictions(Y, P, **kwargs)


def test_the_histogram_counts_right_and_wrong():
    """Confidence .95 .85 .80 .65 .62 .55, the third and the fifth wrong."""
    display = ConfidenceHistogramDisplay.from_predictions(Y, P, n_bins=5, name="probe")
    np.testing.assert_array_equal(display.right, [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(display.wrong, [0, 0, 0, 1, 1])
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["right (4)", "wrong (2)"]
    assert display.ax_.get_title() == "probe"


@pytest.mark.parametrize("normalize", [True, False])
def test_columns_are_shares_or_numbers(normalize):
    display = ConfidenceHistogramDisplay.from_predictions(Y, P, n_bins=5, normalize=normalize)
    steps = [patch.get_data().values for patch in display.ax_.patches]
    right, wrong = steps[1], steps[3]
    np.testing.assert_allclose(right, display.right / (4 if normalize else 1))
    np.testing.assert_allclose(wrong, display.wrong / (2 if normalize else 1))
    labels = {True: "Share of right, share of wrong", False: "Number of samples"}
    assert display.ax_.get_ylabel() == labels[normalize]
    assert display.ax_.get_ylim()[0] == 0


def test_a_weight_of_zero_leaves_the_sample_out():
    weight = np.array([1, 0, 0, 2, 1, 1.5])
    display = ConfidenceHistogramDisplay.from_predictions(Y, P, n_bins=5, sample_weight=weight)
    np.testing.assert_array_equal(display.right, [0, 0, 1.5, 2, 1])
    np.testing.assert_array_equal(display.wrong, [0, 0, 0, 1, 0])


def test_without_errors_the_histogram_of_errors_is_empty():
    display = ConfidenceHistogramDisplay.from_predictions([0, 1, 2], np.eye(3))
    np.testing.assert_array_equal(display.wrong, np.zeros(20))
    for patch, expected in zip(display.ax_.patches, [1, 1, 0, 0], strict=True):
        assert patch.get_data().values.sum() == expected
    assert display.ax_.get_legend().get_texts()[1].get_text() == "wrong (0)"


def test_the_histogram_pickles_and_plots_again():
    display = ConfidenceHistogramDisplay.from_predictions(Y, P)
    state = {k: v for k, v in vars(display).items() if not k.endswith("_")}
    again = ConfidenceHistogramDisplay(**pickle.loads(pickle.dumps(state))).plot(name="again")
    assert again.ax_.get_title() == "again"
