"""Accuracy and calibration under other class proportions, before and after LabelShiftClassifier.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/label_shift.py``.

BayesAdapterClassifier is fitted on a support with 1 to 16 images of every class. Rows of the test
split are drawn, with replacement, in proportions from a Dirichlet distribution with the
concentration alpha for every class: 10 is a mild shift, 1 a large one, 0.1 leaves few classes.
"None" are equal proportions, where a correction can only do harm. Half of the rows, without
labels, are what is adapted to, the other half judges, 500 rows each; five supports and shifts.

- "before": the classifier as it is;
- "EM": LabelShiftClassifier, expectation maximisation with a row of every class added;
- "EM 10": the same with ``pseudo_count=10``;
- "BBSE": black-box shift estimation (Lipton, Wang, Smola, "Detecting and correcting for label
  shift with black box predictors", ICML 2018): the proportions for which the mean left-out
  probabilities of the support images, class by class, mix to the mean probabilities of the
  rows; least squares over the simplex, and a row of every class added, as EM has it;
- "true": the correction by the proportions themselves, which nobody knows.

The results go to ``benchmarks/results/label_shift.csv``, so that a stopped run can go on, and to
``docs/tables/label_shift.rst``.
"""

from itertools import product

import numpy as np
from cell_runs import run_cells
from real_features import SHOTS, SINGLE_VIEW, Cell, load, support
from result_files import (
    geometric_mean,
    measure,
    plain_table,
    write_table,
)
from scipy.optimize import nnls

from skclip import BayesAdapterClassifier, LabelShiftClassifier
from skclip.benchmark.rendering import list_table
from skclip.decisions.left_out_fits import leave_out
from skclip.decisions.left_out_scores import left_out_log_proba

SHIFTS = {"none": None, "10": 10.0, "1": 1.0, "0.1": 0.1}
SEEDS, ROWS = (0, 1, 2, 3, 4), 500
WAYS = ("before", "EM", "EM 10", "BBSE", "true")
METRICS = ("acc", "nll", "ece10")
KEY = ("dataset", "shots", "alpha", "seed", "way")
VALUES = (*METRICS, "distance")


def draw(y, priors, n, rng):
    """Rows in these proportions of the classes, with replacement."""
    of_class = [np.flatnonzero(y == code) for code in range(len(priors))]
    return np.array([rng.choice(of_class[k]) for k in rng.choice(len(priors), n, p=priors)])


def black_box(confusion, mean_proba):
    """Proportions (c,) that mix the rows of `confusion` (c, c) best to `mean_proba` (c,)."""
    # A heavy row asks for a sum of one.
    weights = np.vstack([confusion.T, np.full(len(confusion), 1e3)])
    priors, _ = nnls(weights, np.append(mean_proba, 1e3))
    return (ROWS * priors / priors.sum() + 1) / (ROWS + len(priors))


def corrected(proba, ratio):
    """Probabilities for classes whose proportions changed by `ratio` (c,)."""
    out = np.maximum(proba, 1e-300) * np.maximum(ratio, 1e-12)
    return out / out.sum(axis=1, keepdims=True)


def run_one(dataset, shots, seed):
    """Rows of the CSV for one support."""
    data = load(dataset)
    X, y = support(Cell(dataset, SINGLE_VIEW[dataset][1], shots), seed)
    X_test, y_test = data.features["test"], data.labels["test"]
    classifier = BayesAdapterClassifier(data.prototypes)
    model = LabelShiftClassifier(classifier).fit(X, y)
    fits = leave_out(classifier, model.estimator_, X, y, None)
    left_out = np.exp(left_out_log_proba(fits, model.estimator_, X, np.arange(len(y))))
    c = len(model.classes_)
    confusion = np.array([left_out[y == label].mean(axis=0) for label in model.classes_])
    rows = []
    for alpha, concentration in SHIFTS.items():
        rng = np.random.default_rng(seed)
        true = np.full(c, 1 / c)
        if concentration is not None:
            true = rng.dirichlet(np.full(c, concentration))
        unlabelled, judge = draw(y_test, true, ROWS, rng), draw(y_test, true, ROWS, rng)
        before = model.estimator_.predict_proba(X_test[judge])
        mean_proba = model.estimator_.predict_proba(X_test[unlabelled]).mean(axis=0)
        careful = model.set_params(pseudo_count=10).adapt(X_test[unlabelled]).priors_
        adapted = model.set_params(pseudo_count=1).adapt(X_test[unlabelled])
        estimates = {
            "before": model.support_priors_,
            "EM": adapted.priors_,
            "EM 10": careful,
            "BBSE": black_box(confusion, mean_proba),
            "true": true,
        }
        for way, priors in estimates.items():
            proba = corrected(before, priors / model.support_priors_)
            if way == "EM":
                proba = adapted.predict_proba(X_test[judge])
            found = measure(y_test[judge], proba, model.classes_)
            found["distance"] = 0.5 * np.abs(priors - true).sum()
            rows.append(
                dict(zip(KEY, (dataset, shots, alpha, seed, way), strict=True))
                | {name: f"{found[name]:.5g}" for name in VALUES}
            )
    return rows


SHOWN = tuple(product(METRICS, ("before", "EM", "true")))
NAMES = {"acc": "accuracy %", "nll": "log-loss", "ece10": "ECE %"}
HEADER = ("alpha", "shots", *(f"{NAMES[metric]} {way}" for metric, way in SHOWN))
FORMATS = {"acc": ".1f", "nll": ".3f", "ece10": ".1f"}


def cell_mean(rows, way, metric, **where):
    values = [
        float(row[metric])
        for row in rows
        if row["way"] == way and all(row[name] == str(value) for name, value in where.items())
    ]
    return np.mean(values)


def report(rows, write):
    datasets = [name for name in SINGLE_VIEW if any(row["dataset"] == name for row in rows)]
    shots_run = sorted({int(row["shots"]) for row in rows})
    n_seeds = len({row["seed"] for row in rows})
    table = [
        (
            *(alpha, shots),
            *(
                format(cell_mean(rows, way, metric, alpha=alpha, shots=shots), FORMATS[metric])
                for metric, way in SHOWN
            ),
        )
        for alpha, shots in product(SHIFTS, shots_run)
    ]
    title = f"Means over {len(datasets)} data sets and {n_seeds} supports and shifts"
    print(f"\n{title}\n{plain_table(HEADER, table)}")
    parts = [list_table(title, HEADER, table)]
    header = ("data set", "alpha", *(f"log-loss {way}" for way in WAYS))
    header += tuple(f"distance {way}" for way in WAYS[:-1])
    table = []
    for dataset, alpha in product(datasets, SHIFTS):
        where = {"dataset": dataset, "alpha": alpha}
        losses = (f"{cell_mean(rows, way, 'nll', **where):.3f}" for way in WAYS)
        distances = (f"{cell_mean(rows, way, 'distance', **where):.3f}" for way in WAYS[:-1])
        table.append((dataset, alpha, *losses, *distances))
    title = (
        "By data set, means over shots. Distance: half of the sum of the absolute differences of "
        "proportions, in [0, 1]"
    )
    print(f"\n{title}\n{plain_table(header, table)}")
    parts.append(list_table(title, header, table))
    sentences = []
    for alpha in SHIFTS:
        pairs = [
            [
                cell_mean(rows, way, "nll", dataset=d, shots=k, alpha=alpha)
                for way in ("EM", "before", "BBSE", "EM 10")
            ]
            for d, k in product(datasets, shots_run)
        ]
        better = sum(em < before for em, before, *_ in pairs)
        em, bbse, careful = (
            geometric_mean([pair[k] / pair[1] for pair in pairs]) for k in (0, 2, 3)
        )
        sentences.append(
            f"alpha {alpha}: EM has a smaller log-loss than before in {better} of {len(pairs)} "
            f"combinations of data set and shots; geometric mean of the ratio {em:.2f}, with "
            f"pseudo_count=10 {careful:.2f}, of BBSE {bbse:.2f}."
        )
    sentence = "\n".join(f"- {text}" for text in sentences) + "\n"
    print(f"\n{sentence}")
    if write:
        write_table("label_shift", "label_shift.py", sentence, *parts)


def main():
    run_cells(
        "label_shift",
        KEY,
        VALUES,
        run_one,
        report,
        tasks=list(product(SINGLE_VIEW, SHOTS, SEEDS)),
        quick=[("cifar10", 4, 0)],
        about=__doc__,
        task_of=lambda key: (*key[:2], key[3]),
    )


if __name__ == "__main__":
    main()
