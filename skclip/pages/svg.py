"""Figures as SVG that follows the page's light or dark."""

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["INK", "draw", "for_file", "for_page"]

# Stand for the colours of text and paper until it is known where the figure goes.
INK, _PAPER = "#010203", "#fdfcfb"


def draw(name: str, fill: "Callable[[Figure], object]", figsize: tuple[float, float]) -> str:
    """SVG text of a figure that ``fill(figure)`` draws; `name` makes its ids its own."""
    from matplotlib import rc_context  # lazily: a study without a report does not need it
    from matplotlib.figure import Figure

    colours = dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), INK
    )
    settings: Any = colours | {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 9,
        "font.family": "sans-serif",
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": _PAPER,
        "savefig.facecolor": _PAPER,
        "legend.frameon": False,
        "text.parse_math": False,  # a name may have dollars in it
    }
    with rc_context(settings), warnings.catch_warnings():
        # Text stays text: the font is the reader's, and so is the script.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support")
        figure = Figure(figsize=figsize, layout="constrained")
        fill(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)


def for_page(svg: str, title: str) -> str:
    """To put inline: ink is the colour of the surrounding text, paper is that of the page."""
    svg = svg.replace(INK, "currentColor").replace(_PAPER, "none")
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)  # axes_1 and the like, in every figure
    label = html.escape(title, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def for_file(svg: str) -> str:
    """Dark on white, wherever it is shown."""
    header = '<?xml version="1.0" encoding="utf-8"?>\n'
    return header + svg.replace(INK, "#1b1b1b").replace(_PAPER, "#ffffff")
