"""When are prototypes in another order than the labels noticed, and is a right order believed?

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/text_order.py``. It draws
classes and images from training pools of real features, and asks a fit's own check about the texts
in their order, in a random other one, and about the texts of other classes. Prints the share that
is contradicted, in percent, over all pools; nothing is written.
"""

import argparse
import itertools
import warnings

import numpy as np
from real_features import SINGLE_VIEW, folder, load
from result_files import plain_table
from tqdm.auto import tqdm

from skclip.adapters.text_order import warn_if_texts_are_misplaced
from skclip.benchmark import load_feature_dataset
from skclip.exceptions import PrototypeWarning

CLASSES, SHOTS = (2, 3, 4, 5, 6, 7, 8, 10, 12), (1, 2, 4, 16)
CASES = ("right order", "another order", "texts of other classes")


def pools():
    """(features, labels, texts) of every split but the test rows."""
    data = {name: load(name) for name in SINGLE_VIEW}
    data["imagenet"] = load_feature_dataset(folder() / "imagenet700_vitb32.npz")
    for found in data.values():
        for split in sorted(set(found.features) - {"test"}):
            yield found.features[split], found.labels[split], found.prototypes.vectors


def is_contradicted(X, codes, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrototypeWarning)
        try:
            warn_if_texts_are_misplaced(X, codes, np.ones(len(X)), text, np.arange(len(text)))
        except PrototypeWarning:
            return True
    return False


def draw(pool, n_classes, shots, rng):
    """Whether each of CASES is contradicted, in one draw; None where the pool is too small."""
    X, y, text = pool
    if n_classes * 2 > len(text) or np.bincount(y).min() < shots:
        return None
    first = rng.integers(len(text) - n_classes + 1)
    neighbours = np.arange(first, first + n_classes)  # which are alike in some data sets
    classes = neighbours if rng.random() < 0.5 else rng.permutation(len(text))[:n_classes]
    rows = [rng.permutation(np.flatnonzero(y == k))[:shots] for k in classes]
    codes = np.repeat(np.arange(n_classes), shots)
    order = np.arange(n_classes)
    while (order == np.arange(n_classes)).all():
        order = rng.permutation(n_classes)
    others = rng.permutation(np.setdiff1d(np.arange(len(text)), classes))[:n_classes]
    texts = (text[classes], text[classes][order], text[others])
    return [is_contradicted(X[np.concatenate(rows)], codes, given) for given in texts]


def main():
    parser = argparse.ArgumentParser(description="How often a check of prototypes speaks.")
    parser.add_argument("--quick", action="store_true", help="few draws")
    parser.add_argument("--draws", type=int, default=200, help="of each pool and cell (200)")
    arguments = parser.parse_args()
    draws, rng, found = 3 if arguments.quick else arguments.draws, np.random.default_rng(0), []
    every = list(pools())
    for n_classes, shots in tqdm(list(itertools.product(CLASSES, SHOTS)), disable=None):
        cell = [draw(pool, n_classes, shots, rng) for pool in every for _ in range(draws)]
        cell = np.array([drawn for drawn in cell if drawn is not None])
        found.append((n_classes, shots, len(cell), *(f"{100 * m:.2f}" for m in cell.mean(axis=0))))
    print(plain_table(("classes", "images per class", "draws", *CASES), found))


if __name__ == "__main__":
    main()
