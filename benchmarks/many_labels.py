"""From how many labels on is scikit-learn's LogisticRegression enough?

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/many_labels.py``.

Real CLIP features: images per class from 1 to all that the pool has, three draws, the test split.
Nothing is chosen by these numbers. And tables without images or text, where
BayesAdapterClassifier without prototypes takes the place of LogisticRegression on scaled columns:
ten stratified splits of scikit-learn's own data sets. Written is ``docs/tables/many_labels.rst``.
"""

import argparse
import warnings

import numpy as np
from joblib import Parallel, delayed
from real_features import SINGLE_VIEW, draw_support, load
from result_files import RESULTS, environment, measure, plain_table, write_json, write_table
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skclip import BayesAdapterClassifier, ZeroShotClassifier
from skclip.benchmark.rendering import list_table

SHOTS = (1, 4, 16, 64, 200)
CV = {"cv": 4, "scoring": "neg_log_loss", "l1_ratios": (0.0,), "use_legacy_attributes": False}
ON_FEATURES = {
    "zero-shot": lambda text: ZeroShotClassifier(text),
    "BayesAdapter": lambda text: BayesAdapterClassifier(text),
    "BayesAdapter, no text": lambda text: BayesAdapterClassifier(),
    "LR, C=1": lambda text: LogisticRegression(max_iter=1000),
    "LR, C=100": lambda text: LogisticRegression(C=100, max_iter=1000),
    "LR, C by folds": lambda text: LogisticRegressionCV(max_iter=1000, **CV),
}
ON_TABLES = {
    "LR, C=1": LogisticRegression(max_iter=1000),
    "LR, C by folds": LogisticRegressionCV(max_iter=1000, **CV),
    "BayesAdapter, no text": BayesAdapterClassifier(),
}
TABLES = {
    "breast cancer": load_breast_cancer,
    "digits (64 pixels)": load_digits,
    "iris": load_iris,
    "wine": load_wine,
}
MEASURES = {
    "Accuracy in %": ("acc", 1),
    "ECE in %": ("ece10", 1),
    "Log-loss in nats": ("nll", 3),
}


def shots_of(name):
    """Those of SHOTS that at least half of the classes can give, so that supports are balanced."""
    counts = np.bincount(load(name).labels[SINGLE_VIEW[name][1]])
    return [k for k in SHOTS if k <= np.median(counts)]


def of_features(name, shots, seed):
    """(data set, shots, method) -> measures of one draw; four folds need four shots."""
    data, split = load(name), SINGLE_VIEW[name][1]
    y, y_test = data.labels[split], data.labels["test"]
    rows = draw_support(y, shots, seed)
    found = {}
    for method, make in ON_FEATURES.items():
        if method.endswith("folds") and shots < 4:
            continue
        classifier = make(data.prototypes).fit(data.features[split][rows], y[rows])
        proba = classifier.predict_proba(data.features["test"])
        found[name, shots, method] = measure(y_test, proba, classifier.classes_)
    return found


def of_table(name, seed):
    """(data set, rows per class, method) -> measures; half of the rows are for testing."""
    X, y = TABLES[name](return_X_y=True)
    split = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    X_pool, X_test, y_pool, y_test = split
    found = {}
    for shots in (5, len(y_pool)):
        rows = draw_support(y_pool, shots, seed)
        for method, classifier in ON_TABLES.items():
            pipeline = make_pipeline(StandardScaler(), classifier).fit(X_pool[rows], y_pool[rows])
            label = "5" if shots == 5 else "all of half"
            proba = pipeline.predict_proba(X_test)
            found[name, label, method] = measure(y_test, proba, pipeline.classes_)
    return found


def tables(means, methods):
    """(title, header, rows) for each measure; empty where a method needs more labels."""
    cells = list(dict.fromkeys(key[:2] for key in means))
    for title, (measured, digits) in MEASURES.items():
        rows = []
        for cell in cells:
            found = [means.get((*cell, method), {}).get(measured) for method in methods]
            texts = ["" if value is None else f"{value:.{digits}f}" for value in found]
            rows.append([*map(str, cell), *texts])
        yield title, ("data", "labels per class", *methods), rows


def averaged(outcomes):
    """(data set, labels per class, method) -> measure -> mean over draws."""
    measured = [name for name, _ in MEASURES.values()]
    return {
        key: {m: float(np.mean([o[key][m] for o in outcomes])) for m in measured}
        for key in outcomes[0]
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one set, one draw; nothing written")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="The number of unique classes")
    seeds = range(1 if arguments.quick else 3)
    names = ["cifar10"] if arguments.quick else list(SINGLE_VIEW)
    jobs = Parallel(n_jobs=arguments.n_jobs)
    cells = [(name, k) for name in names for k in shots_of(name)[: 2 if arguments.quick else None]]
    on_features, on_tables = {}, {}
    for name, shots in cells:
        on_features |= averaged(jobs(delayed(of_features)(name, shots, seed) for seed in seeds))
    for name in ["iris"] if arguments.quick else TABLES:
        splits = range(1 if arguments.quick else 10)
        on_tables |= averaged(jobs(delayed(of_table)(name, seed) for seed in splits))
    parts = []
    for means, methods, what in (
        (on_features, ON_FEATURES, "CLIP features, means over three draws"),
        (on_tables, ON_TABLES, "no images and no text, means over ten splits"),
    ):
        for title, header, rows in tables(means, methods):
            print(f"\n{title}: {what}\n{plain_table(header, rows)}")
            parts.append(list_table(f"{title}: {what}", header, rows))
    if arguments.quick:
        return
    write_table("many_labels", "many_labels.py", *parts)
    raw = [
        {"data": str(data), "labels": str(labels), "method": method, **found}
        for (data, labels, method), found in (on_features | on_tables).items()
    ]
    write_json(RESULTS / "many_labels.json", [environment(), *raw])


if __name__ == "__main__":
    main()
