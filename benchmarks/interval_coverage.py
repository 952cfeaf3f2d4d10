"""How often bootstrap intervals of the metrics hold the truth.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py``. Test sets are drawn
from two classifiers whose calibration is known, one calibrated and one over-confident by
0.08, so that the value of every metric on infinitely many samples is known to three digits.
The results go to ``docs/tables/interval_coverage.rst``.
"""

import argparse

import numpy as np
from result_files import plain_table, write_table
from tqdm.auto import tqdm

from skclip.benchmark.rendering import list_table
from skclip.metrics import (
    area_under_risk_coverage,
    bootstrap_interval,
    debiased_calibration_error,
    expected_calibration_error,
)

ACCURACY = {
    "calibrated": lambda confidence: confidence,
    "over-confident": lambda confidence: confidence - 0.08,
}
METRICS = {
    "expected_calibration_error": expected_calibration_error,
    "debiased_calibration_error": debiased_calibration_error,
    "area_under_risk_coverage": area_under_risk_coverage,
}
SIZES, N_TESTS, N_RESAMPLES = (200, 2000), 200, 200
N_TRUTH = 4_000_000


def draw(rng, n, accuracy):
    """Labels and two-class probabilities; confidence from 0.5 to 1, most of it high."""
    confidence = 0.5 + rng.beta(4, 1, size=n) / 2
    y = (rng.random(n) < accuracy(confidence)).astype(int)
    return y, np.column_stack([1 - confidence, confidence])


def share_of_hits(metric, accuracy, truth, n, n_tests):
    """Of the "basic" and of the "percentile" interval, and their mean width."""
    rng = np.random.default_rng(1)
    hits, widths = np.zeros(2), []
    for seed in range(n_tests):
        basic = bootstrap_interval(
            metric,
            *draw(rng, n, accuracy),
            labels=[0, 1],
            n_resamples=N_RESAMPLES,
            random_state=seed,
        )
        # The percentile interval is the basic one, mirrored at the value.
        low, high = 2 * basic.value - basic.high, 2 * basic.value - basic.low
        hits += [basic.low <= truth <= basic.high, low <= truth <= high]
        widths.append(basic.high - basic.low)
    return *hits / n_tests, np.mean(widths)


def parse_arguments():
    parser = argparse.ArgumentParser(description="How often intervals hold the truth.")
    parser.add_argument("--quick", action="store_true", help="few test sets, no file")
    return parser.parse_args()


def main():
    quick = parse_arguments().quick
    sizes, n_tests, n_truth = ((50,), 3, 10_000) if quick else (SIZES, N_TESTS, N_TRUTH)
    rows = []
    cases = [(kind, name, n) for kind in ACCURACY for name in METRICS for n in sizes]
    truths = {}
    for kind, accuracy in ACCURACY.items():
        many = draw(np.random.default_rng(0), n_truth, accuracy)
        for name, metric in METRICS.items():
            truths[kind, name] = metric(*many, labels=[0, 1])
    for kind, name, n in tqdm(cases, disable=None):
        truth = truths[kind, name]
        basic, percentile, width = share_of_hits(METRICS[name], ACCURACY[kind], truth, n, n_tests)
        rows.append(
            (
                f"``{name}``",
                kind,
                n,
                f"{truth:.3f}",
                f"{width:.3f}",
                f"{100 * basic:.0f} %",
                f"{100 * percentile:.0f} %",
            )
        )
    header = ("metric", "classifier", "samples", "truth", "width", "basic", "percentile")
    print(plain_table(header, rows))
    if not quick:
        title = (
            f"Share of 95 % intervals that hold the truth, of {n_tests} test sets each, "
            f"{N_RESAMPLES} resamples"
        )
        write_table("interval_coverage", "interval_coverage.py", list_table(title, header, rows))


if __name__ == "__main__":
    main()
