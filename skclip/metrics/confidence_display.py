"""Histogram of the confidence of right and of wrong predictions."""

import numpy as np

from skclip.metrics.binning import bin_confidences, bin_edges
from skclip.metrics.plotting import (
    RIGHT_COLOR,
    WRONG_COLOR,
    draw_legend,
    new_axes,
    predict_for_display,
)
from skclip.metrics.probabilities import check_n_bins, check_top_label

__all__ = ["ConfidenceHistogramDisplay"]


class ConfidenceHistogramDisplay:
    """How confident a classifier is where it is right, and where it is wrong.

    The less the two histograms overlap, the better a threshold on the confidence finds
    errors. Make one with :meth:`from_estimator` or :meth:`from_predictions`. The display
    stores computed arrays only, never the data or the estimator, and its :meth:`plot` may be
    called again.

    Parameters
    ----------
    bin_edges : ndarray of shape (n_bins + 1,)
        Edges of the columns, equally spaced from 0 to 1.
    right, wrong : ndarray of shape (n_bins,)
        Total weight of the correct and of the wrong predictions in each column, or their
        number.
    name : str, default=None
        Name of the classifier for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the histogram, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure that contains it.

    See Also
    --------
    error_detection_auroc : The overlap as a number.
    ReliabilityDisplay : Whether the confidences are right on average.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip.metrics import ConfidenceHistogramDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(C=0.1).fit(X[::2], y[::2])
    >>> display = ConfidenceHistogramDisplay.from_estimator(
    ...     classifier, X[1::2], y[1::2], n_bins=5
    ... )
    >>> display.wrong
    array([0., 0., 3., 0., 0.])
    """

    def __init__(self, *, bin_edges, right, wrong, name=None):
        self.bin_edges = bin_edges
        self.right = right
        self.wrong = wrong
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, n_bins=20, sample_weight=None, name=None, ax=None, **kwargs
    ):
        """Predict with a fitted classifier and plot the histograms of its confidence.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier, or pipeline that ends in one, with `predict_proba`.
        X : array-like or list of n_samples inputs
            What the estimator predicts from.
        y : array-like of shape (n_samples,)
            True labels.
        n_bins : int, default=20
            Number of columns, at least 1.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the title; the class name of the estimator when None.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : ConfidenceHistogramDisplay
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
            labels=labels,
            sample_weight=sample_weight,
            name=name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        n_bins=20,
        labels=None,
        sample_weight=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Plot the histograms of the confidence of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels, strings or integers.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities, fractions in [0, 1] with rows that sum to 1.
        n_bins : int, default=20
            Number of columns, at least 1.
        labels : array-like of shape (n_classes,), default=None
            The label of each column of `y_proba`. None: the sorted distinct labels of
            `y_true`, which must then be as many as the columns.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the title.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : ConfidenceHistogramDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the probabilities, labels or weights are not as described.
        """
        n_bins = check_n_bins(n_bins)
        confidence, correct, weight = check_top_label(y_true, y_proba, labels, sample_weight)
        edges = bin_edges(confidence, None, n_bins, "uniform")
        mass = np.ones(len(confidence)) if weight is None else weight
        right, wrong = (
            bin_confidences(confidence[rows], correct[rows], mass[rows], edges).weight
            for rows in (correct, ~correct)
        )
        return cls(bin_edges=edges, right=right, wrong=wrong, name=name).plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, name=None, normalize=True):
        """Draw the histograms.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name for the title; the display's own when None.
        normalize : bool, default=True
            Whether columns are shares of the right and of the wrong predictions, so that a few
            errors are as visible as many correct predictions, or numbers of samples.

        Returns
        -------
        display : ConfidenceHistogramDisplay
            The display itself.
        """
        if ax is None:
            ax = new_axes((4.8, 3.6), "ConfidenceHistogramDisplay.plot")
        for values, what, style in (
            (self.right, "right", {"color": RIGHT_COLOR, "linestyle": "-"}),
            (self.wrong, "wrong", {"color": WRONG_COLOR, "linestyle": "--"}),
        ):
            total = np.sum(values)
            heights = np.asarray(values) / (total if normalize and total else 1)
            ax.stairs(heights, self.bin_edges, fill=True, color=style["color"], alpha=0.2)
            label = f"{what} ({total:,.0f})"
            ax.stairs(heights, self.bin_edges, linewidth=1.6, label=label, **style)
        self._draw_frame(ax, self.name if name is None else name, normalize)
        draw_legend(ax, "upper left")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @staticmethod
    def _draw_frame(ax, name, normalize):
        ax.set(xlim=(0, 1), xlabel="Confidence (largest class probability)")
        ax.set_ylim(bottom=0)
        ax.set_ylabel("Share of right, share of wrong" if normalize else "Number of samples")
        ax.spines[["top", "right"]].set_visible(False)
        if name is not None:
            ax.set_title(name)
