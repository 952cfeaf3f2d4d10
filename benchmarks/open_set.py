"""False alarms of OpenSetClassifier, stated and real, and what is found, on real CLIP features.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/open_set.py``.

A third of the classes, drawn anew for each of five draws, has neither images nor prototypes when
fitting. OpenSetClassifier takes its threshold from a support of 1 to 16 images of each other
class, at a stated rate of 5 and 10 %. The test split judges:

- "false alarms": test rows of the known classes that are called unknown, as they come ("by row")
and
  as the mean over the classes ("by class": as if all were as frequent, as in the support);
  "worst support" is the largest of the five draws;
- "found": test rows of the hidden classes that are called unknown;
- "naive": the same where the threshold is the quantile of the scores of the fitted rows;
- "oracle found": what is found where the threshold has the stated rate on the known test rows.

"Refit" is the same with ``method="refit"``, "LogisticRegression" another classifier. The results go
to ``benchmarks/results/open_set.csv``, so that a stopped run can go on, and to
``docs/tables/open_set.rst``.
"""

import warnings
from itertools import product

import numpy as np
from cell_runs import run_cells
from real_features import SHOTS, SINGLE_VIEW, draw_support, load
from result_files import plain_table, write_table
from sklearn.linear_model import LogisticRegression

from skclip import BayesAdapterClassifier, OpenSetClassifier, Prototypes, ood_score
from skclip.benchmark.rendering import list_table
from skclip.decisions.open_set import score_threshold
from skclip.exceptions import GuaranteeWarning

RATES = (0.05, 0.1)
DRAWS = 5
WAYS = ("step", "refit", "LogisticRegression")
KEY = ("dataset", "shots", "draw", "way", "rate")
VALUES = ("n_support", "by_row", "by_class", "found", "naive_by_class", "naive_found")
VALUES += ("oracle_found",)


def run_one(dataset, shots, draw):
    """Rows of the CSV for one support."""
    data, split = load(dataset), SINGLE_VIEW[dataset][1]
    codes, y, y_test = data.prototypes.labels, data.labels[split], data.labels["test"]
    hidden = np.random.default_rng(draw).permutation(codes)[: len(codes) // 3]
    known = np.setdiff1d(codes, hidden)
    rows = draw_support(y, shots, draw)
    rows = rows[np.isin(y[rows], known)]
    X, y = data.features[split][rows], y[rows]
    is_known = np.isin(y_test, known)
    inside, outside = data.features["test"][is_known], data.features["test"][~is_known]
    text = Prototypes(data.prototypes.vectors[known], known)
    found = []
    for way in WAYS:
        estimator = BayesAdapterClassifier(text)
        if way == "LogisticRegression":
            estimator = LogisticRegression(C=100, max_iter=1000)
            if shots == 1:  # a model without the image does not know its class
                continue
        method = "refit" if way == "refit" else "auto"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GuaranteeWarning)  # too few images: nothing is unknown
            detector = OpenSetClassifier(estimator, method=method).fit(X, y)
        of_fit, of_known, of_hidden = (
            ood_score(detector.estimator_, part, detector.kind_) for part in (X, inside, outside)
        )
        for rate in RATES:
            limit = score_threshold(detector.support_scores_, np.ones(len(y)), rate)
            naive = np.quantile(of_fit, 1 - rate)
            numbers = (
                len(y),
                (of_known > limit).mean(),
                by_class(of_known > limit, y_test[is_known]),
                (of_hidden > limit).mean(),
                by_class(of_known > naive, y_test[is_known]),
                (of_hidden > naive).mean(),
                (of_hidden > np.quantile(of_known, 1 - rate)).mean(),
            )
            found.append(
                dict(zip(KEY, (dataset, shots, draw, way, rate), strict=True))
                | dict(zip(VALUES, (f"{value:.5g}" for value in numbers), strict=True))
            )
    return found


def by_class(flags, y):
    """Mean over the classes."""
    return np.mean([flags[y == label].mean() for label in np.unique(y)])


HEADER = ("data set", "shots", "images", "false alarms % by row", "by class", "worst support")
HEADER += ("found %", "oracle found %", "naive false alarms % by class", "naive found %")
COLUMNS = ("by_row", "by_class", "found", "oracle_found", "naive_by_class", "naive_found")


def report(rows, write):
    parts = []
    for rate, way in product(RATES, WAYS):
        table, by_class_of = [], []
        for dataset, shots in product(SINGLE_VIEW, SHOTS):
            cell = [
                row
                for row in rows
                if (row["dataset"], int(row["shots"]), row["way"]) == (dataset, shots, way)
                and float(row["rate"]) == rate
            ]
            if not cell:
                continue
            mean = {name: 100 * np.mean([float(row[name]) for row in cell]) for name in VALUES}
            n = int(cell[0]["n_support"])
            if n >= np.ceil(1 / rate) - 1:
                by_class_of.append(mean["by_class"])
            worst = 100 * max(float(row["by_class"]) for row in cell)
            numbers = [f"{mean[name]:.1f}" for name in COLUMNS]
            table.append((dataset, shots, n, *numbers[:2], f"{worst:.1f}", *numbers[2:]))
        if not table:
            continue
        name = {"step": "default", "refit": "default, refitted"}.get(way, way)
        title = (
            f"Stated {100 * rate:g} %, {name}, means of {DRAWS} supports. False alarms by class, "
            f"where there are images enough: {np.mean(by_class_of):.1f} % on average, "
            f"{min(by_class_of):.1f} to {max(by_class_of):.1f} %"
        )
        print(f"\n{title}\n{plain_table(HEADER, table)}")
        parts.append(list_table(title, HEADER, table))
    if write:
        write_table("open_set", "open_set.py", *parts)


def main():
    run_cells(
        "open_set",
        KEY,
        VALUES,
        run_one,
        report,
        tasks=list(product(SINGLE_VIEW, SHOTS, range(DRAWS))),
        quick=[("cifar10", 4, 0)],
        about=__doc__,
    )


if __name__ == "__main__":
    main()
