"""The development study behind the default of BayesAdapterClassifier; reads no test split.

Run it as ``SKCLIP_FEATURE_SETS=folder python benchmarks/tune_default.py``. It compares the
default with variants of it, by public parameters, on tasks of three kinds:

- Real features. Supports of 1 to 16 images per class are drawn from the pool of each data
  set, and the rest of the pool is classified. The draws are not those of the final
  comparison. Pools of view means (see ``real_features.py``) hold nothing but supports of
  16; there the validation split, single views, is classified.
- The same with worse texts at 1 and 4 images per class: "half" moves every prototype half way
  to that of another class, "useless" all the way, "weak" leaves 0.3 of their differences.
- Synthetic features with a known answer, from 2 to 1000 classes, balanced and long-tailed,
  with good, useless and misleading prototypes. They run without the folder, too.

The constants of the default were chosen with an earlier version of this study, on the same
pools: the numbers for the default are therefore optimistic, those for its variants as well.
Written are ``benchmarks/results/tune_default.csv``, its ``.json`` with versions and
machine, and ``docs/tables/ablation.rst``.
"""

import argparse
import json
import os
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from default_variants import AVERAGES, PLAIN
from real_features import SHOTS, Cell, cells, draw_support, load
from result_files import (
    RESULTS,
    environment,
    geometric_mean,
    measure,
    plain_table,
    write_json,
    write_table,
)
from sklearn.metrics import log_loss
from sklearn.utils import Bunch

from skclip.benchmark import ResultFile
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features

VARIANTS = PLAIN | AVERAGES
FEW_SHOTS = (1, 4)

TEXTS = {
    "own": lambda T: T.copy(),
    "half": lambda T: 0.5 * T + 0.5 * np.roll(T, 1, axis=0),
    "weak": lambda T: 0.3 * T + 0.7 * T.mean(axis=0),
    "useless": lambda T: np.roll(T, 1, axis=0),
}
KINDS = ("single views", "view means", "half texts", "weak texts", "useless texts", "synthetic")

# Prototypes whose informative part has this cosine with the truth.
QUALITY = {"good": 0.8, "useless": 0.0, "misleading": -0.5}
FIRST_SEED = 200  # the final comparison has seeds 0, 1 and 2

KEY = ("kind", "task", "shots", "seed", "variant")
METRICS = ("acc", "ece10", "nll", "aurc_x1000", "brier", "prior_precision", "temperature", "truth")


@dataclass(frozen=True)
class Pool:
    """Supports from a pool; the rest of it (for view means: the split "val") is classified."""

    cell: Cell
    text: str = "own"

    @property
    def key(self):
        kind = "single views" if self.cell.single_view else "view means"
        if self.text != "own":
            kind = f"{self.text} texts"
        return kind, f"{self.cell.dataset} {self.cell.split}", self.cell.shots

    def draw(self, seed):
        data, split = load(self.cell.dataset), self.cell.split
        X, y = data.features[split], data.labels[split]
        rows = draw_support(y, self.cell.shots, seed)
        if self.cell.single_view:
            rest = np.setdiff1d(np.arange(len(y)), rows)
            X_dev, y_dev = X[rest], y[rest]
        else:
            X_dev, y_dev = data.features["val"], data.labels["val"]
        prototypes = TEXTS[self.text](data.prototypes.vectors)
        prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
        return Bunch(X=X[rows], y=y[rows], X_dev=X_dev, y_dev=y_dev, prototypes=prototypes)


@dataclass(frozen=True)
class Synthetic:
    """Features with known class probabilities; `truth` is the log-loss of those."""

    n_classes: int
    shots: int
    prior: str = "good"
    imbalance: float = 1.0

    @property
    def key(self):
        tail = "" if self.imbalance == 1 else f", long tail {self.imbalance:g}:1"
        return "synthetic", f"{self.n_classes} classes, {self.prior}{tail}", self.shots

    def draw(self, seed):
        data = make_clip_features(
            self.shots,
            self.n_classes,
            prior_quality=QUALITY[self.prior],
            imbalance=self.imbalance,
            n_test_per_class=max(2, 2000 // self.n_classes),
            random_state=seed,
        )
        data.update(X_dev=data.X_test, y_dev=data.y_test)
        data.truth = log_loss(data.y_test, data.proba_test, labels=np.arange(self.n_classes))
        return data


SYNTHETIC = (
    *(Synthetic(2, 4), Synthetic(2, 16, "misleading")),
    *(Synthetic(10, 1), Synthetic(10, 4, "useless"), Synthetic(10, 16)),
    *(Synthetic(30, 4), Synthetic(30, 4, "misleading"), Synthetic(30, 16, imbalance=16.0)),
    *(Synthetic(200, 1), Synthetic(200, 4), Synthetic(200, 4, "useless")),
    *(Synthetic(1000, 1), Synthetic(1000, 4), Synthetic(1000, 4, imbalance=4.0)),
)


def run_one(description, seed, variant):
    """The row of one fit."""
    task = description.draw(seed)
    classifier = VARIANTS[variant].make(task, seed).fit(task.X, task.y)
    values = measure(task.y_dev, classifier.predict_proba(task.X_dev), classifier.classes_)
    values["prior_precision"] = float(classifier.prior_precision_[0])
    values["temperature"] = classifier.temperature_
    values["truth"] = task.get("truth", np.nan)
    row = dict(zip(KEY, (*description.key, seed, variant), strict=True))
    return [row | {name: f"{values[name]:.6g}" for name in METRICS}]


# -- tables -------------------------------------------------------------------------


def task_means(rows):
    """Variant -> {(kind, task, shots): {metric: mean over seeds}}."""
    values = defaultdict(lambda: defaultdict(list))
    for row in rows:
        task = (row["kind"], row["task"], int(row["shots"]))
        values[row["variant"]][task].append([float(row[name]) for name in METRICS])
    return {
        variant: {
            task: dict(zip(METRICS, np.mean(numbers, axis=0), strict=True))
            for task, numbers in by_task.items()
        }
        for variant, by_task in values.items()
    }


def averages_posterior(description):
    """Whether averages over a posterior are tried on this task."""
    if isinstance(description, Synthetic) or description.text != "own":
        return False
    return description.cell.single_view and description.cell.shots in FEW_SHOTS


ABLATION_HEADER = (
    *("variant", "NLL / default", "smallest", "largest"),
    *("ECE %", "AURC x 1000", "accuracy %"),
)


def ablation_rows(means, chosen, variants):
    """NLL of every variant over that of the default, and means of the other metrics."""
    for variant in variants:
        by_task = means.get(variant, {})
        if not all(task in by_task for task in chosen):
            continue
        ratios = [by_task[task]["nll"] / means["bayes"][task]["nll"] for task in chosen]
        average = {name: np.mean([by_task[task][name] for task in chosen]) for name in METRICS}
        yield (
            VARIANTS[variant].label,
            *(f"{mean(ratios):.3f}" for mean in (geometric_mean, min, max)),
            *(f"{average['ece10']:.2f}", f"{average['aurc_x1000']:.2f}", f"{average['acc']:.2f}"),
        )


SYNTHETIC_HEADER = (
    *("task", "shots", "truth", *(method.label for method in PLAIN.values())),
    *("ECE % of default", "its precision", "its temperature"),
)


def synthetic_rows(means, chosen):
    """NLL of the truth and of every variant on every synthetic task."""
    for task in chosen:
        default = means["bayes"][task]
        done = (means.get(variant, {}).get(task) for variant in PLAIN)
        yield (
            *(*task[1:], f"{default['truth']:.3f}"),
            *("" if values is None else f"{values['nll']:.3f}" for values in done),
            *(f"{default['ece10']:.1f}", f"{default['prior_precision']:.1f}"),
            f"{default['temperature']:.2f}",
        )


def report(rows, write):
    """Print the tables, and write them to the documentation."""
    means = task_means(rows)
    parts = []
    for kind in KINDS:
        chosen = sorted(task for task in means.get("bayes", {}) if task[0] == kind)
        if not chosen:
            continue
        if kind == "synthetic":
            order = {description.key: index for index, description in enumerate(SYNTHETIC)}
            chosen.sort(key=order.get)
            title, header = "Synthetic tasks: NLL in nats", SYNTHETIC_HEADER
            table = list(synthetic_rows(means, chosen))
        else:
            title, header = f"Support pools, {len(chosen)} cells: {kind}", ABLATION_HEADER
            table = list(ablation_rows(means, chosen, PLAIN))
        print(f"\n{title}\n{plain_table(header, table)}")
        parts.append(list_table(title, header, table))
    chosen = sorted(means.get(next(iter(AVERAGES)), {}))
    if chosen:
        title = f"Averages over a posterior, {len(chosen)} cells: single views"
        table = list(ablation_rows(means, chosen, ["bayes", *AVERAGES]))
        print(f"\n{title}\n{plain_table(ABLATION_HEADER, table)}")
        parts.append(list_table(title, ABLATION_HEADER, table))
    if write:
        write_table("ablation", "tune_default.py", *parts)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Compare the default with variants of it, without any test split."
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--draws", type=int, default=1, help="number of draws")
    parser.add_argument("--quick", action="store_true", help="4 shots, 30 classes, no file")
    parser.add_argument("--largest", type=int, default=1000, help="number of synthetic classes")
    parser.add_argument("--refresh", action="store_true", help="measure --variants again")
    parser.add_argument("--n-jobs", type=int, default=1)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.quick:
        arguments.largest = min(arguments.largest, 30)
        with tempfile.TemporaryDirectory() as folder:
            run(arguments, Path(folder), shots=(4,))
    else:
        run(arguments, RESULTS, SHOTS)


def run(arguments, folder, shots):
    """Measure what the CSV lacks, and report all that it holds."""
    results = ResultFile(folder / "tune_default.csv", KEY, METRICS)
    rows = results.read()
    if arguments.refresh:
        rows = {key: row for key, row in rows.items() if row["variant"] not in arguments.variants}
    results.replace(rows.values())
    pools = []
    if os.environ.get("SKCLIP_FEATURE_SETS"):
        pools = [Pool(cell) for cell in cells(shots)]
        few = [cell for cell in cells(shots) if cell.single_view and cell.shots in FEW_SHOTS]
        pools += [Pool(cell, text) for text in TEXTS if text != "own" for cell in few]
    synthetic = [task for task in SYNTHETIC if task.n_classes <= arguments.largest]
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.draws)
    tasks = [
        task
        for task in product([*pools, *synthetic], seeds, arguments.variants)
        if (*map(str, (*task[0].key, *task[1:])),) not in rows
        and (task[2] in PLAIN or averages_posterior(task[0]))
    ]
    if tasks:
        path = results.path.with_suffix(".json")
        runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        write_json(path, [*runs, environment(variants=arguments.variants, fits=len(tasks))])
        results.extend(run_one, tasks, n_jobs=arguments.n_jobs)
    report(results.read().values(), write=not arguments.quick)


if __name__ == "__main__":
    main()
