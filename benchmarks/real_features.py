"""Arrays of real CLIP features in a folder: its data sets, supports and reference run.

The folder is named by the environment variable SKCLIP_FEATURE_SETS. Each file holds unit
text features (c, d), and rows and labels of several splits; ``reference_results.csv``
holds the results of the published recipes on the same draws, by independent code.
"""

import csv
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skclip.benchmark import load_feature_dataset

SHOTS = (1, 2, 4, 8, 16)

# data set -> (file, split that shots are drawn from, in single views)
SINGLE_VIEW = {
    "pets25": ("pets25_vitb32.npz", "val"),
    "caltech69": ("caltech69_vitb32.npz", "val"),
    "food9": ("food9_semanticlip_vitb32.npz", "train"),
    "cifar10": ("cifar10_laion_vitb32.npz", "train"),
}
# The rows of this split are renormalised means of ten augmented views of an image.
VIEW_MEANS = {name: (SINGLE_VIEW[name][0], "train16") for name in ("pets25", "caltech69")}

# The recipes that the goals are relative to; the reference also has logistic regression.
RECIPES = ("zero-shot", "zslp", "clap", "bayes")


@dataclass(frozen=True, order=True)
class Cell:
    """One row of the comparison: a data set, the split of its supports, and the shots."""

    dataset: str
    split: str
    shots: int

    @property
    def single_view(self):
        return self.split != "train16"


def cells(shots=SHOTS):
    """20 single-view cells, then 10 of view means."""
    return [
        Cell(name, split, k)
        for family in (SINGLE_VIEW, VIEW_MEANS)
        for name, (_, split) in family.items()
        for k in shots
    ]


def folder():
    """The folder that SKCLIP_FEATURE_SETS names; exits with what to do when there is none."""
    name = os.environ.get("SKCLIP_FEATURE_SETS", "")
    if not Path(name).is_dir() or not name:
        raise SystemExit(
            "The comparison needs a folder of real CLIP features; got "
            f"SKCLIP_FEATURE_SETS={name!r}. Set the variable to a folder that holds "
            f"{', '.join(file for file, _ in SINGLE_VIEW.values())} and reference_results.csv."
        )
    return Path(name)


def load(dataset):
    return load_feature_dataset(folder() / SINGLE_VIEW[dataset][0])


def draw_support(y, shots, seed):
    """Row indices: the first `shots` of a permutation per class, classes in order."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(y == code))[:shots] for code in np.unique(y)]
    )


def support(cell, seed):
    """Features and labels of a draw."""
    data = load(cell.dataset)
    y = data.labels[cell.split]
    rows = draw_support(y, cell.shots, seed)
    return data.features[cell.split][rows], y[rows]


def reference_nll():
    """Cell -> {method: log-loss, mean over the draws} of the reference run."""
    losses = defaultdict(lambda: defaultdict(list))
    with (folder() / "reference_results.csv").open() as file:
        for row in csv.DictReader(file):
            cell = Cell(row["dataset"], row["support_split"], int(row["shots"]))
            losses[cell][row["method"]].append(float(row["nll"]))
    return {
        cell: {method: math.fsum(values) / len(values) for method, values in by_method.items()}
        for cell, by_method in losses.items()
    }
