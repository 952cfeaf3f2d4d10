"""What augmented views of the support images are worth, on the shifted digits.

Support sets of 1, 4 and 16 images per class are drawn from half of the digits that the tiny CLIP
has not seen, the rest is the test set. The same images go into the same classifier as they are,
or as several random crops each, with the groups and weights that the documentation asks for.
The table shows the paired difference over draws: positive is a gain from views.

    python benchmarks/views.py             # writes docs/tables/views.rst
    python benchmarks/views.py --quick     # two draws of two views, prints only
"""

import argparse

import numpy as np
from result_files import (
    RESULTS,
    environment,
    measure,
    plain_table,
    write_json,
    write_table,
)

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer
from skclip.benchmark.rendering import list_table
from skclip.datasets import load_digits_images, tiny_clip

SHIFTS = (None, "rotated", "combined")
SHOTS = (1, 4, 16)
TEMPLATES = ["a photo of the digit {}.", "a handwritten {}."]
# name -> what views() is given. Digits must not be flipped; the field flips by default.
VARIANTS = {
    "crops": {"flip": 0.0},
    "crops and flips": {},
    "small crops": {"flip": 0.0, "scale": (0.25, 1.0)},
    "near-whole crops": {"flip": 0.0, "scale": (0.8, 1.0)},
}
HEADER = ["shift", "shots", "views", "accuracy", "confidence", "NLL", "ECE"]
HEADER += ["gain in accuracy", "gain in NLL"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--n-views", type=int, default=10)
    arguments = parser.parse_args()
    draws, n_views = (2, 2) if arguments.quick else (arguments.draws, arguments.n_views)
    shifts, shots = ((None,), (1,)) if arguments.quick else (SHIFTS, SHOTS)

    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
    prompts = ClassPrompts(featurizer, templates=TEMPLATES)
    prototypes = prompts.encode(load_digits_images().target_names)
    rows = []
    for shift in shifts:
        rows += compare(featurizer, prototypes, shift, shots, draws, n_views)
    print(plain_table(HEADER, rows))
    if arguments.quick:
        return
    title = f"{n_views} views per image, mean over {draws} draws"
    note = (
        "Accuracy, mean confidence and ECE in per cent, NLL in nats. A gain is the mean over "
        "draws of the paired difference to the images themselves, with its standard error.\n"
    )
    write_table("views", "views.py", list_table(title, HEADER, rows), note)
    write_json(
        RESULTS / "views.json",
        {"environment": environment(), "header": HEADER, "rows": rows},
    )


def compare(featurizer, prototypes, shift, shots, draws, n_views):
    """One row of the table per number of shots and variant."""
    data = load_digits_images(shift=shift)
    X = featurizer.transform(data.images)
    pool, test = split(data.target)
    views = {
        name: featurizer.views(data.images[pool], n_views, random_state=0, **changes)[0]
        for name, changes in VARIANTS.items()
    }
    rows = []
    for k in shots:
        results = {name: [] for name in ("none", *VARIANTS)}
        for seed in range(draws):
            chosen = draw(data.target[pool], k, seed)
            labels = data.labels[pool[chosen]]
            classifier = BayesAdapterClassifier(prototypes).fit(X[pool[chosen]], labels)
            results["none"].append(score(classifier, X[test], data.labels[test]))
            groups = np.repeat(np.arange(len(chosen)), n_views)
            weight = np.full(len(groups), 1 / n_views)
            for name, features in views.items():
                of_chosen = (chosen[:, None] * n_views + np.arange(n_views)).ravel()
                classifier = BayesAdapterClassifier(prototypes).fit(
                    features[of_chosen], labels[groups], sample_weight=weight, groups=groups
                )
                results[name].append(score(classifier, X[test], data.labels[test]))
        for name, values in results.items():
            rows.append([shift or "upright", k, name, *summary(np.array(values), results["none"])])
    return rows


def split(target):
    """Half of each class to draw support sets from, and the other half."""
    rng = np.random.default_rng(0)
    parts = [rng.permutation(np.flatnonzero(target == c)) for c in np.unique(target)]
    pool = np.sort(np.concatenate([part[: len(part) // 2] for part in parts]))
    return pool, np.setdiff1d(np.arange(len(target)), pool)


def draw(target, shots, seed):
    """Positions of `shots` rows per class."""
    rng = np.random.default_rng(seed)
    members = (np.flatnonzero(target == c) for c in np.unique(target))
    return np.concatenate([rng.permutation(rows)[:shots] for rows in members])


def score(classifier, X, y):
    proba = classifier.predict_proba(X)
    found = measure(y, proba, classifier.classes_)
    return found["acc"], found["nll"], found["ece10"], 100 * proba.max(axis=1).mean()


def summary(values, reference):
    accuracy, nll, ece, confidence = values.mean(axis=0)
    gain = (values - np.array(reference))[:, :2] * [1, -1]
    error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
    gains = [f"{gain[:, i].mean():+.{d}f} ± {error[i]:.{d}f}" for i, d in ((0, 1), (1, 3))]
    if not gain.any():
        gains = ["", ""]
    return [f"{accuracy:.1f}", f"{confidence:.1f}", f"{nll:.3f}", f"{ece:.1f}", *gains]


if __name__ == "__main__":
    main()
