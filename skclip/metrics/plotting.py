"""What the displays share: their constructor, axes, colours and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from numpy.typing import ArrayLike

from skclip.metrics.probabilities import check_has_probabilities
from skclip.utils.optional_imports import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "REFERENCE_COLOR",
    "RIGHT_COLOR",
    "WRONG_COLOR",
    "PredictionDisplay",
    "count_curves",
    "curve_style",
    "draw_frame",
]

# Okabe and Ito's palette without its yellow, which is too light for a line on white. Each
# colour has its own dashes and marker too, for readers and printers without colour. Their
# black is the colour of the text, so that it shows on a dark background.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": (0, (5, 1.5)), "marker": "s"},
    {"color": "#009E73", "linestyle": (0, (4, 1.5, 1, 1.5)), "marker": "^"},
    {"color": "#CC79A7", "linestyle": (0, (2, 1)), "marker": "D"},
    {"color": "#E69F00", "linestyle": (0, (8, 1.5)), "marker": "v"},
    {"color": "#56B4E9", "linestyle": (0, (4, 1, 1, 1, 1, 1)), "marker": "P"},
    {"color": None, "linestyle": (0, (1, 1)), "marker": "X"},
)
_CURVE_GID = "skclip-curve"
# Legible on white and on black.
REFERENCE_COLOR = "0.55"
RIGHT_COLOR, WRONG_COLOR = "#0072B2", "#D55E00"


class PredictionDisplay:
    """What is computed from predictions and can be plotted; subclasses say what.

    A display stores computed arrays only, never the data or the estimator. Its `plot` may be
    called again, also on axes that already hold another display.
    """

    _figsize = (4.8, 3.6)
    name: str | None
    ax_: Axes
    figure_: Figure | SubFigure

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, name: str | None = None, **kwargs: Any
    ) -> Self:
        """Predict with a fitted classifier and plot.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier, or pipeline that ends in one, with `predict_proba`. Its
            `classes_` are the labels of the columns.
        X : array-like or list of n_samples inputs
            What the estimator predicts from.
        y : array-like of shape (n_samples,)
            True labels.
        name : str, default=None
            Name of the classifier in the figure; the class name of the estimator when None.
        **kwargs : dict
            Passed to :meth:`from_predictions`: `ax`, `sample_weight` and all others.

        Returns
        -------
        display : display instance
            The display, plotted.
        """
        check_has_probabilities(estimator)
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            labels=estimator.classes_,
            name=type(estimator).__name__ if name is None else name,
            **kwargs,
        )

    @classmethod
    def from_predictions(cls, y_true: ArrayLike, y_proba: ArrayLike, **kwargs: Any) -> Self:
        """Plot what is computed from predicted probabilities."""
        raise NotImplementedError

    def _axes(self, ax: Axes | None) -> Axes:
        """The axes to draw on: those of a new figure if None."""
        if ax is not None:
            return ax
        pyplot = import_optional("matplotlib.pyplot", f"{type(self).__name__}.plot")
        figure: Figure = pyplot.figure(figsize=self._figsize, layout="constrained")
        return figure.add_subplot()

    def _finish(self, ax: Axes, legend_loc: Literal["best", "upper left", "lower left"]) -> Self:
        """The display itself, with a legend and with the axes it is drawn on."""
        if ax.get_legend_handles_labels()[0]:
            # It never covers a curve opaquely.
            legend = ax.legend(loc=legend_loc, fontsize="small", framealpha=0.8, edgecolor="none")
            # Wider than narrow axes, it would make a layout engine shrink them to nothing.
            legend.set_in_layout(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def count_curves(ax: Axes) -> int:
    """How many curves the displays have drawn on `ax`."""
    return sum(line.get_gid() == _CURVE_GID for line in ax.lines)


def curve_style(ax: Axes, kwargs: dict[str, Any], **default: Any) -> dict[str, Any]:
    """Keywords of the next curve on `ax`: the next style, `default`, and what the user says."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    style = dict(_STYLES[count_curves(ax) % len(_STYLES)])
    style["color"] = style["color"] or ax.xaxis.label.get_color()
    ours = {"linewidth": 1.6, "gid": _CURVE_GID} | style | default
    return ours | normalize_kwargs(kwargs, Line2D)


def draw_frame(ax: Axes, **properties: Any) -> None:
    """Limits, labels and ticks; an axis on the left and one at the bottom."""
    ax.set(**properties)
    ax.spines[["top", "right"]].set_visible(False)
