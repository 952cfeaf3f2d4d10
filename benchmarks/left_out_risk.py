"""Selective classification without spare rows: how often is the target missed?

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/left_out_risk.py``.

BayesAdapterClassifier is fitted on a support of 1 to 16 images per class, twenty draws of it, and a
threshold is chosen by the same images, each judged by a model without it, in four ways:

- "tests": SelectiveClassifier with ``calibration="left_out"``, the exact tests at 95 %, as if the
rows
  were independent of the fit;
- "tests at 50 %": the same with ``confidence_level=0.5``;
- "plug-in": the loosest threshold whose share of errors is at most the target;
- "confidence": accept where the largest probability is at least one minus the target: no labels.

The whole test split judges. "Missed" is the share of supports whose risk there is above the
target, "by class" with every class as frequent, as in the support; "shown" is the share where an
exact binomial test of the test rows, at 5 %, says it cannot be chance. "Pool, by class" is "by
class" on the rest of the pool that the support is drawn from, where 100 rows are left, which tells
the rule from a test split that is not like the pool. "None" is the share of
supports with which nothing is accepted, "coverage" the mean share of accepted test rows, those
included.

The results go to ``benchmarks/results/left_out_risk.csv``, so that a stopped run can go on, and to
``docs/tables/left_out_risk.rst``.
"""

from itertools import product

import numpy as np
from cell_runs import run_cells
from real_features import SHOTS, SINGLE_VIEW, Cell, draw_support, load, support
from result_files import plain_table, write_table
from scipy.stats import binom
from selective_risk import oracle

from skclip import BayesAdapterClassifier
from skclip.benchmark.rendering import list_table
from skclip.decisions.left_out_scores import fit_and_leave_out
from skclip.decisions.risk_control import certify

TARGETS = (0.05, 0.02, 0.01)
DRAWS = 20
FEWEST = 100  # rows of the rest of the pool that can judge
WAYS = ("tests", "tests at 50 %", "plug-in", "confidence")
KEY = ("dataset", "shots", "draw", "target", "way")
VALUES = ("n_support", "coverage", "risk", "risk_by_class", "shown", "pool_risk_by_class")


def threshold(way, confidence, wrong, target):
    if way == "tests":
        return certify(confidence, wrong, target, 0.05).threshold
    if way == "tests at 50 %":
        return certify(confidence, wrong, target, 0.5).threshold
    return oracle(confidence, wrong, target) if way == "plug-in" else 1 - target


def risk_by_class(accepted, wrong, y):
    """Risk where every class that occurs is as frequent; 0 where nothing is accepted."""
    weight = 1 / np.bincount(y)[y]
    return weight[accepted & wrong].sum() / max(weight[accepted].sum(), 1e-300)


def rest_of_pool(data, dataset, shots, draw):
    """Rows and labels of the pool that the support was drawn from, without it."""
    split = SINGLE_VIEW[dataset][1]
    y = data.labels[split]
    rows = np.setdiff1d(np.arange(len(y)), draw_support(y, shots, draw))
    return data.features[split][rows], y[rows]


def run_one(dataset, shots, draw):
    """Rows of the CSV for one support."""
    data = load(dataset)
    X, y = support(Cell(dataset, SINGLE_VIEW[dataset][1], shots), draw)
    y_test = data.labels["test"]
    fitted, left_out, _ = fit_and_leave_out(BayesAdapterClassifier(data.prototypes), X, y, None)
    proba = fitted.predict_proba(data.features["test"])
    confidence, wrong = left_out.max(axis=1), fitted.classes_[left_out.argmax(axis=1)] != y
    new, new_wrong = proba.max(axis=1), fitted.classes_[proba.argmax(axis=1)] != y_test
    rest = rest_of_pool(data, dataset, shots, draw)
    pool = fitted.predict_proba(rest[0]) if len(rest[1]) >= FEWEST else None
    rows = []
    for target, way in product(TARGETS, WAYS):
        limit = threshold(way, confidence, wrong, target)
        accepted, pool_risk = new >= limit, np.nan
        if pool is not None:
            pool_wrong = fitted.classes_[pool.argmax(axis=1)] != rest[1]
            pool_risk = risk_by_class(pool.max(axis=1) >= limit, pool_wrong, rest[1])
        n, errors = accepted.sum(), (accepted & new_wrong).sum()
        numbers = (
            len(y),
            accepted.mean(),
            errors / max(n, 1),
            risk_by_class(accepted, new_wrong, y_test),
            float(n > 0 and binom.sf(errors - 1, n, target) <= 0.05),
            pool_risk,
        )
        rows.append(
            dict(zip(KEY, (dataset, shots, draw, target, way), strict=True))
            | dict(zip(VALUES, (f"{value:.5g}" for value in numbers), strict=True))
        )
    return rows


def summary(rows, target):
    """(missed, by class, shown, in the pool by class, none, coverage) in per cent."""
    found = {name: np.array([float(row[name]) for row in rows]) for name in VALUES}
    in_pool = found["pool_risk_by_class"][~np.isnan(found["pool_risk_by_class"])] > target
    parts = (
        found["risk"] > target,
        found["risk_by_class"] > target,
        found["shown"],
        in_pool if len(in_pool) else np.nan,
        found["coverage"] == 0,
        found["coverage"],
    )
    return [100 * np.mean(part) for part in parts]


def totals(rows, way):
    """A sentence: how often the target is missed where anything is accepted."""
    some = [row for row in rows if row["way"] == way and float(row["coverage"]) > 0]
    missed = sum(float(row["risk"]) > float(row["target"]) for row in some)
    every = sum(row["way"] == way for row in rows)
    return (
        f"{way}: of {every} combinations of support and target {len(some)} accept anything, and "
        f"{missed} of these miss the target."
    )


def report(rows, write):
    parts = []
    for target in TARGETS:
        chosen = [row for row in rows if float(row["target"]) == target]
        header = ("way", "shots", "missed %", "by class %", "shown %", "pool, by class %")
        header += ("none %", "coverage %")
        table = []
        for way, shots in product(WAYS, SHOTS):
            some = [r for r in chosen if (r["way"], int(r["shots"])) == (way, shots)]
            if some:
                table.append((way, shots, *(f"{v:.1f}" for v in summary(some, target))))
        title = f"Target {100 * target:g} %: means over data sets and supports"
        print(f"\n{title}\n{plain_table(header, table)}")
        parts.append(list_table(title, header, table))
    header = ("data set", "shots", "images")
    header += tuple(
        f"{100 * t:g} %: {what}" for t in TARGETS for what in ("missed", "risk", "cov.")
    )
    table = []
    for dataset, shots in product(SINGLE_VIEW, SHOTS):
        cell = [r for r in rows if (r["dataset"], int(r["shots"])) == (dataset, shots)]
        cell = [r for r in cell if r["way"] == "tests"]
        if cell:
            numbers = []
            for target in TARGETS:
                some = [r for r in cell if float(r["target"]) == target]
                missed, *_, coverage = summary(some, target)
                risks = [float(r["risk"]) for r in some if float(r["coverage"]) > 0]
                risk = f"{100 * np.mean(risks):.1f}" if risks else ""
                numbers += [f"{missed:.0f}", risk, f"{coverage:.1f}"]
            table.append((dataset, shots, cell[0]["n_support"], *numbers))
    title = (
        '"Tests", by data set: share of supports that miss the target, mean risk where anything is '
        "accepted, and mean coverage, in %"
    )
    print(f"\n{title}\n{plain_table(header, table)}")
    parts.append(list_table(title, header, table))
    sentence = "".join(f"- {totals(rows, way)}\n" for way in WAYS)
    print(f"\n{sentence}")
    if write:
        write_table("left_out_risk", "left_out_risk.py", sentence, *parts)


def main():
    run_cells(
        "left_out_risk",
        KEY,
        VALUES,
        run_one,
        report,
        tasks=list(product(SINGLE_VIEW, SHOTS, range(DRAWS))),
        quick=[("food9", 16, 0)],
        about=__doc__,
    )


if __name__ == "__main__":
    main()
