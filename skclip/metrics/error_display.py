"""The errors of a classifier: which classes are confused, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.metrics.class_errors import checked, class_table
from skclip.metrics.plotting import REFERENCE_COLOR, PredictionDisplay
from skclip.metrics.probabilities import Float, Labels
from skclip.metrics.selective_table import checked_acceptance
from skclip.utils.optional_imports import import_optional

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ErrorDisplay"]

# Beyond these, numbers in cells and names at the axes cannot be read.
_MOST_NUMBERS, _MOST_NAMES = 12, 40
_BLUE = np.array([0, 0x72, 0xB2]) / 255


@dataclass(kw_only=True, eq=False, repr=False)
class ErrorDisplay(PredictionDisplay):
    """Where a classifier errs: the confusion matrix, a table by class, and the worst mistakes.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
    table : DataFrame of n_classes rows
        What :func:`class_table` returns.
    confusion : ndarray of shape (n_classes, n_classes)
        Number of accepted rows by true class (rows) and predicted class (columns).
    true, predicted : ndarray of shape (n_samples,)
        Positions in `labels`.
    confidence : ndarray of shape (n_samples,)
        Probability of the predicted class.
    accepted : ndarray of shape (n_samples,), bool, default=None
        Rows that are classified; None where nothing abstains.
    name : str, default=None
        Name of the classifier for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the confusion matrix, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure that contains it.

    See Also
    --------
    class_table : The table alone.
    probable_label_errors : Mistakes that are the label's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclip.metrics import ErrorDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(C=0.1).fit(X[::2], y[::2])
    >>> display = ErrorDisplay.from_estimator(classifier, X[1::2], y[1::2])
    >>> display.confusion
    array([[25,  0,  0],
           [ 0, 23,  2],
           [ 0,  1, 24]])
    >>> display.mistakes(1), display.least_sure(1)
    (array([59]), array([42]))
    """

    labels: NDArray[Any]
    table: pd.DataFrame
    confusion: NDArray[np.intp]
    true: NDArray[np.intp]
    predicted: NDArray[np.intp]
    confidence: Float
    accepted: NDArray[np.bool_] | None = None
    name: str | None = None

    @property
    def abstained(self) -> NDArray[np.intp]:
        """(n_classes,) rows of each true class that are not classified."""
        kept = slice(None) if self.accepted is None else self.accepted
        every, c = np.bincount(self.true, minlength=len(self.labels)), len(self.labels)
        return every - np.bincount(self.true[kept], minlength=c)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Predict with a fitted classifier and plot; with its abstentions, if it has some.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier, or pipeline that ends in one, with `predict_proba`. Of a
            :class:`skclip.SelectiveClassifier` the rows that it does not accept are abstentions.
        X : array-like or list of n_samples inputs
            What the estimator predicts from.
        y : array-like of shape (n_samples,)
            True labels.
        name : str, default=None
            Name for the title; the class name of the estimator when None.
        **kwargs : dict
            Passed to :meth:`from_predictions`: `ax`, `y_train` and all others.

        Returns
        -------
        display : ErrorDisplay
            The display, plotted.
        """
        if hasattr(estimator, "accept"):
            kwargs.setdefault("accepted", estimator.accept(X))
        return super().from_estimator(estimator, X, y, name=name, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        labels: Labels = None,
        y_train: ArrayLike | None = None,
        accepted: ArrayLike | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the confusion matrix of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities.
        labels : array-like of shape (n_classes,), default=None
            Label of each column of `y_proba`; None for the sorted labels of `y_true`.
        y_train : array-like of shape (n_train,), default=None
            Labels of the support set, to count the shots of every class.
        accepted : array-like of shape (n_samples,), bool, default=None
            Rows that are classified; the others are abstentions, which have a column of their own.
            None for all.
        name : str, default=None
            Name for the title.
        **kwargs : dict
            Passed to :meth:`plot`: `ax` and what else it takes.

        Returns
        -------
        display : ErrorDisplay
            The display, plotted.
        """
        display = cls.of(
            y_true, y_proba, labels=labels, y_train=y_train, accepted=accepted, name=name
        )
        return display.plot(**kwargs)

    @classmethod
    def of(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        labels: Labels = None,
        y_train: ArrayLike | None = None,
        accepted: ArrayLike | None = None,
        name: str | None = None,
    ) -> Self:
        """The display without a figure, which does not need matplotlib.

        Parameters
        ----------
        y_true, y_proba, labels, y_train, accepted, name
            As for :meth:`from_predictions`.

        Returns
        -------
        display : ErrorDisplay
        """
        codes, proba, names = checked(y_true, y_proba, labels)
        predicted, c = proba.argmax(axis=1), len(names)
        kept = None if accepted is None else checked_acceptance(accepted, len(codes))
        pairs = (codes * c + predicted)[slice(None) if kept is None else kept]
        return cls(
            labels=names,
            table=class_table(y_true, y_proba, labels=labels, y_train=y_train),
            confusion=np.bincount(pairs, minlength=c * c).reshape(c, c),
            true=codes,
            predicted=predicted,
            confidence=proba.max(axis=1),
            accepted=kept,
            name=name,
        )

    def mistakes(self, n: int = 12) -> NDArray[np.intp]:
        """Rows that are wrong with the greatest confidence, abstentions not among them.

        Parameters
        ----------
        n : int, default=12
            The most to return.

        Returns
        -------
        rows : ndarray of shape (at most n,)
            Positions, the most confident first.
        """
        is_wrong = self.predicted != self.true
        wrong = np.flatnonzero(is_wrong if self.accepted is None else is_wrong & self.accepted)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:n]

    def least_sure(self, n: int = 12) -> NDArray[np.intp]:
        """Rows with the least confidence, right or wrong.

        Parameters
        ----------
        n : int, default=12
            The most to return.

        Returns
        -------
        rows : ndarray of shape (at most n,)
            Positions, the least sure first.
        """
        return np.argsort(self.confidence, kind="stable")[:n]

    def plot(self, ax: Axes | None = None, *, name: str | None = None) -> Self:
        """Draw the confusion matrix: shares of each true class, with counts where there is room.

        Abstentions, if there can be any, are a column at the right.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when None.
        name : str, default=None
            Name for the title; the display's own when None.

        Returns
        -------
        display : ErrorDisplay
            The display itself.
        """
        ax, c = self._axes(ax), len(self.labels)
        counts = self.confusion
        if self.accepted is not None:
            counts = np.column_stack([counts, self.abstained])
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
        # Blue laid over whatever the page's colour is.
        ax.imshow(np.dstack([np.broadcast_to(_BLUE, (*counts.shape, 3)), share]))
        if self.accepted is not None:
            ax.axvline(c - 0.5, color=REFERENCE_COLOR, linewidth=1)
        if c <= _MOST_NUMBERS:
            for i, j in np.argwhere(counts).tolist():
                color = "white" if share[i, j] > 0.5 else ax.xaxis.label.get_color()
                ax.text(j, i, str(counts[i, j]), ha="center", va="center", color=color)
        names = [str(label) for label in self.labels] if c <= _MOST_NAMES else []
        if names:
            ax.set_yticks(range(c), names)
        columns = list(range(len(names)))
        if self.accepted is not None:
            columns, names = [*columns, c], [*names, "(abstains)"]
        if names:
            ax.set_xticks(columns, names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set(xlabel="Predicted", ylabel="True")
        name = self.name if name is None else name
        if name is not None:
            ax.set_title(name)
        return self._finish(ax, "best")

    def plot_images(
        self,
        images: Sequence[Any],
        rows: ArrayLike | None = None,
        *,
        n_columns: int = 4,
        read: Callable[[Any], Any] | None = None,
    ) -> Figure:
        """Draw images of some rows, with what they are and what they were taken for.

        Parameters
        ----------
        images : sequence of n_samples images
            Arrays or PIL images; or whatever `read` makes them of.
        rows : array-like of int, default=None
            Positions; those of :meth:`mistakes` when None.
        n_columns : int, default=4
        read : callable, default=None
            What makes an array or PIL image of an item; ``PIL.Image.open`` for paths.

        Returns
        -------
        figure : matplotlib Figure
        """
        pyplot = import_optional("matplotlib.pyplot", "ErrorDisplay.plot_images")
        chosen = np.asarray(self.mistakes() if rows is None else rows, dtype=int)
        n_rows = max(1, -(-len(chosen) // n_columns))
        size = 1.9 * n_columns, 2.3 * n_rows
        figure: Figure = pyplot.figure(figsize=size, layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for ax in axes:
            ax.axis("off")
        for ax, row in zip(axes, chosen.tolist(), strict=False):
            ax.imshow(np.asarray(images[row] if read is None else read(images[row])))
            ax.set_title(self.caption(row), fontsize="small")
        return figure

    def caption(self, row: int) -> str:
        """What a row was taken for, how surely, and what it is.

        Parameters
        ----------
        row : int

        Returns
        -------
        str
        """
        predicted, true = self.labels[self.predicted[row]], self.labels[self.true[row]]
        said = f"{predicted} ({self.confidence[row]:.0%})"
        return said if predicted == true else f"{said}\nis {true}"
