"""Is a label worth more where `acquisition` asks for it? Pool-based loops on real CLIP features.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/active_learning.py``.

The pool is the split that supports are drawn from, its labels hidden. A loop begins with one random
image per class, as all few-shot studies do. Then, seven times, BayesAdapterClassifier is
fitted and asked for as many rows of the pool as there are classes: the largest values of
`acquisition`, or rows at random. Ten starts, the same for all ways of asking; the test split judges
after every round. "random, balanced" takes one image of every class in each round, which
nobody who does not know the labels can do: it is what "K shots" means.

The results go to ``benchmarks/results/active_learning.csv`` and
``docs/tables/active_learning.rst``.
"""

import argparse
import tempfile
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from real_features import SINGLE_VIEW, draw_support, load
from result_files import (
    RESULTS,
    environment,
    measure,
    plain_table,
    write_json,
    write_table,
)

from skclip import BayesAdapterClassifier
from skclip.benchmark import ResultFile
from skclip.benchmark.rendering import list_table

WAYS = ("random", "random, balanced", "bald", "entropy", "margin")
STARTS = 10
ROUNDS = 8
SHOWN = (1, 2, 4, 8)
KEY = ("dataset", "way", "start", "round")
VALUES = ("labels", "acc", "nll", "ece10")


def next_rows(way, classifier, X, y, unlabelled, round_, start):
    """As many unlabelled rows of the pool as there are classes."""
    rng = np.random.default_rng([start, round_])
    size = min(len(classifier.classes_), len(unlabelled))
    shuffled = rng.permutation(unlabelled)
    if way == "random":
        return shuffled[:size]
    if way == "random, balanced":
        return shuffled[np.unique(y[shuffled], return_index=True)[1]]
    worth = classifier.acquisition(X[shuffled], kind=way)
    return shuffled[np.argsort(-worth, kind="stable")[:size]]


def run_one(dataset, way, start, rounds):
    """Rows of the CSV for one loop."""
    data, split = load(dataset), SINGLE_VIEW[dataset][1]
    X, y = data.features[split], data.labels[split]
    labelled = draw_support(y, 1, start)
    rows = []
    for round_ in range(1, rounds + 1):
        classifier = BayesAdapterClassifier(data.prototypes).fit(X[labelled], y[labelled])
        proba = classifier.predict_proba(data.features["test"])
        values = measure(data.labels["test"], proba, classifier.classes_)
        rows.append(
            dict(zip(KEY, (dataset, way, start, round_), strict=True))
            | {"labels": len(labelled)}
            | {name: f"{values[name]:.6g}" for name in VALUES[1:]}
        )
        unlabelled = np.setdiff1d(np.arange(len(y)), labelled)
        chosen = next_rows(way, classifier, X, y, unlabelled, round_, start)
        labelled = np.concatenate([labelled, chosen])
    return rows


def report(rows, write):
    values = defaultdict(dict)
    for row in rows:
        for name in ("nll", "acc"):
            key = (row["dataset"], row["way"], int(row["round"]), name)
            values[key][int(row["start"])] = float(row[name])
    parts = []
    for name, digits, title in (("nll", 4, "Log-loss"), ("acc", 2, "Accuracy in %")):
        header = ["data set", "ask for", *(f"{k} per class" for k in SHOWN)]
        header += [f"better than random, of starts, at {SHOWN[-1]}"]
        table = []
        for dataset, way in product(SINGLE_VIEW, WAYS):
            shown = [values.get((dataset, way, k, name)) for k in SHOWN]
            if None in shown:
                continue
            means = [f"{np.mean(list(v.values())):.{digits}f}" for v in shown]
            table.append((dataset, way, *means, wins(values, dataset, way, name)))
        title = f"{title} on the test split, means over starts"
        print(f"\n{title}\n{plain_table(header, table)}")
        parts.append(list_table(title, header, table))
    if write:
        write_table("active_learning", "active_learning.py", *parts)


def wins(values, dataset, way, name):
    """Starts in which a way of asking ends better than rows at random."""
    if way == "random":
        return ""
    ours, theirs = (values[(dataset, w, SHOWN[-1], name)] for w in (way, "random"))
    sign = 1 if name == "acc" else -1
    return f"{sum(sign * (ours[s] - theirs[s]) > 0 for s in ours)} of {len(ours)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, one start, no file")
    parser.add_argument("--report", action="store_true", help="fit nothing: tables from the CSV")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            run(arguments, Path(folder), ("cifar10",), 1)
    else:
        run(arguments, RESULTS, SINGLE_VIEW, STARTS)


def run(arguments, folder, datasets, starts):
    results = ResultFile(folder / "active_learning.csv", KEY, VALUES)
    done = results.read()
    complete = {key[:3] for key in done if key[3] == str(ROUNDS)}
    tasks = [
        (dataset, way, start, ROUNDS)
        for start, dataset, way in product(range(starts), datasets, WAYS)
        if (dataset, way, str(start)) not in complete
    ]
    if tasks and not arguments.report:
        write_json(results.path.with_suffix(".json"), environment(loops=len(tasks)))
        results.extend(run_one, tasks, n_jobs=arguments.n_jobs)
    report(list(results.read().values()), write=not arguments.quick)


if __name__ == "__main__":
    main()
