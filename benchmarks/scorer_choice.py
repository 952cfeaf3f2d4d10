"""Which scorer to select by: what each one chooses in cross-validation, and what that is worth.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/scorer_choice.py``.
In every cell (data set, shots, draw) the 24 combinations of prior precision and
temperature of BayesAdapterClassifier are cross-validated on the support set, at most four
folds; each scorer picks one, which is fitted on the whole support and judged on the test
split. The results go to ``docs/tables/scorer_choice.rst``.
"""

import argparse
import itertools
import os

import numpy as np
from real_features import SINGLE_VIEW, Cell, load, support
from result_files import geometric_mean, measure, plain_table, write_table
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from tqdm.auto import tqdm

from skclip import BayesAdapterClassifier
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features
from skclip.metrics import get_scorer

SHOTS, DRAWS = (2, 4, 16), (0, 1, 2)
GRID = {
    "prior_precision": [3.0, 10.0, 30.0, 100.0, 300.0, 1000.0],
    "temperature": [0.5, 0.8, 1.25, 2.0],
}
SCORERS = (
    "neg_log_loss",
    "neg_brier",
    "neg_ece",
    "neg_adaptive_ece",
    "neg_classwise_ece",
    "neg_aurc",
    "neg_excess_aurc",
    "neg_augrc",
    "error_detection_auroc",
    "coverage_at_95",
    "coverage_at_risk_5",
)


def real_task(cell, draw):
    data = load(cell.dataset)
    X, y = support(cell, draw)
    return X, y, data.prototypes, data.features["test"], data.labels["test"]


def synthetic_task(shots, draw):
    data = make_clip_features(shots, 5, random_state=draw)
    return data.X, data.y, data.prototypes, data.X_test, data.y_test


def judge(task, shots):
    """Rule -> metrics on the test split, of what the rule chose."""
    X, y, text, X_test, y_test = task
    search = GridSearchCV(
        BayesAdapterClassifier(text),
        GRID,
        scoring={**{name: get_scorer(name) for name in SCORERS}, "accuracy": "accuracy"},
        cv=StratifiedKFold(min(4, shots), shuffle=True, random_state=0),
        refit=False,
    ).fit(X, y)
    candidates = []
    for parameters in search.cv_results_["params"]:
        classifier = BayesAdapterClassifier(text, **parameters).fit(X, y)
        proba = classifier.predict_proba(X_test)
        candidates.append(measure(y_test, proba, classifier.classes_))
    chosen = {
        name: candidates[int(np.argmax(search.cv_results_[f"mean_test_{name}"]))]
        for name in (*SCORERS, "accuracy")
    }
    default = BayesAdapterClassifier(text).fit(X, y)
    chosen["no search: the default"] = measure(
        y_test, default.predict_proba(X_test), default.classes_
    )
    chosen["best of the grid, each column"] = {
        key: (max if key == "acc" else min)(found[key] for found in candidates)
        for key in candidates[0]
    }
    return chosen


def summary(results):
    """Rows of the table: means over cells, of the log-loss geometric, relative to the best."""
    rows = []
    for rule in results[0]:
        found = [cell[rule] for cell in results]
        best = [cell["best of the grid, each column"]["nll"] for cell in results]
        ratio = geometric_mean([f["nll"] / b for f, b in zip(found, best, strict=True)])
        means = {key: np.mean([f[key] for f in found]) for key in found[0]}
        rows.append(
            (
                f"``{rule}``" if " " not in rule else rule,
                f"{means['acc']:.1f}",
                f"{ratio:.3f}",
                f"{means['ece10']:.1f}",
                f"{means['aurc_x1000']:.1f}",
            )
        )
    return rows


def parse_arguments():
    parser = argparse.ArgumentParser(description="What each scorer selects, and its worth.")
    parser.add_argument("--quick", action="store_true", help="one synthetic task, no file")
    return parser.parse_args()


def main():
    quick = parse_arguments().quick
    header = ("selected by", "accuracy %", "NLL / best", "ECE %", "AURC x 1000")
    if quick or not os.environ.get("SKCLIP_FEATURE_SETS"):
        print(plain_table(header, summary([judge(synthetic_task(2, 0), 2)])))
        return
    tables = []
    for shots in SHOTS:
        cells = list(itertools.product(SINGLE_VIEW.items(), DRAWS))
        results = [
            judge(real_task(Cell(name, split, shots), draw), shots)
            for (name, (_, split)), draw in tqdm(cells, desc=f"{shots} shots", disable=None)
        ]
        rows = summary(results)
        print(f"{shots} shots\n{plain_table(header, rows)}\n", flush=True)
        title = f"{shots} shots: means over {len(SINGLE_VIEW)} data sets and {len(DRAWS)} draws"
        tables.append(list_table(title, header, rows))
    write_table("scorer_choice", "scorer_choice.py", *tables)


if __name__ == "__main__":
    main()
