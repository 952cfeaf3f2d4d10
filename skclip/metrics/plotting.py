"""What the displays share: colours, and where the numbers and the axes come from."""

from skclip.utils.optional_imports import import_optional

__all__ = [
    "REFERENCE_COLOR",
    "RIGHT_COLOR",
    "WRONG_COLOR",
    "axes_and_style",
    "count_curves",
    "draw_legend",
    "new_axes",
    "predict_for_display",
]

# Okabe and Ito's palette without its yellow, which is too light for a line on white. Each
# colour has its own dashes and marker too, for readers and printers without colour. Their
# black is the colour of the text, so that it shows on a dark background.
_STYLES = (
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


def axes_and_style(ax, kwargs, *, figsize, needed_by):
    """Axes to draw on (new ones if None) and the keywords of the next curve on them.

    Each further curve on the same axes takes the next style; `kwargs` of the user win.
    """
    ax = new_axes(figsize, needed_by) if ax is None else ax
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    style = dict(_STYLES[count_curves(ax) % len(_STYLES)])
    style["color"] = style["color"] or ax.xaxis.label.get_color()
    return ax, {"linewidth": 1.6, "gid": _CURVE_GID} | style | normalize_kwargs(kwargs, Line2D)


def new_axes(figsize, needed_by):
    """Axes of a new figure."""
    pyplot = import_optional("matplotlib.pyplot", needed_by)
    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def count_curves(ax):
    """How many curves the displays have drawn on `ax`."""
    return sum(line.get_gid() == _CURVE_GID for line in ax.lines)


def draw_legend(ax, loc):
    """A legend that never covers a curve opaquely nor squeezes the axes, if there is a label."""
    if not ax.get_legend_handles_labels()[0]:
        return
    legend = ax.legend(loc=loc, fontsize="small", framealpha=0.8, edgecolor="none")
    # Wider than narrow axes, it would make a layout engine shrink them to nothing.
    legend.set_in_layout(False)


def predict_for_display(estimator, X, name):
    """Probabilities, the label of each of their columns, and a name for the legend."""
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"estimator must have predict_proba; got {type(estimator).__name__}, which has not. "
            "Pass a probabilistic classifier, for instance CalibratedClassifierCV(estimator)."
        )
    y_proba = estimator.predict_proba(X)
    name = type(estimator).__name__ if name is None else name
    return y_proba, estimator.classes_, name
