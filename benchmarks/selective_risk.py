"""Does SelectiveClassifier's rule keep its promise on real CLIP features, and what does it cost?

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/selective_risk.py``.

BayesAdapterClassifier is fitted on a support of 1, 4 and 16 images per class. Then, many times
for each target risk, rows of the test split choose a threshold and others judge it, in two ways:

- "drawn", 1000 times: calibration rows are drawn from the test split with replacement, and the
  risk is that of the whole split. The split is then the distribution, known exactly, to which
  the guarantee refers: the share of draws with a larger risk must be at most 5 %.
- "split", 200 times: one half calibrates, the other judges, as a user would do. The risk on the
  judging half is an estimate from few errors; it can be above the target where the true risk is
  not. "Shown above" counts the splits in which an exact binomial test of the judging half
  rejects, at 5 %, that the risk is at most the target.

The oracle knows the labels of the rows that judge and takes the largest coverage with a risk of
at most the target. "Plug-in" takes the loosest threshold whose risk on the calibration rows is at
most the target: what one would do without a guarantee.

"SGR" is the rule of Geifman and El-Yaniv, "Bonferroni" the loosest of all exact bounds at the
level delta / n, both on the same draws. Where fewer rows calibrate than can certify anything,
nothing is certified by any rule; the mean over the other combinations is reported below.

A last table simulates calibration sets whose errors are known: the same share of errors at every
confidence, wrong labels among right ones, two kinds of rows, and confidences with ties.

The results go to ``benchmarks/results/selective_risk.csv``, row by row, so that a
stopped run can go on, and to ``docs/tables/selective_risk.rst``.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from real_features import SINGLE_VIEW, Cell, load, support
from result_files import RESULTS, environment, plain_table, write_json, write_table
from scipy.stats import beta, binom

from skclip import BayesAdapterClassifier
from skclip.benchmark import ResultFile
from skclip.benchmark.rendering import list_table
from skclip.decisions.risk_control import certify, fewest_rows

SHOTS = (1, 4, 16)
TARGETS = (0.05, 0.02, 0.01)
LEVEL = 0.95
REPETITIONS = {"drawn": 1000, "split": 200}
KEY = ("dataset", "shots", "target", "way")
VALUES = (
    *("calibration_rows", "repetitions", "violations", "shown", "abstained", "coverage"),
    *("risk", "oracle", "plug_in_violations", "plug_in_coverage"),
    *("sgr_coverage", "bonferroni_coverage"),
)


def oracle(confidence, wrong, target):
    """Threshold of the largest coverage with a risk of at most `target`; infinite for none."""
    order = np.argsort(-confidence, kind="stable")
    kappa = confidence[order]
    risk = np.cumsum(wrong[order]) / np.arange(1, len(kappa) + 1)
    last = np.append(kappa[1:] < kappa[:-1], True)  # tied rows together
    fine = np.flatnonzero(last & (risk <= target))
    return kappa[fine[-1]] if len(fine) else np.inf


def geifman_and_el_yaniv(confidence, wrong, target):
    """Threshold of SGR: a binary search, whose every bound has the level delta / steps."""
    kappa, order = np.sort(confidence), np.argsort(confidence, kind="stable")
    n, low, high = len(kappa), 0, len(kappa) - 1
    steps, threshold = int(np.ceil(np.log2(n))), np.inf
    for _ in range(steps):
        middle = (low + high + 1) // 2
        m, k = n - middle, wrong[order[middle:]].sum()
        bound = beta.ppf(1 - (1 - LEVEL) / steps, k + 1, m - k) if k < m else 1.0
        if bound <= target:
            high, threshold = middle, min(threshold, kappa[middle])
        else:
            low = middle
    return threshold


def bonferroni(confidence, wrong, target):
    """Threshold of the loosest of all Clopper-Pearson bounds at the level delta / n."""
    order = np.argsort(-confidence, kind="stable")
    p = binom.cdf(np.cumsum(wrong[order]), np.arange(1, len(order) + 1), target)
    passed = np.flatnonzero(p <= (1 - LEVEL) / len(order))
    return confidence[order][passed[-1]] if len(passed) else np.inf


def judge(threshold, confidence, wrong):
    """(coverage, risk) of accepting from a threshold; no row accepted has no risk."""
    accepted = confidence >= threshold
    return accepted.mean(), wrong[accepted].mean() if accepted.any() else 0.0


def shown_above(threshold, confidence, wrong, target):
    """Whether the accepted rows, taken as a sample, show a risk above the target."""
    errors = wrong[confidence >= threshold]
    return len(errors) > 0 and binom.sf(errors.sum() - 1, len(errors), target) <= 0.05


def rows_of(way, n, seed):
    """Row indices that calibrate, and that judge."""
    rng = np.random.default_rng(seed)
    if way == "drawn":
        return rng.integers(n, size=n // 2), np.arange(n)
    order = rng.permutation(n)
    return order[: n // 2], order[n // 2 :]


def run_one(dataset, shots, repetitions):
    """Rows of the CSV for one support."""
    data, cell = load(dataset), Cell(dataset, SINGLE_VIEW[dataset][1], shots)
    classifier = BayesAdapterClassifier(data.prototypes).fit(*support(cell, seed=0))
    proba, y = classifier.predict_proba(data.features["test"]), data.labels["test"]
    confidence, wrong = proba.max(axis=1), classifier.classes_[proba.argmax(axis=1)] != y
    rows = []
    for target, way in product(TARGETS, ("drawn", "split")):
        seen = []
        for seed in range(repetitions[way]):
            calibration, test = rows_of(way, len(y), seed)
            found = certify(confidence[calibration], wrong[calibration], target, 1 - LEVEL)
            coverage, risk = judge(found.threshold, confidence[test], wrong[test])
            best = oracle(confidence[test], wrong[test], target)
            plug_in = oracle(confidence[calibration], wrong[calibration], target)
            naive = judge(plug_in, confidence[test], wrong[test])
            rivals = [
                judge(
                    rule(confidence[calibration], wrong[calibration], target),
                    confidence[test],
                    wrong[test],
                )[0]
                for rule in (geifman_and_el_yaniv, bonferroni)
            ]
            seen.append(
                (
                    *(
                        risk > target,
                        shown_above(found.threshold, confidence[test], wrong[test], target),
                    ),
                    *(coverage == 0, coverage, risk),
                    *(judge(best, confidence[test], wrong[test])[0], naive[1] > target, naive[0]),
                    *rivals,
                )
            )
        seen = np.array(seen, float)
        accepted = seen[:, 2] == 0
        means = seen.mean(axis=0)
        means[4] = seen[accepted, 4].mean() if accepted.any() else np.nan
        values = (len(y) // 2, repetitions[way], *(f"{v:.5g}" for v in means))
        rows.append(
            dict(zip(KEY, (dataset, shots, target, way), strict=True))
            | dict(zip(VALUES, values, strict=True))
        )
    return rows


HEADER = (
    *("data set", "shots", "calibration rows", "coverage %", "oracle %", "risk %"),
    *(
        "above target %",
        "abstained %",
        "plug-in above %",
        "SGR coverage %",
        "Bonferroni coverage %",
    ),
)


def entries(row, columns):
    percent = (float(row[name]) for name in columns)
    return (
        *(row["dataset"], row["shots"], row["calibration_rows"]),
        *("" if np.isnan(value) else f"{100 * value:.1f}" for value in percent),
    )


def report(rows, write):
    parts = []
    for way, target in product(("drawn", "split"), TARGETS):
        columns = ["coverage", "oracle", "risk", "violations", "abstained", "plug_in_violations"]
        columns += ["sgr_coverage", "bonferroni_coverage"]
        header = list(HEADER)
        if way == "split":
            columns.insert(4, "shown")
            header.insert(7, "shown above %")
        chosen = [r for r in rows if r["way"] == way and float(r["target"]) == target]
        table = [entries(row, columns) for row in chosen]
        title = f"Target {100 * target:g} %, {way}"
        print(f"\n{title}\n{plain_table(header, table)}")
        parts.append(list_table(title, header, table))
    summary = summarise([row for row in rows if row["way"] == "drawn"])
    simulated = simulate(SIZES if write else SIZES[:1], 1000 if write else 20)
    print(f"\n{summary}\n{plain_table(*simulated)}")
    if write:
        title = "Simulated calibration sets, target 2 %"
        parts.append(list_table(title, *simulated))
        write_table("selective_risk", "selective_risk.py", summary, *parts)


# Simulated: the probability of an error at the quantile u of confidence, 1 the most confident.
SIZES = (59, 150, 500, 5000, 50_000)
ERRORS = {
    "0.5 % everywhere": lambda u: np.full(u.shape, 0.005),
    "2 % everywhere": lambda u: np.full(u.shape, 0.02),
    "2.01 % everywhere": lambda u: np.full(u.shape, 0.0201),
    "falling, and 0.5 % wrong labels": lambda u: 0.005 + 0.2 * np.maximum(0, 0.5 - u),
    "falling": lambda u: 0.2 * np.maximum(0, 0.8 - u) ** 2,
    "two kinds": lambda u: np.where(u > 0.4, 0.004, 0.06),
    "falling, ten values": lambda u: 0.1 * np.maximum(0, 0.8 - np.floor(10 * u) / 10) ** 2,
}


def simulate(sizes, repetitions, target=0.02):
    """Header and rows: how often anything is certified, coverage, and how often too much is."""
    grid = (np.arange(20_000) + 0.5) / 20_000
    rows = []
    for (name, error), n in product(ERRORS.items(), sizes):
        rng, seen = np.random.default_rng(n), []
        values = np.floor(10 * grid) / 10 if "values" in name else grid
        risk = np.cumsum(error(grid)[::-1]) / np.arange(1, len(grid) + 1)
        whole = np.append(np.diff(values[::-1]) < 0, True)  # ties are accepted together
        best = np.flatnonzero(whole & (risk <= target + 1e-12))
        for _ in range(repetitions if n < 50_000 else repetitions // 5):
            u = rng.random(n)
            kappa = np.floor(10 * u) / 10 if "values" in name else u
            wrong = rng.random(n) < error(u)
            threshold = certify(kappa, wrong, target, 1 - LEVEL).threshold
            m = int((values >= threshold).sum())
            seen.append((m > 0, m / len(grid), m > 0 and risk[m - 1] > target + 1e-9))
        certified, coverage, above = 100 * np.mean(seen, axis=0)
        top = 100 * (best[-1] + 1) / len(grid) if len(best) else 0.0
        numbers = (certified, coverage, top, above)
        rows.append((name, n, *(f"{value:.1f}" for value in numbers)))
    return ("errors", "n", "certified %", "coverage %", "oracle %", "above target %"), rows


def summarise(rows):
    """How often the true risk is above the target, where it is known."""
    n = int(rows[0]["repetitions"])
    share, plug_in = (
        [100 * float(row[name]) for row in rows] for name in ("violations", "plug_in_violations")
    )
    possible = [
        row
        for row in rows
        if int(row["calibration_rows"]) >= fewest_rows(float(row["target"]), 1 - LEVEL)
    ]
    mean = {
        name: np.mean([100 * float(row[name]) for row in possible])
        for name in ("coverage", "oracle", "sgr_coverage", "bonferroni_coverage")
    }
    delta = 1 - LEVEL
    error = 100 * np.sqrt(delta * LEVEL / n)
    return (
        f"Stated: at most {100 * delta:.0f} % of the draws give a threshold with a risk above the "
        f"target. Measured over {len(rows)} combinations of data set, shots and target, {n} draws "
        f"each (standard error {error:.1f} %): {np.mean(share):.1f} % on average, "
        f"{max(share):.1f} % at most. The plug-in rule: {np.mean(plug_in):.1f} % and "
        f"{max(plug_in):.1f} %. Mean coverage over the {len(possible)} combinations that have rows "
        f"enough to certify anything: {mean['coverage']:.1f} %, SGR {mean['sgr_coverage']:.1f} %, "
        f"Bonferroni {mean['bonferroni_coverage']:.1f} %, the oracle {mean['oracle']:.1f} %.\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, 20 draws, no file")
    parser.add_argument("--report", action="store_true", help="fit nothing: tables from the CSV")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            run(arguments, Path(folder), ["cifar10"], (4,), dict.fromkeys(REPETITIONS, 20))
    else:
        run(arguments, RESULTS, list(SINGLE_VIEW), SHOTS, REPETITIONS)


def run(arguments, folder, datasets, shots, repetitions):
    results = ResultFile(folder / "selective_risk.csv", KEY, VALUES)
    done = results.read()
    complete = {key[:2] for key in done}
    tasks = [
        (dataset, k, repetitions)
        for dataset, k in product(datasets, shots)
        if (dataset, str(k)) not in complete
    ]
    if tasks and not arguments.report:
        write_json(results.path.with_suffix(".json"), environment(fits=len(tasks)))
        results.extend(run_one, tasks, n_jobs=arguments.n_jobs)
    report(list(results.read().values()), write=not arguments.quick)


if __name__ == "__main__":
    main()
