"""Whether the confidence is right for every class, with a band for what chance does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.metrics.binning import proportion_interval
from skclip.metrics.class_errors import checked
from skclip.metrics.plotting import RIGHT_COLOR, WRONG_COLOR, PredictionDisplay, draw_frame
from skclip.metrics.probabilities import Float, Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ClassReliabilityDisplay"]


@dataclass(kw_only=True, eq=False, repr=False)
class ClassReliabilityDisplay(PredictionDisplay):
    """Confidence and accuracy of the predictions of every class, with intervals.

    Of the rows that are predicted as a class: the mean confidence, the share that is right, and
    Clopper and Pearson's interval of this share. Where the confidence lies outside of the
    interval, it is wrong for this class by more than chance. Make one with :meth:`from_estimator`
    or :meth:`from_predictions`.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
    count : ndarray of shape (n_classes,)
        Rows predicted as each class.
    confidence : ndarray of shape (n_classes,)
        Mean confidence of these rows; NaN where there are none, as all that follow.
    accuracy : ndarray of shape (n_classes,)
        Share of them that is right.
    low, high : ndarray of shape (n_classes,)
        Ends of its interval.
    name : str, default=None
        Name of the classifier for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the diagram, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure that contains it.

    See Also
    --------
    ReliabilityDisplay : Over the confidence, for all classes or for one.
    class_table : The numbers.

    Notes
    -----
    Intervals are of each class by itself: of c classes whose confidence is right, a share 1 -
    `confidence_level` at most is shown to be wrong. They are exact for rows whose probabilities
    of being right are equal, and wider than needed for others.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip.metrics import ClassReliabilityDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(C=0.1).fit(X[::2], y[::2])
    >>> display = ClassReliabilityDisplay.from_estimator(classifier, X[1::2], y[1::2])
    >>> display.count, display.is_wrong
    (array([25, 24, 26]), array([ True,  True,  True]))
    """

    labels: NDArray[Any]
    count: NDArray[np.intp]
    confidence: Float
    accuracy: Float
    low: Float
    high: Float
    name: str | None = None

    @property
    def is_wrong(self) -> NDArray[np.bool_]:
        """(n_classes,) whether the confidence lies outside of the interval."""
        return (self.confidence < self.low) | (self.confidence > self.high)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        confidence_level: float = 0.95,
        labels: Labels = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot confidence and accuracy of every class.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities.
        confidence_level : float, default=0.95
            Level of each interval, fraction in (0, 1).
        labels : array-like of shape (n_classes,), default=None
            Label of each column of `y_proba`; None for the sorted labels of `y_true`.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to :meth:`plot`: `ax` and what else it takes.

        Returns
        -------
        display : ClassReliabilityDisplay
            The display, plotted.
        """
        if not 0 < confidence_level < 1:
            raise ValueError(
                f"confidence_level must be a fraction in (0, 1); got {confidence_level!r}. For "
                "95 % pass confidence_level=0.95."
            )
        codes, proba, names = checked(y_true, y_proba, labels)
        predicted, c = proba.argmax(axis=1), len(names)
        count = np.bincount(predicted, minlength=c)
        right = np.bincount(codes[predicted == codes], minlength=c)
        with np.errstate(invalid="ignore"):
            confidence = np.bincount(predicted, proba.max(axis=1), c) / count
            accuracy = right / count
        low, high = proportion_interval(
            np.nan_to_num(accuracy), count.astype(float), confidence_level
        )
        display = cls(
            labels=names,
            count=count,
            confidence=confidence,
            accuracy=accuracy,
            low=low,
            high=high,
            name=name,
        )
        return display.plot(**kwargs)

    def plot(self, ax: Axes | None = None, *, name: str | None = None, n_classes: int = 20) -> Self:
        """Draw a line per class: those first whose confidence is most above the accuracy.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name for the title; the display's own when None.
        n_classes : int, default=20
            The most to draw: half of them the most over-confident, half the most
            under-confident. Classes that nothing is predicted as are left out.

        Returns
        -------
        display : ClassReliabilityDisplay
            The display itself.
        """
        ax = self._axes(ax)
        some = np.flatnonzero(self.count > 0)
        order = some[np.argsort((self.accuracy - self.confidence)[some], kind="stable")]
        if len(order) > n_classes:
            order = np.concatenate([order[: -(-n_classes // 2)], order[-(n_classes // 2) :]])
        place = np.arange(len(order))
        wrong = self.is_wrong[order]
        for chosen, color, marker, label in (
            (~wrong, RIGHT_COLOR, "o", "accuracy"),
            (wrong, WRONG_COLOR, "s", "accuracy, confidence outside"),
        ):
            rows = order[chosen]
            ax.hlines(place[chosen], self.low[rows], self.high[rows], color=color, alpha=0.6, lw=2)
            if chosen.any():
                ax.plot(self.accuracy[rows], place[chosen], marker, color=color, label=label)
        text = ax.xaxis.label.get_color()
        ax.plot(
            self.confidence[order],
            place,
            "|",
            color=text,
            markersize=12,
            markeredgewidth=2,
            label="confidence",
        )
        names = [f"{self.labels[k]} ({self.count[k]})" for k in order]
        ax.set_yticks(place, names)
        ax.invert_yaxis()
        draw_frame(ax, xlabel="Share of the predictions of a class", xlim=(None, 1.02))
        name = self.name if name is None else name
        if name is not None:
            ax.set_title(name)
        # The last classes are more often right than they say: nothing is at their left.
        return self._finish(ax, "lower left")
