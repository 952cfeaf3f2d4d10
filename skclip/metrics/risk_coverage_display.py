"""Risk-coverage curve of a classifier that rejects its least confident predictions."""

import numpy as np

from skclip.metrics.plotting import axes_and_style, count_curves, draw_legend, predict_for_display
from skclip.metrics.risk_coverage import area_under_risk_coverage, risk_coverage_curve

__all__ = ["RiskCoverageDisplay"]

# Below this coverage a single error decides the risk: it does not set the scale.
_SETTLED_COVERAGE = 0.05


class RiskCoverageDisplay:
    """Error rate among the accepted samples against the share that is accepted.

    The lower the curve, the better; it ends at the error rate of all samples. Make one
    with :meth:`from_estimator` or :meth:`from_predictions`. The display stores computed
    arrays only, never the data or the estimator, and its :meth:`plot` may be called again,
    also on axes that already hold another display.

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

    def __init__(self, *, coverages, risks, thresholds, aurc=None, name=None):
        self.coverages = coverages
        self.risks = risks
        self.thresholds = thresholds
        self.aurc = aurc
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, X, y, *, sample_weight=None, name=None, ax=None, **kwargs):
        """Predict with a fitted classifier and plot its risk-coverage curve.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier, or pipeline that ends in one, with `predict_proba`.
        X : array-like or list of n_samples inputs
            What the estimator predicts from.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the legend; the class name of the estimator when None.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : RiskCoverageDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the estimator has no `predict_proba`, or as :meth:`from_predictions`.
        """
        y_proba, labels, name = predict_for_display(estimator, X, name)
        return cls.from_predictions(
            y, y_proba, labels=labels, sample_weight=sample_weight, name=name, ax=ax, **kwargs
        )

    @classmethod
    def from_predictions(
        cls, y_true, y_proba, *, labels=None, sample_weight=None, name=None, ax=None, **kwargs
    ):
        """Plot the risk-coverage curve of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels, strings or integers.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities, fractions in [0, 1] with rows that sum to 1.
        labels : array-like of shape (n_classes,), default=None
            The label of each column of `y_proba`. None: the sorted distinct labels of
            `y_true`, which must then be as many as the columns.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        name : str, default=None
            Name for the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : RiskCoverageDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the probabilities, labels or weights are not as described.
        """
        given = {"labels": labels, "sample_weight": sample_weight}
        coverages, risks, thresholds = risk_coverage_curve(y_true, y_proba, **given)
        aurc = area_under_risk_coverage(y_true, y_proba, **given)
        display = cls(coverages=coverages, risks=risks, thresholds=thresholds, aurc=aurc, name=name)
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, name=None, **kwargs):
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
        ax, style = axes_and_style(
            ax, kwargs, figsize=(4.8, 3.6), needed_by="RiskCoverageDisplay.plot"
        )
        if "marker" not in kwargs:  # one mark per sample would hide the curve
            style["marker"] = None
        (self.line_,) = ax.plot(
            self.coverages, self.risks, **({"label": self._label(name)} | style)
        )
        self._scale(ax, first=count_curves(ax) == 1)
        draw_legend(ax, "upper left")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _label(self, name):
        name = self.name if name is None else name
        if self.aurc is None:
            return name
        area = f"AURC × 1000 = {1000 * self.aurc:.1f}"
        return area if name is None else f"{name} ({area})"

    def _scale(self, ax, first):
        settled = np.asarray(self.coverages) >= _SETTLED_COVERAGE
        top = max(1.1 * float(np.max(np.asarray(self.risks)[settled])), 1e-3)
        if first:
            ax.set(xlim=(0, 1), ylim=(0, top))
            ax.set(xlabel="Coverage (share of samples accepted)")
            ax.set(ylabel="Risk (error rate among accepted)")
            ax.spines[["top", "right"]].set_visible(False)
        else:
            ax.set_ylim(0, max(top, ax.get_ylim()[1]))
