"""What ProKeRClassifier loses where its keys are some of the rows.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/proker_landmarks.py``. Beyond 16,384 rows the
classifier regresses on 4096 landmarks; here, where the regression on all rows can be had, it is
made to take half of them and less. Rows are synthetic, 16 of each of 250 classes; with
``SKCLIP_FEATURE_SETS=folder`` also real CLIP features, 4 of each of 700 classes of ImageNet.
Zero-shot classification and GaussianDAClassifier are there for comparison. Seconds are of the
processor. The results go to ``docs/tables/proker_landmarks.rst``.
"""

import argparse
import os
import time
import warnings
from unittest.mock import patch

from adapter_speed import make_data
from real_features import folder
from result_files import environment, measure, plain_table, write_table

from skclip import GaussianDAClassifier, ProKeRClassifier, ZeroShotClassifier
from skclip.adapters import proker
from skclip.benchmark import load_feature_dataset
from skclip.benchmark.rendering import list_table
from skclip.exceptions import PrototypeWarning

SIZE, QUICK_SIZE = (4000, 512, 250), (96, 48, 8)
SHARES = (2, 4, 8)
HEADER = ["Keys", "Accuracy in %", "Log-loss in nats", "Seconds"]


def tasks(*, quick):
    """Name -> (prototypes, X, y, X_test, y_test)."""
    n, d, c = QUICK_SIZE if quick else SIZE
    data = make_data(n, d, c, n_test=20)
    name = f"synthetic features, {n // c} images of each of {c} classes"
    found = {name: (data.prototypes, data.X, data.y, data.X_test, data.y_test)}
    if os.environ.get("SKCLIP_FEATURE_SETS") and not quick:
        real = load_feature_dataset(folder() / "imagenet700_vitb32.npz")
        X, y = real.features, real.labels
        found["real CLIP features, 4 images of each of 700 classes of ImageNet"] = (
            *(real.prototypes, X["train"], y["train"], X["test"], y["test"]),
        )
    return found


def compare(prototypes, X, y, X_test, y_test):
    """A row for every classifier."""

    def row(name, cls):
        start = time.process_time()
        classifier = cls(prototypes).fit(X, y)
        seconds = time.process_time() - start
        found = measure(y_test, classifier.predict_proba(X_test), classifier.classes_)
        return [name, f"{found['acc']:.1f}", f"{found['nll']:.3f}", f"{seconds:.1f}"]

    yield row("none: zero-shot", ZeroShotClassifier)
    for share in SHARES[::-1]:
        m = len(X) // share
        with patch.multiple(proker, _MOST_ROWS=0, _N_LANDMARKS=m):
            yield row(f"{m:,} of {len(X):,} rows", ProKeRClassifier)
    yield row(f"all {len(X):,} rows", ProKeRClassifier)
    yield row("none: GaussianDAClassifier", GaussianDAClassifier)


def main():
    parser = argparse.ArgumentParser(description="ProKeR on landmarks.")
    parser.add_argument("--quick", action="store_true", help="a small size, no file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", PrototypeWarning)  # two classes of ImageNet have one name
    warnings.filterwarnings("ignore", "ProKeRClassifier solves for all rows")  # it is the subject
    tables = []
    for name, data in tasks(quick=arguments.quick).items():
        rows = list(compare(*data))
        print(name, plain_table(HEADER, rows), sep="\n", end="\n\n")
        tables.append(list_table(f"ProKeRClassifier, {name}", HEADER, rows))
    if not arguments.quick:
        settings = environment()
        note = f"{settings['processor']}; threads: {settings['OMP_NUM_THREADS']}.\n"
        write_table("proker_landmarks", "proker_landmarks.py", *tables, note)


if __name__ == "__main__":
    main()
