"""Time the fit of every adapter with its default settings, and Tip-Adapter's prediction.

Run it as ``OMP_NUM_THREADS=2 python benchmarks/adapter_speed.py`` on an idle machine. All fit
the same synthetic features, 16 images of each of 196 classes, one after the other, in this
process. Then Tip-Adapter predicts 50,000 rows from 16,000 keys, whose affinities alone would
take 3 GiB in float32. The results go to ``benchmarks/results/adapter_speed.json`` and
``docs/tables/adapter_speed.rst``.
"""

import argparse
import inspect
import time
import warnings

import numpy as np
import torch
from result_files import RESULTS, environment, plain_table, write_json, write_table
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

import skclip
from skclip.benchmark import PeakMemory
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features

SIZE = (3136, 512, 196)
QUICK_SIZE = (60, 48, 6)
PREDICTED = (16_000, 512, 1000, 50_000)
# What one fit may take, in seconds.
BAR = 30.0


def adapters():
    """Name -> class of every classifier that takes no other, as fast as which a wrapper is."""
    classes = {n: getattr(skclip, n) for n in skclip.__all__ if n.endswith("Classifier")}
    wraps = {n: "estimator" in inspect.signature(cls).parameters for n, cls in classes.items()}
    return {name: cls for name, cls in classes.items() if not wraps[name]}


def make_data(n, d, c, n_test=1):
    data = make_clip_features(n // c, c, n_features=d, n_test_per_class=n_test, random_state=0)
    for name in ("X", "X_test", "prototypes"):
        data[name] = data[name].astype(np.float32)
    return data


def time_fit(cls, data):
    parameters = inspect.signature(cls).parameters
    given = {"random_state": 0} if "random_state" in parameters else {}
    with PeakMemory() as peak:
        start = time.perf_counter()
        cls(data.prototypes, **given).fit(data.X, data.y)
        seconds = time.perf_counter() - start
    return seconds, peak.mib


def time_prediction():
    n_keys, d, c, n_rows = PREDICTED
    data = make_data(n_keys, d, c, n_test=n_rows // c)
    classifier = skclip.TipAdapterClassifier(data.prototypes, alpha=1.0, beta=5.5)
    classifier.fit(data.X, data.y)
    with PeakMemory() as before:
        pass
    with PeakMemory() as peak:
        start = time.perf_counter()
        classifier.predict_proba(data.X_test)
        seconds = time.perf_counter() - start
    return {"size": PREDICTED, "seconds": seconds, "mib": peak.mib - before.mib}


def main():
    parser = argparse.ArgumentParser(description="Time every adapter's fit by its defaults.")
    parser.add_argument("--quick", action="store_true", help="a small size, no file")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore", ConvergenceWarning)
    size = QUICK_SIZE if quick else SIZE
    settings = environment(torch_threads=torch.get_num_threads(), size=size)
    small = make_data(*QUICK_SIZE)
    skclip.BayesAdapterClassifier(small.prototypes).fit(small.X, small.y)  # loads libraries
    data, fits = make_data(*size), {}
    for name, cls in tqdm(adapters().items(), unit="adapter", disable=None):
        seconds, mib = time_fit(cls, data)
        fits[name] = {"seconds": seconds, "peak_mib": mib}
    header = ("class", "fit s", "peak MiB", f"under {BAR:.0f} s")
    rows = [
        (name, f"{f['seconds']:.1f}", f"{f['peak_mib']:.0f}", "yes" if f["seconds"] < BAR else "no")
        for name, f in fits.items()
    ]
    print(plain_table(header, rows))
    if quick:
        return
    prediction = time_prediction()
    sentences = (
        f"{settings['processor']}, {settings['torch_threads']} threads, load average "
        f"{settings['load_average']} at the start; torch {settings['torch']}.",
        f"TipAdapterClassifier predicts {PREDICTED[3]:,} rows of {PREDICTED[2]} classes from "
        f"{PREDICTED[0]:,} keys in {prediction['seconds']:.1f} s; the peak of memory rises by "
        f"{prediction['mib']:.0f} MiB, of which the result is "
        f"{PREDICTED[3] * PREDICTED[2] * 4 / 2**20:.0f} MiB.",
    )
    print("\n".join(sentences))
    title = "Seconds to fit {:,} rows of {} features, {} classes".format(*size)
    table = list_table(title, header, rows)
    write_table("adapter_speed", "adapter_speed.py", table, *(f"{s}\n" for s in sentences))
    content = {"environment": settings, "fits": fits, "tip_adapter_prediction": prediction}
    write_json(RESULTS / "adapter_speed.json", content)


if __name__ == "__main__":
    main()
