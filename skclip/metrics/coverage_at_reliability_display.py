"""Coverage of what a classifier may be relied upon, against the confidence asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.metrics.plotting import PredictionDisplay, count_curves, curve_style, draw_frame
from skclip.metrics.probabilities import Float, Labels, Weights
from skclip.metrics.reliability_coverage import THRESHOLDS, reliable_coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CoverageAtReliabilityDisplay"]

Kind = Literal["sample", "class"]


@dataclass(kw_only=True, eq=False, repr=False)
class CoverageAtReliabilityDisplay(PredictionDisplay):
    """Share of the samples above each confidence, crossed out where it breaks its promise.

    At a threshold t the predictions of confidence at least t are selected. Where their accuracy
    is at least t, a filled mark shows how many they are; elsewhere there is a cross, and
    the curve to it is dotted. Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Confidences, increasing, in [0, 1].
    sample_coverage : ndarray of shape (n_thresholds,)
        Selected share of all samples, in [0, 1], reliable or not.
    class_coverage : ndarray of shape (n_thresholds,)
        Share of the classes among the true labels of the selected, in [0, 1], reliable or
        not.
    accuracy : ndarray of shape (n_thresholds,)
        Accuracy of the selected, in [0, 1]; NaN where nothing is selected.
    reliable : ndarray of shape (n_thresholds,) of bool
        Whether the accuracy is at least the threshold.
    name : str, default=None
        Name of the classifier for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The reliable part of the curve, after :meth:`plot`.
    crosses_ : matplotlib Line2D
        The crosses.
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure that contains it.

    See Also
    --------
    reliability_coverage_table : The same as a table.
    RiskCoverageDisplay : Coverage at an error rate, whatever the confidences say.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip.metrics import CoverageAtReliabilityDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(C=0.1).fit(X[::2], y[::2])
    >>> display = CoverageAtReliabilityDisplay.from_estimator(
    ...     classifier, X[1::2], y[1::2], thresholds=[0.6, 0.9]
    ... )
    >>> display.reliable
    array([ True,  True])
    """

    thresholds: Float
    sample_coverage: Float
    class_coverage: Float
    accuracy: Float
    reliable: NDArray[np.bool_]
    name: str | None = None

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        thresholds: ArrayLike = THRESHOLDS,
        labels: Labels = None,
        sample_weight: Weights = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the coverage of predicted probabilities at each confidence.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities.
        thresholds : array-like of shape (n_thresholds,), default=(0.8, 0.85, 0.9, 0.95, 0.99)
            Confidences, fractions in [0, 1].
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
        display : CoverageAtReliabilityDisplay
            The display, plotted.
        """
        levels = np.sort(np.atleast_1d(np.asarray(thresholds, dtype=np.float64)))
        found = reliable_coverage(y_true, y_proba, levels, labels, sample_weight)
        display = cls(
            thresholds=found.thresholds,
            sample_coverage=found.sample_coverage,
            class_coverage=found.class_coverage,
            accuracy=found.accuracy,
            reliable=found.reliable,
            name=name,
        )
        return display.plot(**kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: Kind = "sample",
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        kind : {"sample", "class"}, default="sample"
            Coverage of samples or of classes.
        name : str, default=None
            Name for the legend; the display's own when None.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`; by default each further display on
            the same axes has its own colour, dashes and marker.

        Returns
        -------
        display : CoverageAtReliabilityDisplay
            The display itself.
        """
        if kind not in ("sample", "class"):
            raise ValueError(f"kind must be 'sample' or 'class'; got {kind!r}.")
        ax = self._axes(ax)
        coverage = np.asarray(self.sample_coverage if kind == "sample" else self.class_coverage)
        reliable, thresholds = np.asarray(self.reliable), np.asarray(self.thresholds)
        name = self.name if name is None else name
        style = curve_style(ax, kwargs, label=name, markersize=6, clip_on=False)
        (self.line_,) = ax.plot(thresholds, np.where(reliable, coverage, np.nan), **style)
        color = self.line_.get_color()
        ax.plot(
            thresholds, coverage, color=color, linewidth=0.8, alpha=0.6, linestyle=":", zorder=1
        )
        (self.crosses_,) = ax.plot(
            thresholds[~reliable],
            coverage[~reliable],
            color=color,
            marker="x",
            markersize=7,
            markeredgewidth=1.6,
            linestyle="none",
            clip_on=False,
        )
        for line in (self.line_, self.crosses_):
            # Without points in sight it would have an extent that shrinks the axes to nothing.
            line.set_in_layout(False)
        if count_curves(ax) == 1:
            what = "samples" if kind == "sample" else "classes"
            draw_frame(
                ax,
                ylim=(0, 1),
                xticks=thresholds,
                xlabel="Confidence asked for, and accuracy to be kept",
                ylabel=f"Coverage of {what} (× if accuracy is lower)",
            )
        return self._finish(ax, "best")
