"""Compare the default with the published recipes on real CLIP features.

Run it as ``SKCLIP_FEATURE_SETS=folder python benchmarks/feature_sets.py``. It fits every
method on the same draws of 1 to 16 images per class (20 cells of single views and 10 of
view means, three draws each), measures it on the test split, and writes

- ``benchmarks/results/feature_sets.csv``: one row per cell, draw and method;
- ``benchmarks/results/feature_sets.json``: versions, machine and command of each run;
- ``docs/tables/feature_sets.rst``: the means, and the goals next to what was reached.

A run that was stopped goes on where it ended: rows already in the CSV are kept. After a
change of a method, ``--refresh`` with its name in ``--methods`` measures it again.

Nothing is tuned here: the script knows no settings but those it lists, and evaluates each on
the test split. How often a developer has looked at the result is not recorded, so the
settings themselves were chosen elsewhere, by ``benchmarks/tune_default.py``, which
never reads a test split.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from default_variants import LAPLACE, PLAIN
from real_features import RECIPES, SHOTS, cells, load, reference_nll, support
from result_files import (
    RESULTS,
    environment,
    geometric_mean,
    measure,
    plain_table,
    write_json,
    write_table,
)
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning

from skclip import benchmark
from skclip.benchmark import ResultFile
from skclip.benchmark.method_registry import resolve_methods
from skclip.benchmark.rendering import list_table
from skclip.metrics import expected_calibration_error

# Cross-validated in as many folds as there are images per class: they need two.
CROSS_VALIDATED = resolve_methods(
    [
        {
            "name": "zs-lp-temperature",
            "estimator": "CalibratedClassifierCV",
            "parameters": {"estimator": "zs-lp", "method": "temperature", "ensemble": False},
            "label": "ZS-LP, temperature by cross-validation",
        },
        {
            "name": "logistic-regression-cv",
            "estimator": "LogisticRegressionCV",
            "parameters": {
                "scoring": "neg_log_loss",
                "l1_ratios": (0.0,),
                "use_legacy_attributes": False,
                "max_iter": 1000,
            },
            "label": "LogisticRegressionCV",
        },
        *(
            {
                "name": f"{name}-temperature",
                "estimator": "CalibratedClassifierCV",
                "parameters": {"estimator": name, "method": "temperature", "ensemble": False},
                "label": f"{benchmark.METHODS[name].label}, temperature by cross-validation",
            }
            for name in ("logistic-regression", "lda")
        ),
    ]
)
OTHER_STRENGTHS = [
    {
        "name": f"logistic-regression-{C:g}",
        "base": "logistic-regression",
        "parameters": {"C": C},
        "label": f"LogisticRegression, C={C:g}",
    }
    for C in (1.0, 10000.0)
]
OF_DEFAULT = ("isotropic", "temperature-1", "precision-30", "precision-100", "precision-300")
METHODS = {
    method.name: method
    for method in (
        *(known for known in benchmark.METHODS.values() if known.name != "linear-probe"),
        *resolve_methods(OTHER_STRENGTHS),
        *CROSS_VALIDATED,
        *(PLAIN[f"bayes-{name}"] for name in (*OF_DEFAULT, "no-text")),
        LAPLACE,
    )
}
LEAST_SHOTS = {method.name: 2 for method in CROSS_VALIDATED} | {"lda": 2, "lda-temperature": 4}
# The table next to LogisticRegressionCV, on the cells that it can do.
NEXT_TO_CV = ("bayes", "bayes-no-text", "logistic-regression-cv", "logistic-regression")
# What one would use without a text, and the cells that all of it can do.
WITHOUT_TEXT = ("logistic-regression-1", "logistic-regression", "logistic-regression-cv")
WITHOUT_TEXT += ("logistic-regression-temperature", "lda", "lda-temperature")
# Trained by 300 epochs of stochastic gradients; they run last.
SLOW = ("zs-lp", "bayes-paper", "clip-adapter", "clap", "task-res", "cross-modal", "random-lp")
SLOW += ("zs-lp-sals", "zs-lp-temperature", "zs-norm", "zs-penalty")
SLOW += ("zs-lp-laplace", "zs-lp-ensemble", "random-lp-ensemble")
# Measured on the fit of another method: the recipe without its posterior spread.
AT_THE_MEAN = "bayes-paper-at-mean"
LABELS = {name: method.label for name, method in METHODS.items()} | {
    AT_THE_MEAN: f"{METHODS['bayes-paper'].label}, at the posterior mean",
    **{name: f"default, {PLAIN[name].label}" for name in PLAIN if name in METHODS},
    LAPLACE.name: f"default, {LAPLACE.label}",
    "bayes": METHODS["bayes"].label,
}

KEY = ("dataset", "support_split", "shots", "seed", "method")
METRICS = (
    *("acc", "ece10", "nll", "aurc_x1000", "brier", "fit_cpu_seconds"),
    *("prior_precision", "temperature", "bias", "smece", "ece10_by_chance"),
)
# Draws of labels from the predictions themselves, whose calibration error is chance alone.
CHANCE_DRAWS = 20

# What the default is to reach, and what it must not fall behind:
# (name in the tables, cells, quantity, goal, floor, whether larger is better).
BARS = (
    ("single view: NLL / best recipe, geometric mean", True, "ratio", 0.90, 0.945, False),
    ("single view: NLL / best recipe, largest cell", True, "largest", 1.02, 1.10, False),
    ("single view: ECE in %", True, "ece10", 1.3, 1.7, False),
    ("single view: AURC x 1000", True, "aurc_x1000", 5.9, 6.2, False),
    ("single view: accuracy in %", True, "acc", 94.9, 94.55, True),
    ("view means: NLL / best recipe, geometric mean", False, "ratio", 0.92, 0.96, False),
    ("view means: NLL / best recipe, largest cell", False, "largest", 1.0, 1.05, False),
)


def run_one(cell, seed, method):
    """Rows of the CSV for one fit."""
    data = load(cell.dataset)
    X, y = support(cell, seed)
    estimator = METHODS[method].make(data, seed)
    if "cv" in estimator.get_params(deep=False):
        estimator.set_params(cv=min(5, cell.shots))
    with warnings.catch_warnings():
        # Large C on a few separable rows: the optimum is far away.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # scikit-learn on one image per class.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        # Of the processor, all threads: other work on the machine does not count.
        start = time.process_time()
        estimator.fit(X, y)
        seconds = time.process_time() - start
    key = (cell.dataset, cell.split, cell.shots, seed)
    X_test = data.features["test"]
    rows = [_row(key, method, estimator, estimator.predict_proba(X_test), data, seconds)]
    if method == "bayes-paper":
        at_the_mean = softmax(estimator.logits(X_test), axis=1)
        rows.append(_row(key, AT_THE_MEAN, estimator, at_the_mean, data, seconds))
    return rows


def _row(key, method, estimator, proba, data, seconds):
    values = measure(data.labels["test"], proba, estimator.classes_)
    values["ece10_by_chance"] = ece_by_chance(proba)
    values["fit_cpu_seconds"] = seconds
    for name in ("prior_precision", "temperature"):
        fitted = getattr(estimator, f"{name}_", None)
        values[name] = "" if fitted is None else float(np.mean(fitted))
    named = dict(zip(KEY, (*key, method), strict=True))
    return named | {k: v if v == "" else f"{v:.6g}" for k, v in values.items()}


def ece_by_chance(proba):
    """The ECE in per cent that a test set of this size shows where probabilities are true."""
    rng = np.random.default_rng(0)
    steps = np.cumsum(proba, axis=1)
    classes = np.arange(proba.shape[1])
    errors = []
    for _ in range(CHANCE_DRAWS):
        drawn = (steps < rng.uniform(size=(len(proba), 1)) * steps[:, -1:]).sum(axis=1)
        errors.append(expected_calibration_error(drawn, proba, labels=classes, n_bins=10))
    return 100 * float(np.mean(errors))


# -- tables -------------------------------------------------------------------------


def cell_means(rows):
    """Method -> {cell: {metric: mean over draws}} from the rows of the CSV."""
    values = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cell = (row["dataset"], row["support_split"], int(row["shots"]))
        numbers = [float(row[name]) if row[name] else np.nan for name in METRICS]
        values[row["method"]][cell].append(numbers)
    return {
        method: {
            cell: dict(zip(METRICS, np.mean(numbers, axis=0), strict=True))
            for cell, numbers in by_cell.items()
        }
        for method, by_cell in values.items()
    }


def summarise(means, chosen, best):
    """Means over cells, and the ratio of NLL to that of the best recipe of each cell."""
    summary = {name: np.mean([means[cell][name] for cell in chosen]) for name in METRICS}
    ratios = [means[cell]["nll"] / best[cell] for cell in chosen]
    return summary | {"ratio": geometric_mean(ratios), "largest": max(ratios)}


def best_recipe():
    """Smallest log-loss of the reference run's recipes in each cell, means over draws."""
    return {
        (cell.dataset, cell.split, cell.shots): min(by_method[m] for m in RECIPES)
        for cell, by_method in reference_nll().items()
    }


MEAN_HEADER = (
    *("method", "accuracy %", "ECE %", "of it chance", "smooth ECE %", "confidence - accuracy"),
    *("NLL", "AURC x 1000", "Brier", "NLL ratio", "largest", "fit CPU s"),
)


def mean_rows(summaries):
    for method, s in summaries.items():
        yield (
            *(LABELS[method], f"{s['acc']:.2f}", f"{s['ece10']:.2f}"),
            _or_nothing(s["ece10_by_chance"], ".2f"),
            *(_or_nothing(s["smece"], ".2f"), _or_nothing(s["bias"], "+.2f"), f"{s['nll']:.4f}"),
            *(f"{s['aurc_x1000']:.2f}", f"{s['brier']:.4f}", f"{s['ratio']:.3f}"),
            f"{s['largest']:.3f}",
            _or_nothing(s["fit_cpu_seconds"], ".2f"),
        )


def _or_nothing(value, form):
    """Nothing where it was not measured."""
    return "" if np.isnan(value) else format(value, form)


def without_text_rows(means, chosen):
    """The default without a text next to what else needs none, by shots."""
    ours = means["bayes-no-text"]
    for k in sorted({cell[2] for cell in chosen}):
        some = [cell for cell in chosen if cell[2] == k]
        best = {cell: min(means[m][cell]["nll"] for m in WITHOUT_TEXT) for cell in some}
        ratio = geometric_mean([ours[cell]["nll"] / best[cell] for cell in some])
        largest = max(ours[cell]["nll"] / best[cell] for cell in some)
        accuracy = np.mean([ours[cell]["acc"] - means["lda"][cell]["acc"] for cell in some])
        error = [
            np.mean([m[cell]["ece10"] for cell in some]) for m in (ours, means["lda-temperature"])
        ]
        yield (
            k,
            f"{ratio:.3f}",
            f"{largest:.3f}",
            f"{accuracy:+.2f}",
            *(f"{e:.2f}" for e in error),
        )


def bar_rows(summaries):
    """The default against BARS."""
    for name, single, quantity, goal, floor, larger in BARS:
        if single not in summaries:
            continue
        got = summaries[single][quantity]
        sign = -1 if larger else 1
        met = "goal" if sign * got <= sign * goal else "floor"
        met = met if sign * got <= sign * floor else "no"
        decimals = 3 if quantity in ("ratio", "largest") else 2
        yield name, f"{goal:g}", f"{floor:g}", f"{got:.{decimals}f}", met


def cell_rows(means, best, chosen):
    """NLL of the default, cell by cell."""
    for cell in chosen:
        m, ratio = means[cell], means[cell]["nll"] / best[cell]
        yield (
            *(*cell[:2], cell[2], f"{m['nll']:.4f}", f"{best[cell]:.4f}", f"{ratio:.3f}"),
            *(f"{m['ece10']:.2f}", f"{m['acc']:.2f}", f"{m['prior_precision']:.1f}"),
            f"{m['temperature']:.2f}",
        )


# Methods of the literature's tables.
LITERATURE = ("zero-shot", "random-lp", "zs-lp", "tip-adapter", "tip-adapter-f", "clip-adapter")
LITERATURE += ("task-res", "cross-modal", "clap", "lp++", "gda", "proker", "bayes-paper", "bayes")


def shots_rows(means, shots, quantity):
    """Means over the single-view data sets for every number of shots."""
    for method in LITERATURE:
        by_cell = means.get(method, {})
        values = [
            [m[quantity] for cell, m in by_cell.items() if cell[2] == k and cell[1] != "train16"]
            for k in shots
        ]
        if all(values):
            yield (LABELS[method], *(f"{np.mean(v):.1f}" for v in values))


def report(rows, shots, write):
    """Print the tables; write them to the documentation once the default is complete."""
    means, best = cell_means(rows), best_recipe()
    parts, of_default, missing = [], {}, set()
    for single, kind in ((True, "single-view"), (False, "view-mean")):
        chosen = [(c.dataset, c.split, c.shots) for c in cells(shots) if c.single_view == single]
        title = f"Means over {len(chosen)} {kind} cells"
        done = {m: v for m, v in means.items() if all(cell in v for cell in chosen)}
        done = {m: done[m] for m in LABELS if m in done}
        missing |= set(LABELS) - set(done) - set(LEAST_SHOTS)
        summaries = {m: summarise(v, chosen, best) for m, v in done.items()}
        table = list(mean_rows(summaries))
        print(f"\n{title}\n{plain_table(MEAN_HEADER, table)}")
        parts.append(list_table(title, MEAN_HEADER, table))
        if "bayes" in summaries:
            of_default[single] = summaries["bayes"]
        several = [cell for cell in chosen if cell[2] >= min(LEAST_SHOTS.values())]
        needed = ("bayes-no-text", *WITHOUT_TEXT)
        four = [cell for cell in chosen if cell[2] >= max(LEAST_SHOTS.values())]
        if single and four and all(cell in means.get(m, {}) for m in needed for cell in four):
            title = "Without a text, next to what needs none: single-view cells of 4 or more shots"
            header = ("shots", "NLL / best of the others", "largest", "accuracy - shrunk LDA's")
            header += ("ECE %", "ECE % of LDA with temperature")
            table = list(without_text_rows(means, four))
            print(f"\n{title}\n{plain_table(header, table)}")
            parts.append(list_table(title, header, table))
        if all(cell in means.get(m, {}) for m in NEXT_TO_CV for cell in several):
            title = f"Next to LogisticRegressionCV: {len(several)} {kind} cells of 2 or more shots"
            summaries = {m: summarise(means[m], several, best) for m in NEXT_TO_CV}
            table = list(mean_rows(summaries))
            print(f"\n{title}\n{plain_table(MEAN_HEADER, table)}")
            parts.append(list_table(title, MEAN_HEADER, table))
    for quantity, name in (("acc", "Accuracy in %"), ("ece10", "ECE in %")):
        header = ("method", *(f"{k} shots" if k > 1 else "1 shot" for k in shots))
        title, table = f"{name}, single views", list(shots_rows(means, shots, quantity))
        if table:
            print(f"\n{title}\n{plain_table(header, table)}")
            parts.append(list_table(title, header, table))
    bars = list(bar_rows(of_default))
    header = ("bar", "goal", "floor", "got", "met")
    print(f"\n{plain_table(header, bars)}")
    parts.append(list_table("The default against its goals and floors", header, bars))
    every = [(c.dataset, c.split, c.shots) for c in cells(shots)]
    if all(cell in means.get("bayes", {}) for cell in every):
        header = (
            *("data set", "support", "shots", "NLL", "best recipe", "ratio", "ECE %"),
            *("accuracy %", "precision", "temperature"),
        )
        table = list(cell_rows(means["bayes"], best, every))
        parts.append(list_table("The default, cell by cell", header, table))
    if missing:
        parts.append(f"Not complete: {', '.join(LABELS[m] for m in LABELS if m in missing)}.\n")
        print(f"\n{parts[-1]}")
    if write and len(of_default) == 2:
        write_table("feature_sets", "feature_sets.py", *parts)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Compare the default with the published recipes on real CLIP features."
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--quick", action="store_true", help="one draw, 1 and 4 shots, no file")
    parser.add_argument("--refresh", action="store_true", help="measure --methods again")
    parser.add_argument("--report", action="store_true", help="fit nothing: tables from the CSV")
    parser.add_argument("--n-jobs", type=int, default=1)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            run(arguments, Path(folder), shots=(1, 4), draws=arguments.draws[:1])
    else:
        run(arguments, RESULTS, SHOTS, arguments.draws)


def run(arguments, folder, shots, draws):
    """Measure what the CSV lacks, and report all that it holds."""
    results = ResultFile(folder / "feature_sets.csv", KEY, METRICS)
    rows = results.read()
    if arguments.refresh:
        stale = set(arguments.methods)
        if "bayes-paper" in stale:
            stale.add(AT_THE_MEAN)
        rows = {key: row for key, row in rows.items() if row["method"] not in stale}
    results.replace(rows.values())
    methods = sorted(arguments.methods, key=lambda method: method in SLOW)
    tasks = [
        (cell, seed, method)
        for method, cell, seed in product(methods, cells(shots), draws)
        if (cell.dataset, cell.split, str(cell.shots), str(seed), method) not in rows
        and cell.shots >= LEAST_SHOTS.get(method, 1)
    ]
    if tasks and not arguments.report:
        _record(results.path.with_suffix(".json"), arguments, len(tasks))
        results.extend(run_one, tasks, n_jobs=arguments.n_jobs)
    report(results.read().values(), shots, write=not arguments.quick)


def _record(path, arguments, n_fits):
    """Add this run to the list of runs that the CSV came from."""
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    write_json(path, [*runs, environment(methods=arguments.methods, fits=n_fits)])


if __name__ == "__main__":
    main()
