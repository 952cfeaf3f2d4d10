"""The main job on real images, offline: images in, calibrated probabilities out.

Run by ``make demo``. It writes scikit-learn's digit images to disk as PNG files, turns them
into features with the tiny CLIP that ships with skclip, adapts classifiers to 1, 4 and 16
labelled images per class, and says how good their probabilities are.
"""

import argparse
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, ZeroShotClassifier
from skclip.datasets import save_digits_images, tiny_clip
from skclip.metrics import (
    ReliabilityDisplay,
    RiskCoverageDisplay,
    area_under_risk_coverage,
    expected_calibration_error,
)

SHOTS = (1, 4, 16)
N_DRAWS = 5
N_SUPPORT_POOL = 16 * 2  # images per class that shots are drawn from; the rest is the test set
TEMPLATES = ["a photo of the digit {}.", "a handwritten {}."]

REAL_WORK = """
To use OpenAI's weights on your own images, in one folder per class, change three lines:

    paths = skclip.features.find_images("my_images")
    labels = [path.parent.name for path in paths]
    pipeline = make_pipeline(
        CLIPFeaturizer("ViT-B-32", pretrained="openai"),
        BayesAdapterClassifier(ClassPrompts("ViT-B-32", pretrained="openai")),
    )
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--shift", default="combined", help="how the digits are shifted")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    print(f"1. Writing shifted digit images to {arguments.output / 'images'}")
    paths, labels = write_images(arguments.output / "images", arguments.shift)
    print(f"   {len(paths)} PNG files in {len(set(labels))} folders, for instance {paths[0]}")

    print("2. Featurizing them with the tiny CLIP")
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), verbose=1)
    start = time.perf_counter()
    X = featurizer.fit_transform(paths)
    print(f"   features {X.shape} in {time.perf_counter() - start:.1f} s")

    print(f"3. Adapting to a few images per class, mean over {N_DRAWS} draws")
    prompts = ClassPrompts(pretrained=tiny_clip(), templates=TEMPLATES)
    pool, test = split(labels)
    methods = {
        "zero-shot": lambda: ZeroShotClassifier(prompts),
        "LogisticRegression": lambda: LogisticRegression(max_iter=1000),
        "LogisticRegression(C=100)": lambda: LogisticRegression(C=100, max_iter=1000),
        "BayesAdapterClassifier": lambda: BayesAdapterClassifier(prompts),
    }
    rows, probabilities = compare(methods, X, labels, pool, test)
    print_table(rows)

    print("4. Grid search over the whole pipeline, from image files, 4 shots")
    search_pipeline(np.asarray(paths, dtype=object), labels, draw(labels, pool, 4, seed=0), test)

    print("5. Figures")
    draw_figures(arguments.output, labels[test], probabilities)
    print(REAL_WORK)
    return 0


def write_images(folder, shift):
    """Real images on disk; only digits that the tiny CLIP has not seen."""
    return save_digits_images(folder, subset="test", shift=shift)


def split(labels):
    """Row indices of a pool for support sets and of the test set, by class."""
    rng = np.random.default_rng(0)
    pool = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == c))[:N_SUPPORT_POOL] for c in np.unique(labels)]
    )
    return pool, np.setdiff1d(np.arange(len(labels)), pool)


def draw(labels, pool, shots, seed):
    """`shots` rows per class out of the pool."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.permutation(pool[labels[pool] == c])[:shots] for c in np.unique(labels)]
    )


def compare(methods, X, labels, pool, test):
    """Mean metrics by shots and method, and the test probabilities of one 4-shot draw."""
    rows, probabilities = [], {}
    for shots in SHOTS:
        for name, make in methods.items():
            results = []
            for seed in range(N_DRAWS):
                support = draw(labels, pool, shots, seed)
                start = time.perf_counter()
                classifier = make().fit(X[support], labels[support])
                seconds = time.perf_counter() - start
                proba = classifier.predict_proba(X[test])
                if (shots, seed) == (4, 0):
                    probabilities[name] = proba
                results.append([*measure(labels[test], proba), seconds])
            rows.append((shots, name, *np.mean(results, axis=0)))
    return rows, probabilities


def measure(y, proba):
    """Accuracy, ECE, NLL and AURC."""
    classes = np.unique(y)
    return (
        np.mean(classes[proba.argmax(axis=1)] == y),
        expected_calibration_error(y, proba),
        log_loss(y, proba),
        area_under_risk_coverage(y, proba),
    )


def print_table(rows):
    header = f"   {'shots':>5}  {'method':<26}{'accuracy':>9}{'ECE':>8}{'NLL':>8}{'AURC':>8}"
    print(f"{header}{'seconds':>9}")
    for shots, name, accuracy, ece, nll, aurc, seconds in rows:
        print(
            f"   {shots:>5}  {name:<26}{accuracy:>9.1%}{ece:>8.1%}{nll:>8.3f}{aurc:>8.3f}"
            f"{seconds:>9.3f}"
        )
    print()


def search_pipeline(paths, labels, support, test):
    """Prior precision and templates are parameters of one pipeline that starts at files."""
    pipeline = make_pipeline(
        CLIPFeaturizer(pretrained=tiny_clip()),
        BayesAdapterClassifier(ClassPrompts(pretrained=tiny_clip())),
    )
    grid = {
        "bayesadapterclassifier__prior_precision": ["auto", 1.0, 10.0, 100.0],
        "bayesadapterclassifier__prototypes__templates": ["simple", TEMPLATES],
    }
    search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=4)
    search.fit(paths[support], labels[support])
    for name, value in search.best_params_.items():
        print(f"   best {name.removeprefix('bayesadapterclassifier__')}: {value!r}")
    loss = log_loss(labels[test], search.predict_proba(paths[test]))
    print(f"   cross-validated NLL {-search.best_score_:.3f}, on the test images {loss:.3f}\n")


def draw_figures(folder, y, probabilities):
    names = ["zero-shot", "LogisticRegression", "BayesAdapterClassifier"]
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained", sharey=True)
    for ax, name in zip(axes, names, strict=True):
        ReliabilityDisplay.from_predictions(y, probabilities[name], ax=ax, name=name)
        ax.set_title(name)
    figure.savefig(folder / "reliability.png", dpi=120)
    figure, ax = plt.subplots(figsize=(5.5, 4.2), layout="constrained")
    for name in names:
        RiskCoverageDisplay.from_predictions(y, probabilities[name], ax=ax, name=name)
    figure.savefig(folder / "risk_coverage.png", dpi=120)
    for name in ("reliability.png", "risk_coverage.png"):
        print(f"   {folder / name}")


if __name__ == "__main__":
    sys.exit(main())
