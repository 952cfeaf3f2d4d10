"""A small histogram below the axes of a diagram, which further displays share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skclip.metrics.plotting import draw_frame
from skclip.metrics.probabilities import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_counts", "histogram_axes", "split_off_histogram_axes"]

_HISTOGRAM = "<skclip histogram of confidence>"
_COUNTS_GID = "skclip-counts"
# More columns leave no room for their numbers.
_MOST_COUNTS = 12


def histogram_axes(ax: Axes) -> Axes | None:
    """The histogram that an earlier display made for these axes, or None."""
    return next(
        (
            other
            for other in ax.figure.axes
            if other.get_label() == _HISTOGRAM and other.get_shared_x_axes().joined(ax, other)
        ),
        None,
    )


def split_off_histogram_axes(ax: Axes) -> Axes:
    """New axes in the lower fifth of `ax`, which keeps the rest."""
    spec = ax.get_subplotspec()
    if spec is not None:  # a place in a grid, which every layout engine understands
        grid = spec.subgridspec(2, 1, height_ratios=[4, 1], hspace=0.1)
        ax.set_subplotspec(grid[0])
        below = ax.figure.add_subplot(grid[1], sharex=ax, label=_HISTOGRAM)
    else:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position((left, bottom + 0.24 * height, width, 0.76 * height))
        place = (left, bottom, width, 0.18 * height)
        below = ax.figure.add_axes(place, sharex=ax, label=_HISTOGRAM)
    draw_frame(below, xlabel=ax.get_xlabel(), ylabel="Share", ylim=(0, 1), yticks=[0, 1])
    ax.set_xlabel("")
    ax.tick_params(labelbottom=False)
    return below


def draw_counts(ax: Axes, shares: Float, total: float, first: bool) -> None:
    """Number of samples over each column; none at all where several displays share the axes."""
    if not first:
        for text in [text for text in ax.texts if text.get_gid() == _COUNTS_GID]:
            text.remove()
        return
    if len(shares) > _MOST_COUNTS:
        return
    centres = (np.arange(len(shares)) + 0.5) / len(shares)
    for at, share in zip(centres, shares, strict=True):
        if share > 0:
            # Near the top there is room inside the column only.
            ax.annotate(
                _short(share * total),
                (at, share),
                xytext=(0, -1 if share > 0.7 else 1),
                textcoords="offset points",
                ha="center",
                va="top" if share > 0.7 else "bottom",
                fontsize="xx-small",
                gid=_COUNTS_GID,
            )


def _short(count: float) -> str:
    """At most four characters: 87, 1.2k, 43k."""
    if count < 999.5:
        return f"{count:.0f}"
    if count < 9950:
        return f"{count / 1e3:.1f}k"
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.0f}M"
