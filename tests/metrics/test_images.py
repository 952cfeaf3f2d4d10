"""The figures look as they did when somebody looked at them, on white and on black.

Text is left out, because fonts differ between machines. After a change that is meant, look
at the new figures and keep them: ``python tests/metrics/test_images.py``.
"""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from skclip.metrics import (
    ClassReliabilityDisplay,
    ConfidenceHistogramDisplay,
    CoverageAtReliabilityDisplay,
    ErrorDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
)

compare_images = pytest.importorskip("matplotlib.testing.compare").compare_images

BASELINE = Path(__file__).parent / "baseline"
# Root mean square of the differences, of 255. Without the band it is above 6 (tested below);
# versions of the renderer differ by less than 1.
TOLERANCE = 3.0
STYLES = {"light": "default", "dark": "dark_background"}


def predictions(sharpness, n=600, seed=0):
    """Labels and probabilities of three classes; a sharpness of 1 is calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 3))
    y = (logits + rng.gumbel(size=(n, 3))).argmax(axis=1)
    proba = np.exp(sharpness * logits)
    return y, proba / proba.sum(axis=1, keepdims=True)


def reliability(ax, **kwargs):
    ReliabilityDisplay.from_predictions(*predictions(1), ax=ax, **kwargs)


def reliability_of_three(ax):
    for sharpness in (1, 2, 0.5):
        ReliabilityDisplay.from_predictions(
            *predictions(sharpness), ax=ax, name=str(sharpness), n_bins=6, strategy="quantile"
        )


def reliability_of_classes(ax):
    for k in range(3):
        ReliabilityDisplay.from_predictions(
            *predictions(1), ax=ax, kind="class-wise", class_label=k, n_bins=5
        )


def risk_coverage(ax):
    for seed in range(8):  # one more than there are styles
        RiskCoverageDisplay.from_predictions(*predictions(1, 400 + 50 * seed, seed), ax=ax)


def coverage_at_reliability(ax):
    for sharpness in (1, 1.5, 0.5):
        CoverageAtReliabilityDisplay.from_predictions(*predictions(sharpness), ax=ax)


def confidence_histogram(ax):
    ConfidenceHistogramDisplay.from_predictions(*predictions(1), ax=ax)


def reliability_of_every_class(ax):
    ClassReliabilityDisplay.from_predictions(*predictions(2), ax=ax)


def errors_with_abstentions(ax):
    y, proba = predictions(1)
    ErrorDisplay.from_predictions(y, proba, accepted=proba.max(axis=1) > 0.7, ax=ax)


FIGURES = {
    drawing.__name__: drawing
    for drawing in (
        reliability,
        reliability_of_three,
        reliability_of_classes,
        risk_coverage,
        coverage_at_reliability,
        confidence_histogram,
        reliability_of_every_class,
        errors_with_abstentions,
    )
}


def save(drawing, style, path):
    with plt.style.context(["default", STYLES[style]]):
        figure = plt.figure(figsize=(3, 3), dpi=64)
        drawing(figure.add_axes([0.08, 0.08, 0.88, 0.88]))
        for text in figure.findobj(Text):
            text.set_visible(False)
        for ax in figure.axes:
            if ax.get_legend():
                ax.get_legend().set_visible(False)
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)
    return path


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_is_the_one_that_was_looked_at(name, style, tmp_path):
    actual = save(FIGURES[name], style, tmp_path / f"{name}_{style}.png")
    difference = compare_images(str(BASELINE / actual.name), str(actual), tol=TOLERANCE)
    assert difference is None, difference


def test_a_missing_band_is_noticed(tmp_path):
    actual = save(lambda ax: reliability(ax, confidence_level=None), "light", tmp_path / "no.png")
    baseline = BASELINE / "reliability_light.png"
    found = compare_images(str(baseline), str(actual), tol=TOLERANCE, in_decorator=True)
    assert found["rms"] > 2 * TOLERANCE


# Of linear RGB, under complete protanopia, deuteranopia and tritanopia: G. M. Machado, M. M.
# Oliveira, L. A. F. Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", IEEE TVCG, 2009.
COLOUR_BLIND = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def linear(color):
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear RGB."""
    xyz = (np.array(TO_XYZ) @ rgb) / np.sum(TO_XYZ, axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def drawn_colors(style, n):
    """Colours of the first `n` curves on one axes."""
    with plt.style.context(["default", STYLES[style]]):
        ax = plt.figure().add_subplot()
        for _ in range(n):
            display = RiskCoverageDisplay(coverages=[0.5, 1], risks=[0, 0.5], thresholds=[1, 0])
            display.plot(ax=ax)
        colors = [line.get_color() for line in ax.lines]
        background = ax.get_facecolor()
        plt.close(ax.figure)
    return colors, background


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", COLOUR_BLIND)
def test_the_first_curves_differ_for_the_colour_blind(kind, style):
    """By five just noticeable differences, of 2.3 each in CIELAB; dashes and marks differ too."""
    colors, _ = drawn_colors(style, 3)
    seen = [lab(np.clip(np.array(COLOUR_BLIND[kind]) @ linear(color), 0, 1)) for color in colors]
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(pairs) > 5 * 2.3


@pytest.mark.parametrize("style", STYLES)
def test_every_curve_stands_out_from_its_background(style):
    """A ratio of luminances of 2 for all styles, and of 3 (as WCAG asks) for the first four."""
    colors, background = drawn_colors(style, 7)
    luminances = [TO_XYZ[1] @ linear(color) + 0.05 for color in [background[:3], *colors]]
    ratios = [max(v, luminances[0]) / min(v, luminances[0]) for v in luminances[1:]]
    assert min(ratios) > 2
    assert min(ratios[:3]) > 3


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for name, drawing in FIGURES.items():
        for style in STYLES:
            save(drawing, style, BASELINE / f"{name}_{style}.png")
