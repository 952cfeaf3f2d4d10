"""Histogram of the confidence of right and of wrong predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skclip.metrics.binning import bin_confidences, bin_edges
from skclip.metrics.plotting import RIGHT_COLOR, WRONG_COLOR, PredictionDisplay, draw_frame
from skclip.metrics.probabilities import Float, Labels, Weights, check_top_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ConfidenceHistogramDisplay"]


@dataclass(kw_only=True, eq=False, repr=False)
class ConfidenceHistogramDisplay(PredictionDisplay):
    """How confident a classifier is where it is right, and where it is wrong.

    The less the two histograms overlap, the better a threshold on the confidence finds
    errors. Make one with :meth:`from_estimator` or :meth:`from_predictions`.

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

    bin_edges: Float
    right: Float
    wrong: Float
    name: str | None = None

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        n_bins: int = 20,
        labels: Labels = None,
        sample_weight: Weights = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the histograms of the confidence of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities.
        n_bins : int, default=20
            Number of columns, at least 1.
        labels : array-like of shape (n_classes,), default=None
            Label of each column of `y_proba`; None for the sorted labels of `y_true`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to :meth:`plot`: `ax` and what else it takes.

        Returns
        -------
        display : ConfidenceHistogramDisplay
            The display, plotted.
        """
        confidence, correct, weight = check_top_label(y_true, y_proba, labels, sample_weight)
        edges = bin_edges(confidence, None, n_bins, "uniform")
        mass = np.ones(len(confidence)) if weight is None else weight
        right, wrong = (
            bin_confidences(confidence[rows], correct[rows], mass[rows], edges).weight
            for rows in (correct, ~correct)
        )
        return cls(bin_edges=edges, right=right, wrong=wrong, name=name).plot(**kwargs)

    def plot(
        self, ax: Axes | None = None, *, name: str | None = None, normalize: bool = True
    ) -> Self:
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
        ax = self._axes(ax)
        for values, what, color, dashes in (
            (self.right, "right", RIGHT_COLOR, "-"),
            (self.wrong, "wrong", WRONG_COLOR, "--"),
        ):
            total = np.sum(values)
            heights = np.asarray(values) / (total if normalize and total else 1)
            ax.stairs(heights, self.bin_edges, fill=True, color=color, alpha=0.2)
            label = f"{what} ({total:,.0f})"
            ax.stairs(heights, self.bin_edges, color=color, ls=dashes, lw=1.6, label=label)
        draw_frame(ax, xlim=(0, 1), xlabel="Confidence (largest class probability)")
        ax.set_ylim(bottom=0)
        ax.set_ylabel("Share of right, share of wrong" if normalize else "Number of samples")
        name = self.name if name is None else name
        if name is not None:
            ax.set_title(name)
        return self._finish(ax, "upper left")
