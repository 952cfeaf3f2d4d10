"""Calibrated on one distribution, asked on another: calibration, risk, and what is noticed.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/drift.py``; with SKCLIP_FEATURE_SETS naming a
folder of real features, these are in the tables too.

Digits: BayesAdapterClassifier is fitted on eight clean images per class (tiny CLIP) and
calibrated for a risk of 2 % on 400 other clean images. Then it is asked on the rest, clean and
changed: turned by growing angles and in the ways of ``load_digits_images``. Real features: 16
images per class of a set, calibrated on half of its test split, asked on the other half;
on its rarer half of the classes only; and on the rows of another set, whose classes the
classifier does not have, so that every answer is wrong.

"Noticed" is the share of draws in which ``check_drift`` warns about 200 rows; 1 % would be
false alarms. The results go to ``benchmarks/results/drift.csv`` and ``docs/tables/drift.rst``.
"""

import argparse
import os
import tempfile
import warnings
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from real_features import SINGLE_VIEW, draw_support, load
from result_files import RESULTS, environment, plain_table, write_json, write_table
from sklearn.frozen import FrozenEstimator

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, SelectiveClassifier
from skclip.benchmark import ResultFile
from skclip.benchmark.rendering import list_table
from skclip.datasets import load_digits_images, tiny_clip
from skclip.exceptions import DriftWarning, GuaranteeWarning
from skclip.metrics import expected_calibration_error

TARGET = 0.02
DRAWS = 20
NOTICED_FROM = 200
SHIFTS = ("blurred", "noisy", "faded", "inverted", "combined")
QUESTIONS = ("clean", *(f"turned by {angle}" for angle in (5, 10, 15, 20, 30)), *SHIFTS)
# One encoder, other classes.
OTHER = {"pets25": "caltech69", "caltech69": "pets25"}
KEY = ("calibrated_on", "asked_on", "draw")
VALUES = ("acc", "ece10", "coverage", "risk", "noticed")


@cache
def digits(question):
    """Features of all digits of the test half, changed."""
    shift = question if question in SHIFTS else None
    images = load_digits_images(shift=shift, as_pil=True).images
    if question.startswith("turned"):
        degrees = int(question.split()[2])
        images = [image.rotate(degrees, Image.Resampling.BICUBIC) for image in images]
    return featurizer().fit_transform(images)


@cache
def featurizer():
    return CLIPFeaturizer(pretrained=tiny_clip())


def ask(selective, X, y, rng):
    """What happens on rows X with true labels y."""
    proba = selective.predict_proba(X)
    labels = selective.classes_
    right = labels[proba.argmax(axis=1)] == y
    score = selective.selective_score(X, y)
    some = rng.permutation(len(X))[:NOTICED_FROM]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        selective.check_drift(X[some])
    known = np.isin(y, labels).all()
    # A class that the classifier does not have is one of probability zero.
    columns = (proba, labels) if known else (np.pad(proba, ((0, 0), (1, 0))), [-1, *labels])
    ece = expected_calibration_error(y, columns[0], labels=columns[1])
    values = {
        "acc": 100 * right.mean(),
        "ece10": 100 * ece,
        "coverage": 100 * score.coverage,
        "risk": 100 * score.risk,
        "noticed": sum(issubclass(w.category, DriftWarning) for w in caught),
    }
    return {name: f"{value:.5g}" for name, value in values.items()}


def calibrated(classifier, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuaranteeWarning)
        return SelectiveClassifier(FrozenEstimator(classifier), target_risk=TARGET).fit(X, y)


def run_digits(draw, questions):
    """Rows of the CSV for one draw of support and calibration rows."""
    rng = np.random.default_rng(draw)
    y = load_digits_images().labels
    X = digits("clean")
    order = rng.permutation(len(y))
    names, codes = np.unique(y, return_inverse=True)
    support = np.concatenate([order[codes[order] == code][:8] for code in range(len(names))])
    rest = order[~np.isin(order, support)]
    text = ClassPrompts(featurizer(), templates="a photo of the digit {}.")
    classifier = BayesAdapterClassifier(text).fit(X[support], y[support])
    selective = calibrated(classifier, X[rest[:400]], y[rest[:400]])
    asked = rest[400:]
    return [
        _row("digits", q, draw, ask(selective, digits(q)[asked], y[asked], rng)) for q in questions
    ]


def run_features(dataset, draw):
    """Rows of the CSV for one draw on real features."""
    rng = np.random.default_rng(draw)
    data, split = load(dataset), SINGLE_VIEW[dataset][1]
    rows = draw_support(data.labels[split], 16, draw)
    classifier = BayesAdapterClassifier(data.prototypes)
    classifier.fit(data.features[split][rows], data.labels[split][rows])
    X, y = data.features["test"], data.labels["test"]
    order = rng.permutation(len(y))
    selective = calibrated(classifier, X[order[: len(y) // 2]], y[order[: len(y) // 2]])
    X, y = X[order[len(y) // 2 :]], y[order[len(y) // 2 :]]
    counts = np.bincount(data.labels["test"])
    rare = np.isin(y, np.argsort(counts, kind="stable")[: len(counts) // 2])
    strange = load(OTHER[dataset]).features["test"]
    questions = {
        "the same": (X, y),
        "half of its classes": (X[rare], y[rare]),
        OTHER[dataset]: (strange, np.full(len(strange), -1)),
    }
    return [_row(dataset, q, draw, ask(selective, *xy, rng)) for q, xy in questions.items()]


def _row(calibrated_on, asked_on, draw, values):
    return {"calibrated_on": calibrated_on, "asked_on": asked_on, "draw": draw, **values}


def run_one(dataset, draw, questions):
    return run_digits(draw, questions) if dataset == "digits" else run_features(dataset, draw)


HEADER = (
    *("calibrated on", "asked on", "accuracy %", "ECE %", "coverage %", "risk %"),
    "noticed %",
)


def report(rows, write):
    values = defaultdict(list)
    for row in rows:
        numbers = [float(row[name]) for name in VALUES]
        values[row["calibrated_on"], row["asked_on"]].append(numbers)
    table = []
    for dataset in ("digits", *OTHER):
        for (name, question), numbers in sorted(values.items(), key=lambda item: _place(item[0])):
            if name == dataset:
                acc, ece, coverage, risk, noticed = np.nanmean(numbers, axis=0)
                table.append(
                    (
                        *(name, question, f"{acc:.1f}", f"{ece:.1f}", f"{coverage:.1f}"),
                        *(f"{risk:.1f}", f"{100 * noticed:.0f}"),
                    )
                )
    title = f"Target risk {100 * TARGET:g} %, means over draws"
    print(f"\n{title}\n{plain_table(HEADER, table)}")
    if write:
        write_table("drift", "drift.py", list_table(title, HEADER, table))


def _place(key):
    """Clean first, angles as numbers."""
    question = key[1]
    if question in ("clean", "the same"):
        return 0, 0, ""
    if question.startswith("turned"):
        return 1, int(question.split()[2]), ""
    return 2, 0, question


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="digits, one draw, no file")
    parser.add_argument("--report", action="store_true", help="fit nothing: tables from the CSV")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            run(arguments, Path(folder), ["digits"], 1, ("clean", "turned by 30"))
    else:
        real = list(OTHER) if os.environ.get("SKCLIP_FEATURE_SETS") else []
        run(arguments, RESULTS, ["digits", *real], DRAWS)


def run(arguments, folder, datasets, draws, questions=QUESTIONS):
    results = ResultFile(folder / "drift.csv", KEY, VALUES)
    done = results.read()
    complete = {(key[0], key[2]) for key in done}
    tasks = [
        (d, i, questions) for d in datasets for i in range(draws) if (d, str(i)) not in complete
    ]
    if tasks and not arguments.report:
        write_json(results.path.with_suffix(".json"), environment(draws=len(tasks)))
        results.extend(run_one, tasks, n_jobs=arguments.n_jobs)
    report(list(results.read().values()), write=not arguments.quick)


if __name__ == "__main__":
    main()
