"""Coverage and size of prediction sets from the support alone, on real CLIP features.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/prediction_sets.py``.

Supports of 1 to 16 images per class are drawn, and the test split judges sets at a level of 90 %,
made in several ways:

- "step": PredictionSetClassifier, which fits and calibrates on the whole support, by left-out
  models one step away from the fit;
- "refit": the same by models that are fitted again without a fold of images;
- "full": full conformal sets;
- "split": split conformal sets, half of the support fits and the other half calibrates;
- "naive": the threshold is the quantile of the scores of the fitted rows.

All have the same score, "margin" (the default) or "lac". BayesAdapterClassifier is judged on every
support (by refits on the first), the others on the first one of 2 images per class and more.
ProKeR-given and GaussianDA-given have numbers in place of "auto", so that a theorem holds. The
results go to ``benchmarks/results/prediction_sets.csv``, so that a stopped run can go on, and to
``docs/tables/prediction_sets.rst``.
"""

import time
from functools import partial
from itertools import product

import numpy as np
from cell_runs import run_cells
from real_features import SHOTS, SINGLE_VIEW, Cell, load, support
from result_files import plain_table, write_table

from skclip import (
    BayesAdapterClassifier,
    CLAPClassifier,
    GaussianDAClassifier,
    LinearProbeClassifier,
    PredictionSetClassifier,
    ProKeRClassifier,
)
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features
from skclip.decisions.conformity_scores import SCORES

LEVEL, SEEDS = 0.9, (0, 1, 2)
KINDS = ("margin", "lac")
WAYS = ("step", "refit", "full", "split", "naive")
KEY = ("dataset", "shots", "seed", "classifier", "score", "way")
VALUES = ("accuracy", "coverage", "size", "seconds")

CLASSIFIERS = {
    "Bayes": BayesAdapterClassifier,
    "GaussianDA": GaussianDAClassifier,
    "GaussianDA-given": partial(GaussianDAClassifier, alpha=0.02),
    "ProKeR": ProKeRClassifier,
    "ProKeR-given": partial(ProKeRClassifier, beta=1.0, ridge=0.1, temperature=1.0),
    "LinearProbe": LinearProbeClassifier,
    "CLAP": CLAPClassifier,
}
TASKS = [
    *product(SINGLE_VIEW, SHOTS, SEEDS, ["Bayes"]),
    *product(SINGLE_VIEW, SHOTS[1:], SEEDS[:1], list(CLASSIFIERS)[1:]),
]


def judge(members, codes):
    """Coverage and mean size of sets (n, c)."""
    return members[np.arange(len(codes)), codes].mean(), members.sum(axis=1).mean()


def by_quantile(score, calibration, codes, test):
    """Sets (n, c) of log-probabilities `test`, by the scores of calibration rows."""
    scores = np.sort(SCORES[score](calibration)[np.arange(len(codes)), codes])
    k = int(np.ceil((len(codes) + 1) * LEVEL - 1e-9))
    return SCORES[score](test) <= (scores[k - 1] if k <= len(codes) else np.inf)


def ways_of(classifier, score, data, X, y, X_test, *, with_refits):
    """Sets (n, c) by way, and the seconds of each, fits included."""
    make = partial(CLASSIFIERS[classifier], data.prototypes)

    def support_alone(method):
        sets = PredictionSetClassifier(make(), LEVEL, conformity_score=score, method=method)
        return sets.fit(X, y).predict_set(X_test)

    def split():
        codes, shots = np.unique(y, return_inverse=True)[1], np.bincount(y).max()
        place = np.concatenate([np.arange(count) for count in np.bincount(codes)])
        first = place < shots // 2  # rows are class by class
        half = make().fit(X[first], y[first])
        calibration = half.predict_log_proba(X[~first])
        return by_quantile(score, calibration, codes[~first], half.predict_log_proba(X_test))

    def naive():
        whole, codes = make().fit(X, y), np.unique(y, return_inverse=True)[1]
        return by_quantile(
            score, whole.predict_log_proba(X), codes, whole.predict_log_proba(X_test)
        )

    ways = {"step": partial(support_alone, "step"), "naive": naive}
    if len(y) > len(np.unique(y)):
        ways["split"] = split
        if with_refits:
            ways["refit"] = partial(support_alone, "refit")
    if classifier.startswith("ProKeR"):
        ways["full"] = partial(support_alone, "full")
    for way, sets in ways.items():
        start = time.process_time()
        members = sets()
        yield way, members, time.process_time() - start


def run_one(dataset, shots, seed, classifier):
    """Rows of the CSV for one classifier on one support."""
    data = load(dataset)
    X, y = support(Cell(dataset, SINGLE_VIEW[dataset][1], shots), seed)
    X_test, y_test = data.features["test"], data.labels["test"]
    new = np.searchsorted(np.unique(y), y_test)
    accuracy = CLASSIFIERS[classifier](data.prototypes).fit(X, y).score(X_test, y_test)
    rows = []
    for score in KINDS:
        found = ways_of(classifier, score, data, X, y, X_test, with_refits=seed == SEEDS[0])
        for way, members, seconds in found:
            numbers = (accuracy, *judge(members, new), seconds)
            key = (dataset, shots, seed, classifier, score, way)
            rows.append(
                dict(zip(KEY, key, strict=True))
                | dict(zip(VALUES, (f"{v:.5g}" for v in numbers), strict=True))
            )
    return rows


HEADER = (
    *("data set", "shots", "accuracy %", "coverage %", "size", "split coverage %", "split size"),
    *("size / split size", "naive coverage %"),
)


def mean_of(rows, value, **key):
    """Mean over the rows with this key; NaN where there are none."""
    found = [float(r[value]) for r in rows if all(r[k] == str(v) for k, v in key.items())]
    return np.mean(found) if found else np.nan


def shown(number, pattern):
    return "" if np.isnan(number) else pattern.format(number)


def table_of_bayes(rows, score):
    """Title and table of the default classifier, cell by cell."""
    table, ratios, covered = [], [], []
    for dataset, shots in product(SINGLE_VIEW, SHOTS):
        key = {"dataset": dataset, "shots": shots, "score": score, "classifier": "Bayes"}
        mean = partial(mean_of, rows, **key)
        ratio = mean("size", way="step") / mean("size", way="split")
        numbers = (
            (100 * mean("accuracy"), "{:.1f}"),
            (100 * mean("coverage", way="step"), "{:.1f}"),
            (mean("size", way="step"), "{:.2f}"),
            (100 * mean("coverage", way="split"), "{:.1f}"),
            (mean("size", way="split"), "{:.2f}"),
            (ratio, "{:.2f}"),
            (100 * mean("coverage", way="naive"), "{:.1f}"),
        )
        if np.isnan(numbers[0][0]):
            continue
        table.append((dataset, shots, *(shown(*number) for number in numbers)))
        if shots > 1:
            ratios.append(ratio)
            covered.append(numbers[1][0])
    title = (
        f'Sets at 90 % of BayesAdapterClassifier, score "{score}", means of {len(SEEDS)} supports. '
        f"From 2 images: coverage {min(covered):.1f} to {max(covered):.1f} %, size over that of "
        f"split conformal {np.mean(ratios):.2f} on average, {max(ratios):.2f} at most"
    )
    return title, HEADER, table


def table_of_classifiers(rows, score):
    """Title and table of every classifier and way: means over data sets and shots from 2 on."""
    table = []
    rows = [row for row in rows if row["seed"] == "0" and row["shots"] != "1"]
    for classifier, way in product(CLASSIFIERS, WAYS[:-1]):
        key = {"classifier": classifier, "way": way, "score": score}
        cells = [row for row in rows if all(row[k] == v for k, v in key.items())]
        if not cells:
            continue
        coverage = [100 * float(row["coverage"]) for row in cells]
        ratio = [
            float(row["size"]) / mean_of(rows, "size", **{k: row[k] for k in KEY[:5]}, way="split")
            for row in cells
        ]
        table.append(
            (
                *(classifier, way, f"{100 * mean_of(cells, 'accuracy'):.1f}"),
                f"{np.mean(coverage):.1f} ({min(coverage):.1f} to {max(coverage):.1f})",
                f"{mean_of(cells, 'size'):.2f}",
                f"{np.mean(ratio):.2f}",
                f"{mean_of(cells, 'seconds'):.2f}",
            )
        )
    title = (
        f'Sets at 90 % by classifier, score "{score}": means over the data sets and 2 to '
        "16 images per class, one support each; seconds of the processor for the fit and the sets "
        "of the test split"
    )
    return title, HEADER_OF_CLASSIFIERS, table


HEADER_OF_CLASSIFIERS = (
    *("classifier", "way", "accuracy %", "coverage % (range)", "size", "size / split size"),
    "seconds",
)


def report(rows, write):
    parts = []
    for tables, score in product((table_of_bayes, table_of_classifiers), KINDS):
        title, header, table = tables(rows, score)
        if table:
            print(f"\n{title}\n{plain_table(header, table)}")
            parts.append(list_table(title, header, table))
    if write:
        write_table("prediction_sets", "prediction_sets.py", *parts, speed())


def speed():
    """Sentences: how long sets of 10,000 rows take."""
    data = make_clip_features(16, 100, n_test_per_class=100, random_state=0)
    found = []
    for name in ("Bayes", "GaussianDA", "ProKeR", "LinearProbe", "CLAP"):
        classifier = CLASSIFIERS[name](data.prototypes)
        sets = PredictionSetClassifier(classifier).fit(data.X, data.y)
        wall, own = time.perf_counter(), time.process_time()
        sets.predict_set(data.X_test)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        found.append(f"{name} {own:.1f} s ({wall:.1f} s on the clock)")
    text = (
        "``predict_set`` of 10,000 rows, 100 classes, 16 images per class, seconds of the "
        f"processor: {', '.join(found)}.\n"
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
        tasks=TASKS,
        quick=[("food9", 2, 0, "Bayes"), ("food9", 2, 0, "ProKeR-given")],
        about=__doc__,
        task_of=lambda key: key[:4],
    )


if __name__ == "__main__":
    main()
