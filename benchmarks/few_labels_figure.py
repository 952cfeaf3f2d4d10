"""The picture of the README: accuracy and calibration over labels per class.

Run it as ``python benchmarks/few_labels_figure.py`` after ``feature_sets.py``, whose raw results it
reads. Written is ``docs/_static/few_labels.svg``, with the numbers of its curves inside.
"""

import argparse
import json

import matplotlib.pyplot as plt
import pandas as pd
from result_files import RESULTS, ROOT

from skclip.benchmark.figures import style_of

TARGET = ROOT / "docs" / "_static" / "few_labels.svg"
METHODS = {
    "bayes": "BayesAdapterClassifier",
    "tip-adapter-f": "Tip-Adapter-F",
    "clap": "CLAP",
    "logistic-regression-cv": "LogisticRegressionCV",
    "zero-shot": "zero-shot",
}
PANELS = {"acc": "Accuracy in % (higher is better)", "ece10": "ECE in % (lower is better)"}
SHOTS = [1, 2, 4, 8, 16]


def curves():
    """Metric -> method -> values over SHOTS, None where a method needs more labels.

    Means over draws, then over the four data sets, of supports that are single views.
    """
    frame = pd.read_csv(RESULTS / "feature_sets.csv")
    frame = frame[frame["support_split"] != "train16"]
    keys = ["method", "shots", "dataset"]
    means = frame.groupby(keys)[list(PANELS)].mean().groupby(keys[:2]).mean()
    return {
        metric: {
            method: [
                round(float(means.loc[method, shots][metric]), 3)
                if (method, shots) in means.index
                else None
                for shots in SHOTS
            ]
            for method in METHODS
        }
        for metric in PANELS
    }


def draw(found):
    """The figure of such curves."""
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.4), layout="constrained")
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for index, (method, label) in enumerate(METHODS.items()):
            known = [(k, v) for k, v in zip(SHOTS, found[metric][method], strict=True) if v]
            width = 2.6 if method == "bayes" else 1.3
            ax.plot(*zip(*known, strict=True), label=label, linewidth=width, **style_of(index))
        ax.set_xscale("log", base=2)
        ax.set_xticks(SHOTS, [str(shots) for shots in SHOTS])
        ax.set(xlabel="Labelled images per class", title=title)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="print the numbers; write nothing")
    found = curves()
    if parser.parse_args().quick:
        print(json.dumps(found))
        return
    described = {"Description": json.dumps(found), "Date": None, "Creator": None}
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "skclip"}):
        draw(found).savefig(TARGET, metadata=described)
    print(TARGET)


if __name__ == "__main__":
    main()
