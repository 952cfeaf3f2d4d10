"""Figures over shots and of ranks."""

import numpy as np

from skclip.pages import INK

__all__ = ["curves_over_shots", "rank_diagram", "style_of"]

# Of Okabe and Ito, without their yellow, which white swallows; None is the text's colour.
_COLORS = (None, "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))
_MARKERS = "osD^vPX<>*"


def style_of(index):
    """Colour, dashes and marker of a method: all three differ for methods that are close."""
    return {
        "color": _COLORS[index % len(_COLORS)] or INK,
        "linestyle": _DASHES[index // len(_COLORS) % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def curves_over_shots(study, metrics, backbone):
    """Fill of a figure: a panel per metric, means over data sets with intervals over draws."""
    settings = study.of_backbone(backbone)

    def fill(figure):
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for ax, (metric, (title, factor, *_)) in zip(axes, metrics.items(), strict=True):
            found = study.intervals(metric, settings)
            for index, (method, by_shots) in enumerate(found.iterrows()):
                _curve(ax, by_shots, factor, style_of(index), study.label_of(method))
            ax.set_xscale("log", base=2)
            ax.set_xticks(study.shots, [str(shots) for shots in study.shots])
            ax.set(xlabel="Shots per class", ylabel=title)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize="small")

    return fill


def _curve(ax, by_shots, factor, style, label):
    shots = by_shots.index
    mean = factor * np.array([value.mean for value in by_shots])
    half = factor * np.nan_to_num([value.half_width for value in by_shots])
    ax.plot(shots, mean, label=label, linewidth=1.3, markersize=4, **style)
    if half.any():
        ax.fill_between(
            shots, mean - half, mean + half, color=style["color"], alpha=0.15, linewidth=0
        )


def rank_diagram(test, label_of):
    """Fill of a figure: methods at their mean ranks, bars over those that do not differ."""
    order = np.argsort(test.mean_ranks, kind="stable")
    k = len(order)
    left = order[: (k + 1) // 2]
    right = order[(k + 1) // 2 :][::-1]
    groups = test.groups()

    def fill(figure):
        ax = figure.subplots()
        ax.axis("off")
        low, high = 1.0, float(k)
        ax.set(xlim=(low - 0.45 * k, high + 0.45 * k))
        ax.plot([low, high], [0, 0], color=INK, linewidth=1)
        for rank in range(1, k + 1):
            ax.plot([rank, rank], [0, 0.12], color=INK, linewidth=1)
            ax.text(rank, 0.2, str(rank), ha="center", va="bottom")
        depth = -0.35 - 0.22 * len(groups)
        for side, members in ((-1, left), (1, right)):
            for i, method in enumerate(members):
                y, x = depth - 0.42 * i, test.mean_ranks[method]
                edge = low - 0.03 * k if side < 0 else high + 0.03 * k
                ax.plot([x, x, edge], [0, y, y], color=INK, linewidth=0.8)
                text = f"{label_of(test.methods[method])}  {x:.2f}"
                align = "right" if side < 0 else "left"
                ax.text(edge + side * 0.01 * k, y, text, ha=align, va="center")
        for i, group in enumerate(groups):
            ranks = [test.mean_ranks[test.methods.index(method)] for method in group]
            y = -0.22 - 0.22 * i
            ends = [min(ranks) - 0.04, max(ranks) + 0.04]
            ax.plot(ends, [y, y], color="#0072B2", linewidth=3, solid_capstyle="butt")
        if np.isfinite(test.critical_difference):
            end = low + min(test.critical_difference, high - low)
            ax.plot([low, end], [0.95, 0.95], color="#0072B2", linewidth=3, solid_capstyle="butt")
            ax.text(
                (low + end) / 2,
                1.03,
                f"critical difference {test.critical_difference:.2f}",
                ha="center",
                va="bottom",
            )
        ax.set(ylim=(depth - 0.42 * max(len(left), len(right)), 1.6))

    return fill
