"""Coverage and size of prediction sets from the support alone, on real CLIP features.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/prediction_sets.py``.

Supports of 1 to 16 images per class are drawn, and the test split judges sets at a level of 90 %
of BayesAdapterClassifier, three ways:

- "support": PredictionSetClassifier, which fits and calibrates on the whole support;
- "split": split conformal sets, half of the support fits and the other half calibrates;
- "naive": the threshold is the quantile of the scores of the fitted rows.

All three have the same score, "margin" (the default) or "lac". The results go to
``benchmarks/results/prediction_sets.csv``, so that a stopped run can go on, and to
``docs/tables/prediction_sets.rst``.
"""

import time
from itertools import product

import numpy as np
from cell_runs import run_cells
from real_features import SHOTS, SINGLE_VIEW, Cell, load, support
from result_files import plain_table, write_table

from skclip import BayesAdapterClassifier, PredictionSetClassifier
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features
from skclip.decisions.conformity_scores import SCORES

LEVEL, SEEDS = 0.9, (0, 1, 2)
KINDS = ("margin", "lac")
WAYS = ("support", "split", "naive")
KEY = ("dataset", "shots", "seed", "score")
VALUES = ("accuracy", *(f"{way}_{what}" for way in WAYS for what in ("coverage", "size")))


def judge(members, codes):
    """Coverage and mean size of sets (n, c)."""
    return members[np.arange(len(codes)), codes].mean(), members.sum(axis=1).mean()


def by_quantile(score, calibration, codes, test):
    """Sets (n, c) of log-probabilities `test`, by the scores of calibration rows."""
    scores = np.sort(SCORES[score](calibration)[np.arange(len(codes)), codes])
    k = int(np.ceil((len(codes) + 1) * LEVEL - 1e-9))
    return SCORES[score](test) <= (scores[k - 1] if k <= len(codes) else np.inf)


def run_one(dataset, shots, seed):
    """Rows of the CSV for one support."""
    data = load(dataset)
    X, y = support(Cell(dataset, SINGLE_VIEW[dataset][1], shots), seed)
    X_test, y_test = data.features["test"], data.labels["test"]
    classes = np.unique(y)
    text = data.prototypes
    codes, new = np.searchsorted(classes, y), np.searchsorted(classes, y_test)
    whole = BayesAdapterClassifier(text).fit(X, y)
    proba = whole.predict_log_proba(X_test)
    place = np.concatenate([np.arange((y == label).sum()) for label in classes])
    first = place < shots // 2  # rows are class by class
    rows = []
    for score in KINDS:
        sets = PredictionSetClassifier(whole, LEVEL, conformity_score=score).fit(X, y)
        found = {"support": judge(sets.predict_set(X_test), new)}
        found["naive"] = judge(by_quantile(score, whole.predict_log_proba(X), codes, proba), new)
        found["split"] = (np.nan, np.nan)
        if shots > 1:
            half = BayesAdapterClassifier(text).fit(X[first], y[first])
            calibration = half.predict_log_proba(X[~first])
            members = by_quantile(score, calibration, codes[~first], half.predict_log_proba(X_test))
            found["split"] = judge(members, new)
        accuracy = (proba.argmax(axis=1) == new).mean()
        numbers = (accuracy, *(value for way in WAYS for value in found[way]))
        rows.append(
            dict(zip(KEY, (dataset, shots, seed, score), strict=True))
            | dict(zip(VALUES, (f"{v:.5g}" for v in numbers), strict=True))
        )
    return rows


HEADER = (
    *("data set", "shots", "accuracy %", "coverage %", "size", "split coverage %", "split size"),
    *("size / split size", "naive coverage %"),
)


def report(rows, write):
    parts = []
    for score in KINDS:
        table = []
        for dataset, shots in product(SINGLE_VIEW, SHOTS):
            cell = [
                row
                for row in rows
                if (row["dataset"], int(row["shots"]), row["score"]) == (dataset, shots, score)
            ]
            if not cell:
                continue
            mean = {name: np.mean([float(row[name]) for row in cell]) for name in VALUES}
            ratio = mean["support_size"] / mean["split_size"]
            numbers = (
                f"{100 * mean['accuracy']:.1f}",
                f"{100 * mean['support_coverage']:.1f}",
                f"{mean['support_size']:.2f}",
                f"{100 * mean['split_coverage']:.1f}",
                f"{mean['split_size']:.2f}",
                f"{ratio:.2f}",
                f"{100 * mean['naive_coverage']:.1f}",
            )
            table.append((dataset, shots, *("" if text == "nan" else text for text in numbers)))
        ratios = [float(row[7]) for row in table if row[7]]
        covered = [float(row[3]) for row in table if row[1] > 1]
        mean_ratio, largest = np.mean(ratios), max(ratios)
        title = (
            f'Sets at 90 %, score "{score}", means of {len(SEEDS)} supports. From 2 images: '
            f"coverage {min(covered):.1f} to {max(covered):.1f} %, size over that of split "
            f"conformal {mean_ratio:.2f} on average, {largest:.2f} at most"
        )
        print(f"\n{title}\n{plain_table(HEADER, table)}")
        parts.append(list_table(title, HEADER, table))
    if write:
        write_table("prediction_sets", "prediction_sets.py", *parts, speed())


def speed():
    """A sentence: how long sets of 10,000 rows take."""
    data = make_clip_features(16, 100, n_test_per_class=100, random_state=0)
    classifier = BayesAdapterClassifier(data.prototypes)
    sets = PredictionSetClassifier(classifier).fit(data.X, data.y)
    wall, own = time.perf_counter(), time.process_time()
    sets.predict_set(data.X_test)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    text = (
        f"``predict_set`` of 10,000 rows, 100 classes, 16 images per class: {own:.1f} s of the "
        f"processor, {wall:.1f} s on the clock.\n"
    )
    print(f"\n{text}")
    return text


def main():
    run_cells(
        "prediction_sets",
        KEY,
        VALUES,
        run_one,
        report,
        tasks=list(product(SINGLE_VIEW, SHOTS, SEEDS)),
        quick=[("food9", 2, 0)],
        about=__doc__,
    )


if __name__ == "__main__":
    main()
