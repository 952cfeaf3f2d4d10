"""Figures of stored predictions: reliability diagrams and risk-coverage curves."""

import math

import numpy as np

from skclip.benchmark.array_files import read_arrays
from skclip.benchmark.figures import style_of
from skclip.benchmark.runner import prediction_path
from skclip.exceptions import DatasetError
from skclip.metrics import risk_coverage_curve
from skclip.metrics.binning import bin_confidences, bin_edges
from skclip.utils.messages import listing

__all__ = [
    "FEWEST",
    "pooled_predictions",
    "reliability_diagrams",
    "reliability_size",
    "risk_coverage_curves",
]

_N_BINS = 10
_STORED = ("confidence", "predicted", "true")
# Fewer predictions say nothing about the accuracy in a bin.
FEWEST = 20
_MOST_POINTS = 300


def pooled_predictions(study, settings, shots):
    """Method -> (confidence, correct) of all draws of these settings, of methods that have all.

    Empty where predictions were not stored.
    """
    rows = study.rows_of(settings)
    pooled = {}
    for method, keys in rows[rows["shots"] == shots].groupby("method", sort=False)["key"]:
        paths = [prediction_path(study.folder, key) for key in keys]
        if not all(path.exists() for path in paths):
            continue
        parts = []
        for path in paths:
            parts.append(_predictions(path))
        confidence, correct = (np.concatenate(part) for part in zip(*parts, strict=True))
        pooled[method] = confidence, correct
    return {method: pooled[method] for method in study.methods if method in pooled}


def _predictions(path):
    """Confidence and whether it is right, of each test row."""
    arrays = read_arrays(path)
    found = [np.asarray(arrays[name]) for name in _STORED if name in arrays]
    shapes = {array.shape for array in found}
    if len(found) < 3 or len(shapes) > 1 or found[0].ndim != 1 or not found[0].size:
        raise DatasetError(
            f"{path} must hold {', '.join(_STORED)}, one of each per test row; got "
            f"{listing(sorted(shapes))}. Remove it: figures are drawn without."
        )
    confidence, predicted, true = found
    if confidence.dtype.kind != "f" or not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise DatasetError(f"{path} must hold confidences in [0, 1]; got others. Remove it.")
    return confidence.astype(np.float64), predicted == true


def reliability_diagrams(study, pooled):
    """Fill of a figure: per method, accuracy against confidence in ten bins."""
    columns = min(4, len(pooled))

    def fill(figure):
        rows = math.ceil(len(pooled) / columns)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax, (method, (confidence, correct)) in zip(axes, pooled.items(), strict=False):
            edges = bin_edges(confidence, None, _N_BINS, "uniform")
            bins = bin_confidences(confidence, correct, None, edges)
            seen = bins.weight >= FEWEST
            style = style_of(study.methods.index(method)) | {"linestyle": "-"}
            ax.plot([0, 1], [0, 1], color="0.55", linewidth=1, linestyle=(0, (3, 3)))
            ax.bar(
                (edges[:-1] + edges[1:]) / 2,
                bins.weight / bins.weight.sum(),
                width=0.8 / _N_BINS,
                color="0.55",
                alpha=0.4,
            )
            ax.plot(
                bins.confidence[seen], bins.accuracy[seen], linewidth=1.3, markersize=4, **style
            )
            ax.set_title(study.label_of(method), fontsize="small")
            ax.set(xlim=(0, 1), ylim=(0, 1))
        for ax in axes[len(pooled) :]:
            ax.set_visible(False)
        figure.supxlabel("Confidence (bars: share of the predictions)", fontsize="medium")
        figure.supylabel("Accuracy", fontsize="medium")

    return fill


def reliability_size(pooled):
    columns = min(4, len(pooled))
    return (2.2 * columns + 0.6, 2.1 * math.ceil(len(pooled) / columns) + 0.5)


def risk_coverage_curves(study, pooled):
    """Fill of a figure: the error rate among the most confident, over their share."""

    def fill(figure):
        ax = figure.subplots()
        top = 0.0
        for method, (confidence, correct) in pooled.items():
            coverage, risk = _risk(confidence, correct)
            style = style_of(study.methods.index(method)) | {"marker": None}
            ax.plot(coverage, risk, linewidth=1.3, label=study.label_of(method), **style)
            top = max(top, risk[coverage >= 0.05].max())
        ax.set(xlim=(0, 1), ylim=(0, max(1.05 * top, 1e-3)))
        ax.set(xlabel="Coverage (share of the predictions accepted)")
        ax.set(ylabel="Risk (error rate among accepted)")
        figure.legend(loc="outside right upper", fontsize="small")

    return fill


def _risk(confidence, correct):
    """Coverage and risk at no more points than can be seen."""
    # Two columns, the second for "correct": the order of confidences is all that counts, and
    # (1 + c) / 2 keeps it with the second column always the larger.
    second = (1 + confidence) / 2
    coverage, risk, _ = risk_coverage_curve(
        correct.astype(int), np.column_stack([1 - second, second]), labels=[0, 1]
    )
    keep = np.unique(np.searchsorted(coverage, np.linspace(coverage[0], 1, _MOST_POINTS)))
    keep = keep.clip(max=len(coverage) - 1)
    return coverage[keep], risk[keep]
