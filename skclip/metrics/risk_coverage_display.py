"""Risk-coverage curve of a classifier that rejects its least confident predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skclip.metrics.plotting import PredictionDisplay, count_curves, curve_style, draw_frame
from skclip.metrics.probabilities import Float, Labels, Weights
from skclip.metrics.risk_coverage import risk_coverage_curve
from skclip.metrics.risk_coverage_area import area_under_risk_coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RiskCoverageDisplay"]

# Below this coverage a single error decides the risk: it does not set the scale.
_SETTLED_COVERAGE = 0.05


@dataclass(kw_only=True, eq=False, repr=False)
class RiskCoverageDisplay(PredictionDisplay):
    """Error rate among the accepted samples against the share that is accepted.

    The lower the curve, the better; it ends at the error rate of all samples. Make one with
    :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    coverages : ndarray of shape (n_thresholds,)
        Accepted share of all samples, increasing, in (0, 1].
    risks : ndarray of shape (n_thresholds,)
        Error rate among the accepted, in [0, 1].
    thresholds : ndarray of shape (n_thresholds,)
        Confidence from which on samples are accepted, decreasing.
    aurc : float, default=None
        Area under the risk-coverage curve, shown in the legend.
    name : str, default=None
        Name of the classifier for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve, after :meth:`plot`.
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure that contains it.

    See Also
    --------
    risk_coverage_curve : The arrays.
    area_under_risk_coverage : The number in the legend.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip.metrics import RiskCoverageDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(C=0.1).fit(X[::2], y[::2])
    >>> display = RiskCoverageDisplay.from_estimator(classifier, X[1::2], y[1::2])
    >>> round(float(display.risks[-1]), 4)  # accepting all: the error rate
    0.04
    """

    coverages: Float
    risks: Float
    thresholds: Float
    aurc: float | None = None
    name: str | None = None

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        labels: Labels = None,
        sample_weight: Weights = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the risk-coverage curve of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities.
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
        display : RiskCoverageDisplay
            The display, plotted.
        """
        given = {"labels": labels, "sample_weight": sample_weight}
        coverages, risks, thresholds = risk_coverage_curve(y_true, y_proba, **given)
        aurc = area_under_risk_coverage(y_true, y_proba, **given)
        display = cls(coverages=coverages, risks=risks, thresholds=thresholds, aurc=aurc, name=name)
        return display.plot(**kwargs)

    def plot(self, ax: Axes | None = None, *, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name for the legend; the display's own when None.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`; by default each further display on
            the same axes has its own colour and dashes.

        Returns
        -------
        display : RiskCoverageDisplay
            The display itself.

        Notes
        -----
        The first few accepted samples can give any risk between 0 and 1. They are drawn,
        but the vertical scale is set by the coverages above 0.05.
        """
        ax = self._axes(ax)
        # One mark per sample would hide the curve.
        style = curve_style(ax, kwargs, label=self._label(name), marker=None)
        (self.line_,) = ax.plot(self.coverages, self.risks, **style)
        settled = np.asarray(self.coverages) >= _SETTLED_COVERAGE
        top = max(1.1 * float(np.max(np.asarray(self.risks)[settled])), 1e-3)
        if count_curves(ax) == 1:
            draw_frame(
                ax,
                xlim=(0, 1),
                ylim=(0, top),
                xlabel="Coverage (share of samples accepted)",
                ylabel="Risk (error rate among accepted)",
            )
        else:
            ax.set_ylim(0, max(top, ax.get_ylim()[1]))
        return self._finish(ax, "upper left")

    def _label(self, name: str | None) -> str | None:
        name = self.name if name is None else name
        if self.aurc is None:
            return name
        area = f"AURC × 1000 = {1000 * self.aurc:.1f}"
        return area if name is None else f"{name} ({area})"
