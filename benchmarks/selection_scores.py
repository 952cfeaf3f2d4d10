"""What a selective classifier may compare with its threshold, on real CLIP features.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/selection_scores.py``.

The default is fitted on 1, 4 and 16 images per class. Half of the test rows are calibration rows
of ``SelectiveClassifier(FrozenEstimator(classifier), target_risk=...)``, the others measure it;
five supports each. Scores:

- confidence: the largest probability, the default;
- margin: the difference of the two largest log-probabilities;
- entropy and energy: ``-ood_score(...)``, as functions;
- distances: how much nearer the nearest row that was classified right is than the nearest that was
  classified wrong, among half of the calibration rows, after the likelihood ratio of
  https://arxiv.org/abs/2505.15008; the other half certifies.

The results go to ``benchmarks/results/selection_scores.csv`` and
``docs/tables/selection_scores.rst``.
"""

import warnings
from itertools import product

import numpy as np
from cell_runs import run_cells
from real_features import SINGLE_VIEW, draw_support, load
from result_files import plain_table, write_table
from sklearn.frozen import FrozenEstimator

from skclip import BayesAdapterClassifier, SelectiveClassifier, ood_score
from skclip.benchmark.rendering import list_table
from skclip.decisions.selection_scores import SELECTION_SCORES
from skclip.exceptions import GuaranteeWarning

SHOTS = (1, 4, 16)
DRAWS = 5
TARGETS = (0.05, 0.02, 0.01)
KEY = ("dataset", "shots", "draw", "score", "target")
VALUES = ("aurc", "coverage", "risk")


def _of_outliers(kind):
    return lambda classifier, X: -ood_score(classifier, X, kind)


def _distances(right, wrong):
    """A score from rows of unit norm that were classified right and wrong; 0 without wrong ones."""

    def score(classifier, X):
        if not len(wrong):
            return np.zeros(len(X))
        return np.max(X @ right.T, axis=1) - np.max(X @ wrong.T, axis=1)

    return score


def _aurc(wrong, values):
    """Mean over coverages of the share of wrong predictions among those of the largest values."""
    ranked = wrong[np.argsort(-values, kind="stable")]
    return np.mean(np.cumsum(ranked) / np.arange(1, len(ranked) + 1))


SCORES = ("confidence", "margin", "entropy", "energy", "distances")


def run_one(dataset, shots, draw):
    """Rows of the CSV: every score and target, of one support."""
    data = load(dataset)
    split = SINGLE_VIEW[dataset][1]
    rows = draw_support(data.labels[split], shots, draw)
    classifier = BayesAdapterClassifier(data.prototypes)
    classifier.fit(data.features[split][rows], data.labels[split][rows])
    X, y = data.features["test"], data.labels["test"]
    order = np.random.default_rng(draw).permutation(len(y))
    spare, later = order[: len(y) // 2], order[len(y) // 2 :]
    known = spare[: len(spare) // 2]
    right = classifier.predict(X[known]) == y[known]
    scores = {
        "confidence": ("confidence", spare),
        "margin": ("margin", spare),
        "entropy": (_of_outliers("entropy"), spare),
        "energy": (_of_outliers("energy"), spare),
        "distances": (_distances(X[known[right]], X[known[~right]]), spare[len(spare) // 2 :]),
    }
    proba = classifier.predict_proba(X[later])
    found = []
    for (name, (score, calibration)), target in product(scores.items(), TARGETS):
        selective = SelectiveClassifier(
            FrozenEstimator(classifier), target_risk=target, selection_score=score
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GuaranteeWarning)  # nothing is certified, or no class
            selective.fit(X[calibration], y[calibration])
        accepted = selective.accept(X[later])
        wrong = classifier.classes_[proba.argmax(axis=1)] != y[later]
        values = score(classifier, X[later]) if callable(score) else SELECTION_SCORES[name](proba)
        risk = wrong[accepted].mean() if accepted.any() else 0.0
        numbers = (1000 * _aurc(wrong, values), 100 * accepted.mean(), 100 * risk)
        found.append(
            dict(zip(KEY, (dataset, shots, draw, name, target), strict=True))
            | dict(zip(VALUES, (f"{number:.5g}" for number in numbers), strict=True))
        )
    return found


def report(rows, write):
    """Means over data sets and supports, by shots."""
    header = (
        "score",
        "AURC x 1000",
        "smallest AURC in",
        *(f"coverage % at {100 * t:g} %" for t in TARGETS),
    )
    header += ("share of supports above the target %",)
    parts = []
    for shots in SHOTS:
        of_shots = [row for row in rows if int(row["shots"]) == shots]
        if not of_shots:
            continue
        fits = sorted({(row["dataset"], row["draw"]) for row in of_shots})
        area = {(row["score"], row["dataset"], row["draw"]): float(row["aurc"]) for row in of_shots}
        best = [min(SCORES, key=lambda name: area[name, *fit]) for fit in fits]
        table = []
        for name in SCORES:
            own = [row for row in of_shots if row["score"] == name]
            coverage = [
                np.mean([float(row["coverage"]) for row in own if float(row["target"]) == target])
                for target in TARGETS
            ]
            above = np.mean([float(row["risk"]) > 100 * float(row["target"]) for row in own])
            table.append(
                (
                    *(name, f"{np.mean([area[name, *fit] for fit in fits]):.2f}"),
                    f"{best.count(name)} of {len(fits)}",
                    *(f"{c:.1f}" for c in coverage),
                    f"{100 * above:.1f}",
                )
            )
        title = f"{shots} image{'s' * (shots > 1)} per class: means over data sets and supports"
        print(f"\n{title}\n{plain_table(header, table)}")
        parts.append(list_table(title, header, table))
    if write:
        write_table("selection_scores", "selection_scores.py", *parts)


def main():
    run_cells(
        "selection_scores",
        KEY,
        VALUES,
        run_one,
        report,
        tasks=list(product(SINGLE_VIEW, SHOTS, range(DRAWS))),
        quick=[("pets25", 4, 0)],
        about=__doc__,
    )


if __name__ == "__main__":
    main()
