"""Reliability diagram of the predicted class's confidence, or of the probability of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.metrics.binning import Strategy, bin_confidences, bin_edges, proportion_interval
from skclip.metrics.histogram_axes import draw_counts, histogram_axes, split_off_histogram_axes
from skclip.metrics.plotting import REFERENCE_COLOR, PredictionDisplay, curve_style, draw_frame
from skclip.metrics.probabilities import (
    Float,
    Labels,
    Predictions,
    TopLabel,
    Weights,
    blocks,
    check_predictions,
    in_order,
    in_range,
    top_label,
)
from skclip.utils.messages import listing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ReliabilityDisplay"]

Kind = Literal["top-label", "class-wise"]
_AXIS_LABELS = {
    "top-label": ("Confidence (largest class probability)", "Accuracy"),
    "class-wise": ("Probability of the class", "Frequency of the class"),
}


@dataclass(kw_only=True, eq=False, repr=False)
class ReliabilityDisplay(PredictionDisplay):
    """Accuracy against confidence, bin by bin, over a histogram of the confidence.

    A calibrated classifier lies on the diagonal; below it, the classifier is
    over-confident. Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    bin_edges : ndarray of shape (n_bins + 1,)
        Edges of the bins from 0 to 1.
    bin_weight : ndarray of shape (n_bins,)
        Total weight of the samples in each bin, or their number.
    bin_confidence : ndarray of shape (n_bins,)
        Mean confidence in each bin, in [0, 1]; NaN where the bin is empty.
    bin_accuracy : ndarray of shape (n_bins,)
        Share of correct predictions in each bin, in [0, 1]; NaN where the bin is empty.
    bin_low, bin_high : ndarray of shape (n_bins,), default=None
        Confidence interval of the accuracy of each bin. None: no band is drawn.
    histogram : ndarray of shape (n_columns,), default=None
        Share of the samples by confidence, in columns of equal width over [0, 1] whatever
        the bins are. None: no histogram is drawn.
    strategy : {"uniform", "quantile"}, default="uniform"
        Whether the bins have equal width or equal count.
    kind : {"top-label", "class-wise"}, default="top-label"
        Whether "confidence" and "accuracy" are those of the predicted class, or
        probability and frequency of classes.
    class_label : label, default=None
        With ``kind="class-wise"``: the one class that is shown, added to the name in the
        legend; None for all classes pooled.
    name : str, default=None
        Name of the classifier for the legend.

    Attributes
    ----------
    expected_calibration_error : float
        The error of these bins, shown in the legend; fraction in [0, 1].
    line_ : matplotlib Line2D
        The curve, after :meth:`plot`.
    ax_ : matplotlib Axes
        Axes with the curve.
    histogram_ax_ : matplotlib Axes or None
        Axes with the histogram below it.
    figure_ : matplotlib Figure
        Figure that contains them.

    See Also
    --------
    expected_calibration_error : The number in the legend.
    sklearn.calibration.CalibrationDisplay : For the probability of one class of two.

    Notes
    -----
    The band is Clopper and Pearson's interval of each bin's accuracy, bin by bin: of 10 bins of
    a calibrated classifier at level 0.95, one lies off the diagonal every other time or less.
    With sample weights the size of a bin is Kish's effective one.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip.metrics import ReliabilityDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(C=0.1).fit(X[::2], y[::2])
    >>> display = ReliabilityDisplay.from_estimator(classifier, X[1::2], y[1::2], n_bins=5)
    >>> display.bin_weight
    array([ 0.,  0., 26., 19., 30.])
    """

    _figsize = (4.4, 4.8)
    bin_edges: Float
    bin_weight: Float
    bin_confidence: Float
    bin_accuracy: Float
    bin_low: Float | None = None
    bin_high: Float | None = None
    histogram: Float | None = None
    strategy: Strategy = "uniform"
    kind: Kind = "top-label"
    class_label: Any = None
    name: str | None = None

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance between accuracy and confidence, weighted by the bins' weight."""
        gap = np.abs(np.asarray(self.bin_accuracy) - self.bin_confidence)
        return float(np.nansum(gap * self.bin_weight) / np.sum(self.bin_weight))

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        n_bins: int = 10,
        strategy: Strategy = "uniform",
        kind: Kind = "top-label",
        class_label: Any = None,
        confidence_level: float | None = 0.95,
        labels: Labels = None,
        sample_weight: Weights = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the reliability diagram of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities.
        n_bins : int, default=10
            Number of bins, at least 1.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equal count.
        kind : {"top-label", "class-wise"}, default="top-label"
            "top-label" is the confidence in the predicted class against its accuracy.
            "class-wise" is the probability of every class against its frequency, all classes
            pooled; most of these probabilities are small.
        class_label : label, default=None
            With ``kind="class-wise"``: the one class to show instead of all.
        confidence_level : float or None, default=0.95
            Level of the band, fraction in (0, 1); None for no band.
        labels : array-like of shape (n_classes,), default=None
            Label of each column of `y_proba`; None for the sorted labels of `y_true`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the legend.
        **kwargs : dict
            Passed to :meth:`plot`: `ax` and what else it takes.

        Returns
        -------
        display : ReliabilityDisplay
            The display, plotted.
        """
        _check_level(confidence_level)
        y_proba, labels = in_order(y_proba, labels, y_true)
        confidence, outcome, weight = _outcomes(
            check_predictions(y_true, y_proba, labels, sample_weight),
            np.unique(y_true) if labels is None else np.asarray(labels),
            kind,
            class_label,
        )
        edges = bin_edges(confidence, weight, n_bins, strategy)
        bins = bin_confidences(confidence, outcome, weight, edges)
        low = high = None
        if confidence_level is not None:
            low, high = proportion_interval(bins.accuracy, bins.effective_size, confidence_level)
        columns = bin_edges(confidence, None, n_bins, "uniform")
        heights = bin_confidences(confidence, outcome, weight, columns).weight
        display = cls(
            bin_edges=bins.edges,
            bin_weight=bins.weight,
            bin_confidence=bins.confidence,
            bin_accuracy=bins.accuracy,
            bin_low=low,
            bin_high=high,
            histogram=heights / heights.sum(),
            strategy=strategy,
            kind=kind,
            class_label=class_label,
            name=name,
        )
        return display.plot(**kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        name: str | None = None,
        show_histogram: bool = True,
        show_band: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None. With a histogram the axes give up
            their lower fifth, once: further displays on them share it.
        name : str, default=None
            Name for the legend; the display's own when None.
        show_histogram : bool, default=True
            Whether to draw the histogram of the confidence below, with the number of
            samples over each column as long as it shows one display only.
        show_band : bool, default=True
            Whether to draw the confidence intervals of the bins.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`; by default each further display on
            the same axes has its own colour, dashes and marker.

        Returns
        -------
        display : ReliabilityDisplay
            The display itself.
        """
        ax = self._axes(ax)
        # Whole markers also where the accuracy is 0 or 1.
        style = curve_style(ax, kwargs, label=self._label(name), markersize=5, clip_on=False)
        self._draw_diagonal(ax)
        filled = np.asarray(self.bin_weight) > 0
        confidence = np.asarray(self.bin_confidence)[filled]
        (self.line_,) = ax.plot(confidence, np.asarray(self.bin_accuracy)[filled], **style)
        if show_band and self.bin_low is not None and self.bin_high is not None:
            low, high = np.asarray(self.bin_low)[filled], np.asarray(self.bin_high)[filled]
            color = self.line_.get_color()
            # The interval of each bin, and a surface between them to lead the eye.
            ax.fill_between(confidence, low, high, color=color, alpha=0.15, lw=0, zorder=1.5)
            ax.vlines(confidence, low, high, color=color, alpha=0.6, linewidth=1, zorder=1.6)
        self._finish(ax, "best")
        self.histogram_ax_ = self._draw_histogram(ax) if show_histogram else None
        return self

    def _label(self, name: str | None) -> str:
        parts = [self.name if name is None else name, self.class_label]
        name = ", ".join(str(part) for part in parts if part is not None)
        kind = "AECE" if self.strategy == "quantile" else "ECE"
        # Not the mean over classes of classwise_calibration_error: gaps cancel in the pool.
        pooled = self.kind == "class-wise" and self.class_label is None
        error = f"{'pooled ' * pooled}{kind} = {100 * self.expected_calibration_error:.1f} %"
        return f"{name} ({error})" if name else error

    def _draw_diagonal(self, ax: Axes) -> None:
        """The diagonal and the frame, once per axes."""
        gid = "skclip-diagonal"
        if any(line.get_gid() == gid for line in ax.lines):
            return
        ax.plot([0, 1], [0, 1], color=REFERENCE_COLOR, linewidth=1, zorder=1, gid=gid)
        xlabel, ylabel = _AXIS_LABELS[self.kind]
        draw_frame(ax, xlim=(0, 1), ylim=(0, 1), xlabel=xlabel, ylabel=ylabel)

    def _draw_histogram(self, ax: Axes) -> Axes | None:
        """Share of the samples by confidence, in the colour of the curve."""
        if self.histogram is None:
            return None
        below = histogram_axes(ax)
        first = below is None
        below = split_off_histogram_axes(ax) if below is None else below
        edges = np.linspace(0, 1, len(self.histogram) + 1)
        color = self.line_.get_color()
        below.stairs(self.histogram, edges, fill=True, color=color, alpha=0.2)
        below.stairs(self.histogram, edges, color=color, linewidth=1.2)
        draw_counts(below, self.histogram, float(np.sum(self.bin_weight)), first)
        return below


def _outcomes(
    predictions: Predictions, labels: NDArray[Any], kind: str, class_label: Any
) -> TopLabel:
    """What is binned: (m,) probabilities, whether what they are of came true, and weights."""
    if kind not in _AXIS_LABELS:
        raise ValueError(f"kind must be 'top-label' or 'class-wise'; got {kind!r}.")
    if kind == "top-label":
        if class_label is not None:
            raise ValueError(
                f"class_label must be None for kind='top-label'; got {class_label!r}. "
                "Pass kind='class-wise' to show one class."
            )
        return top_label(predictions)
    codes, proba, weight = predictions
    if class_label is not None:
        columns = np.flatnonzero(labels == class_label)
        if not columns.size:
            raise ValueError(
                f"class_label must be one of the labels ({listing(labels)}); got {class_label!r}."
            )
        return TopLabel(in_range(proba[:, columns[0]]), codes == columns[0], weight)
    n, c = proba.shape
    pooled = np.empty((n, c))
    for where in blocks(n, c):
        pooled[where] = in_range(proba[where])
    came_true = codes[:, None] == np.arange(c)
    each = None if weight is None else np.repeat(weight, c)
    return TopLabel(pooled.ravel(), came_true.ravel(), each)


def _check_level(confidence_level: float | None) -> None:
    if confidence_level is not None and not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level must be a fraction in (0, 1), or None; got {confidence_level!r}. "
            "For 95 % pass confidence_level=0.95."
        )
