"""Time the metrics on a million predictions of a hundred classes, and their memory.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/metrics_speed.py``. Seconds are those of the
processor. "Extra" is the most memory that NumPy holds at a time during the call beyond the
predictions themselves, in a second call under tracemalloc. The results go to
``benchmarks/results/metrics_speed.json`` and ``docs/tables/metrics_speed.rst``.
"""

import argparse
import time
import tracemalloc

import numpy as np
from netcal.metrics import ECE
from result_files import RESULTS, environment, plain_table, write_json, write_table
from sklearn.metrics import log_loss

from skclip.benchmark.rendering import list_table
from skclip.metrics import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    classwise_calibration_error,
    debiased_calibration_error,
    error_detection_auroc,
    expected_calibration_error,
    maximum_calibration_error,
    reliability_coverage_table,
)

SIZE, QUICK_SIZE = (1_000_000, 100), (2_000, 10)
METRICS = {
    "expected_calibration_error": expected_calibration_error,
    'expected_calibration_error, strategy="quantile"': lambda *args, **kwargs: (
        expected_calibration_error(*args, strategy="quantile", **kwargs)
    ),
    "maximum_calibration_error": maximum_calibration_error,
    "classwise_calibration_error": classwise_calibration_error,
    "debiased_calibration_error": debiased_calibration_error,
    "area_under_risk_coverage": area_under_risk_coverage,
    "area_under_generalized_risk_coverage": area_under_generalized_risk_coverage,
    "error_detection_auroc": error_detection_auroc,
    "reliability_coverage_table": reliability_coverage_table,
    "for comparison: netcal's ECE": lambda y, proba, labels: ECE(10).measure(proba, y),
    "for comparison: scikit-learn's log_loss": log_loss,
}


def make_predictions(n, c, seed=0):
    """Labels drawn from the (n, c) probabilities, made row block by row block."""
    rng = np.random.default_rng(seed)
    proba, y = np.empty((n, c)), np.empty(n, dtype=np.int64)
    for first in range(0, n, 10_000):
        logits = rng.normal(scale=2.5, size=(min(10_000, n - first), c))
        rows = np.exp(logits - logits.max(axis=1, keepdims=True))
        proba[first : first + len(rows)] = rows / rows.sum(axis=1, keepdims=True)
        y[first : first + len(rows)] = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return y, proba


def time_metric(metric, y, proba):
    """Seconds of the processor, and MiB beyond the arguments."""
    labels = np.arange(proba.shape[1])
    start = time.process_time()
    metric(y, proba, labels=labels)
    seconds = time.process_time() - start
    tracemalloc.start()
    metric(y, proba, labels=labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"seconds": seconds, "extra_mib": peak / 2**20}


def parse_arguments():
    parser = argparse.ArgumentParser(description="Time the metrics on many predictions.")
    parser.add_argument("--quick", action="store_true", help="few predictions, no file")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    n, c = QUICK_SIZE if arguments.quick else SIZE
    for metric in METRICS.values():  # what is imported lazily is outside the clock
        metric(*make_predictions(200, 5), labels=np.arange(5))
    y, proba = make_predictions(n, c)
    results = {name: time_metric(metric, y, proba) for name, metric in METRICS.items()}
    header = ("metric", "s", "extra MiB")
    rows = [
        (name, f"{found['seconds']:.2f}", f"{found['extra_mib']:.0f}")
        for name, found in results.items()
    ]
    print(f"{n} predictions of {c} classes: {proba.nbytes / 2**20:.0f} MiB")
    print(plain_table(header, rows))
    if not arguments.quick:
        write_json(
            RESULTS / "metrics_speed.json",
            {"environment": environment(n=n, c=c), "results": results},
        )
        title = (
            f"{n:,} predictions of {c} classes ({proba.nbytes / 2**20:.0f} MiB in float64), "
            "one thread"
        )
        rows = [
            (f"``{name}``" if not name.startswith("for") else name, *rest) for name, *rest in rows
        ]
        write_table("metrics_speed", "metrics_speed.py", list_table(title, header, rows))


if __name__ == "__main__":
    main()
