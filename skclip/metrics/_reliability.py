"""Reliability diagram of the predicted class's confidence."""

import numpy as np

from skclip.metrics._binning import bin_confidences, bin_edges, check_strategy
from skclip.metrics._plotting import (
    REFERENCE_COLOR,
    axes_and_style,
    draw_legend,
    predict_for_display,
)
from skclip.metrics._validation import check_n_bins, check_top_label

__all__ = ["ReliabilityDisplay"]

_HISTOGRAM = "<skclip histogram of confidence>"


class ReliabilityDisplay:
    """Accuracy against confidence, bin by bin, over a histogram of the confidence.

    A calibrated classifier lies on the diagonal; below it, the classifier is
    over-confident. Make one with :meth:`from_estimator` or :meth:`from_predictions`. The
    display stores computed arrays only, never the data or the estimator, and its
    :meth:`plot` may be called again, also on axes that already hold another display.

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
    histogram : ndarray of shape (n_columns,), default=None
        Share of the samples by confidence, in columns of equal width over [0, 1] whatever
        the bins are. None: no histogram is drawn.
    strategy : {"uniform", "quantile"}, default="uniform"
        Whether the bins have equal width or equal count.
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

    def __init__(
        self,
        *,
        bin_edges,
        bin_weight,
        bin_confidence,
        bin_accuracy,
        histogram=None,
        strategy="uniform",
        name=None,
    ):
        self.bin_edges = bin_edges
        self.bin_weight = bin_weight
        self.bin_confidence = bin_confidence
        self.bin_accuracy = bin_accuracy
        self.histogram = histogram
        self.strategy = strategy
        self.name = name

    @property
    def expected_calibration_error(self):
        """Mean distance between accuracy and confidence, weighted by the bins' weight."""
        gap = np.abs(np.asarray(self.bin_accuracy) - self.bin_confidence)
        return float(np.nansum(gap * self.bin_weight) / np.sum(self.bin_weight))

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        n_bins=10,
        strategy="uniform",
        sample_weight=None,
        name=None,
        ax=None,
        show_histogram=True,
        **kwargs,
    ):
        """Predict with a fitted classifier and plot its reliability diagram.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier, or pipeline that ends in one, with `predict_proba`.
        X : array-like or list of n_samples inputs
            What the estimator predicts from.
        y : array-like of shape (n_samples,)
            True labels.
        n_bins : int, default=10
            Number of bins, at least 1.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equal count.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the legend; the class name of the estimator when None.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        show_histogram : bool, default=True
            Whether to draw the histogram of the confidence below.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ReliabilityDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the estimator has no `predict_proba`, or as :meth:`from_predictions`.
        """
        y_proba, labels, name = predict_for_display(estimator, X, name)
        return cls.from_predictions(
            y,
            y_proba,
            n_bins=n_bins,
            strategy=strategy,
            labels=labels,
            sample_weight=sample_weight,
            name=name,
            ax=ax,
            show_histogram=show_histogram,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        n_bins=10,
        strategy="uniform",
        labels=None,
        sample_weight=None,
        name=None,
        ax=None,
        show_histogram=True,
        **kwargs,
    ):
        """Plot the reliability diagram of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels, strings or integers.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities, fractions in [0, 1] with rows that sum to 1.
        n_bins : int, default=10
            Number of bins, at least 1.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equal count.
        labels : array-like of shape (n_classes,), default=None
            The label of each column of `y_proba`. None: the sorted distinct labels of
            `y_true`, which must then be as many as the columns.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        show_histogram : bool, default=True
            Whether to draw the histogram of the confidence below.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ReliabilityDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the probabilities, labels or weights are not as described.
        """
        n_bins, strategy = check_n_bins(n_bins), check_strategy(strategy)
        confidence, correct, weight = check_top_label(y_true, y_proba, labels, sample_weight)
        edges = bin_edges(confidence, weight, n_bins, strategy)
        bins = bin_confidences(confidence, correct, weight, edges)
        columns = bin_edges(confidence, None, n_bins, "uniform")
        heights = bin_confidences(confidence, correct, weight, columns).weight
        display = cls(
            bin_edges=bins.edges,
            bin_weight=bins.weight,
            bin_confidence=bins.confidence,
            bin_accuracy=bins.accuracy,
            histogram=heights / heights.sum(),
            strategy=strategy,
            name=name,
        )
        return display.plot(ax=ax, show_histogram=show_histogram, **kwargs)

    def plot(self, ax=None, *, name=None, show_histogram=True, **kwargs):
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None. With a histogram the axes give up
            their lower fifth, once: further displays on them share it.
        name : str, default=None
            Name for the legend; the display's own when None.
        show_histogram : bool, default=True
            Whether to draw the histogram of the confidence below.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`; by default each further display on
            the same axes has its own colour, dashes and marker.

        Returns
        -------
        display : ReliabilityDisplay
            The display itself.
        """
        ax, style = axes_and_style(
            ax, kwargs, figsize=(4.4, 4.8), needed_by="ReliabilityDisplay.plot"
        )
        self._draw_frame(ax)
        filled = np.asarray(self.bin_weight) > 0
        (self.line_,) = ax.plot(
            np.asarray(self.bin_confidence)[filled],
            np.asarray(self.bin_accuracy)[filled],
            # Whole markers also where the accuracy is 0 or 1.
            **({"label": self._label(name), "markersize": 5, "clip_on": False} | style),
        )
        draw_legend(ax, "best")
        drawn = show_histogram and self.histogram is not None
        self.histogram_ax_ = self._draw_histogram(ax) if drawn else None
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _label(self, name):
        name = self.name if name is None else name
        kind = "AECE" if self.strategy == "quantile" else "ECE"
        error = f"{kind} = {100 * self.expected_calibration_error:.1f} %"
        return error if name is None else f"{name} ({error})"

    @staticmethod
    def _draw_frame(ax):
        """The diagonal and the labels, once per axes."""
        gid = "skclip-diagonal"
        if any(line.get_gid() == gid for line in ax.lines):
            return
        ax.plot([0, 1], [0, 1], color=REFERENCE_COLOR, linewidth=1, zorder=1, gid=gid)
        ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="Accuracy")
        ax.set_xlabel("Confidence (largest class probability)")
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_histogram(self, ax):
        """Share of the samples by confidence, in the colour of the curve."""
        below = _histogram_axes(ax) or _split_off_histogram_axes(ax)
        edges = np.linspace(0, 1, len(self.histogram) + 1)
        color = self.line_.get_color()
        below.stairs(self.histogram, edges, fill=True, color=color, alpha=0.2)
        below.stairs(self.histogram, edges, color=color, linewidth=1.2)
        return below


def _histogram_axes(ax):
    """The histogram that an earlier display made for these axes, or None."""
    return next(
        (
            other
            for other in ax.figure.axes
            if other.get_label() == _HISTOGRAM and other.get_shared_x_axes().joined(ax, other)
        ),
        None,
    )


def _split_off_histogram_axes(ax):
    """New axes in the lower fifth of `ax`, which keeps the rest."""
    spec = ax.get_subplotspec()
    if spec is not None:  # a place in a grid, which every layout engine understands
        upper, lower = spec.subgridspec(2, 1, height_ratios=[4, 1], hspace=0.1)
        ax.set_subplotspec(upper)
        below = ax.figure.add_subplot(lower, sharex=ax, label=_HISTOGRAM)
    else:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position([left, bottom + 0.24 * height, width, 0.76 * height])
        below = ax.figure.add_axes(
            [left, bottom, width, 0.18 * height], sharex=ax, label=_HISTOGRAM
        )
    below.set(xlabel=ax.get_xlabel(), ylabel="Share", ylim=(0, 1), yticks=[0, 1])
    below.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("")
    ax.tick_params(labelbottom=False)
    return below
