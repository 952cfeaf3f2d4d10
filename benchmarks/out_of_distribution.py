"""How well do post-hoc scores tell rows of no class from the others, on real CLIP features?

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/out_of_distribution.py``.

Rows of the test split are scored by classifiers fitted on 1, 4 and 16 images per class; AUROC
is the probability that an outlier scores higher than a row of a known class. Two kinds of
outliers:

- near: a third of the classes, drawn anew for each of five draws, has neither images nor
  prototypes when fitting;
- far: the classes of another data set, embedded by the same model: pets and Caltech-101 are.

"Zero-shot" scores need no labels. The scores of the adapted classifier come from the default
BayesAdapterClassifier; with posterior="laplace" its probabilities are averages over draws
from the posterior, and mutual information is how much the draws disagree. The results go to
``benchmarks/results/out_of_distribution.csv`` and ``docs/tables/out_of_distribution.rst``.
"""

import argparse
import tempfile
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from default_variants import LAPLACE
from real_features import SINGLE_VIEW, draw_support, load
from result_files import RESULTS, environment, plain_table, write_json, write_table
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch

from skclip import Prototypes, ood_score
from skclip.benchmark import METHODS, ResultFile
from skclip.benchmark.rendering import list_table

SHOTS = (1, 4, 16)
DRAWS = 5
# One encoder: the outliers of the other set differ in content, not in the model.
FAR = {"pets25": "caltech69", "caltech69": "pets25"}
TASKS = (*(("near", name) for name in SINGLE_VIEW), *(("far", name) for name in FAR))
KINDS = ("msp", "entropy", "energy", "mutual_information", "prototype_distance")
CLASSIFIERS = {
    "zero-shot": METHODS["zero-shot"],
    "adapted": METHODS["bayes"],
    "adapted, laplace": LAPLACE,
}
# Scores that are not those of the row above: text prototypes are the same for all, a
# Laplace posterior changes what is averaged over draws.
SCORES = (
    *(("zero-shot", kind) for kind in KINDS if kind != "mutual_information"),
    *(("adapted", kind) for kind in KINDS if kind != "prototype_distance"),
    *(("adapted, laplace", kind) for kind in ("msp", "entropy", "mutual_information")),
)
KEY = ("outliers", "dataset", "shots", "draw", "classifier", "kind")
VALUES = ("auroc",)


def task_arrays(outliers, dataset, shots, draw):
    """(X, y, text) of the support, and rows of known classes and outliers of the test split."""
    data, split = load(dataset), SINGLE_VIEW[dataset][1]
    y, y_test = data.labels[split], data.labels["test"]
    rows = draw_support(y, shots, draw)
    codes = data.prototypes.labels
    if outliers == "far":
        known, strange = codes, load(FAR[dataset]).features["test"]
    else:
        hidden = np.random.default_rng(draw).permutation(codes)[: len(codes) // 3]
        known = np.setdiff1d(codes, hidden)
        strange = data.features["test"][np.isin(y_test, hidden)]
        rows = rows[np.isin(y[rows], known)]
    text = Prototypes(data.prototypes.vectors[known], known)
    inside = data.features["test"][np.isin(y_test, known)]
    return data.features[split][rows], y[rows], text, inside, strange


def run_one(outliers, dataset, shots, draw):
    """Rows of the CSV for one support."""
    X, y, text, inside, strange = task_arrays(outliers, dataset, shots, draw)
    task = Bunch(prototypes=text)
    fitted = {name: method.make(task, draw).fit(X, y) for name, method in CLASSIFIERS.items()}
    is_outlier = np.repeat([0, 1], [len(inside), len(strange)])
    both = np.concatenate([inside, strange])
    return [
        dict(zip(KEY, (outliers, dataset, shots, draw, name, kind), strict=True))
        | {"auroc": f"{roc_auc_score(is_outlier, ood_score(fitted[name], both, kind)):.5g}"}
        for name, kind in SCORES
    ]


def report(rows, write):
    values = defaultdict(list)
    for row in rows:
        task = (row["outliers"], row["dataset"], int(row["shots"]))
        values[(row["classifier"], row["kind"], *task)].append(float(row["auroc"]))
    parts = []
    for shots in sorted({int(row["shots"]) for row in rows}):
        tasks = [t for t in TASKS if (*SCORES[0], *t, shots) in values]
        header = ("classifier", "score", *(f"{o} {d}" for o, d in tasks), "mean")
        table = []
        for score in SCORES:
            means = [100 * np.mean(values[(*score, *task, shots)]) for task in tasks]
            table.append((*score, *(f"{m:.1f}" for m in means), f"{np.mean(means):.1f}"))
        title = f"AUROC in %, {shots} images per class"
        print(f"\n{title}\n{plain_table(header, table)}")
        parts.append(list_table(title, header, table))
    if write:
        write_table("out_of_distribution", "out_of_distribution.py", *parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, one draw, no file")
    parser.add_argument("--report", action="store_true", help="fit nothing: tables from the CSV")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            run(arguments, Path(folder), (("near", "cifar10"),), (1,), 1)
    else:
        run(arguments, RESULTS, TASKS, SHOTS, DRAWS)


def run(arguments, folder, tasks, shots, draws):
    results = ResultFile(folder / "out_of_distribution.csv", KEY, VALUES)
    done = results.read()
    complete = {key[:4] for key in done}
    todo = [
        (outliers, dataset, k, draw)
        for (outliers, dataset), k, draw in product(tasks, shots, range(draws))
        if (outliers, dataset, str(k), str(draw)) not in complete
    ]
    if todo and not arguments.report:
        write_json(results.path.with_suffix(".json"), environment(fits=len(todo)))
        results.extend(run_one, todo, n_jobs=arguments.n_jobs)
    report(list(results.read().values()), write=not arguments.quick)


if __name__ == "__main__":
    main()
