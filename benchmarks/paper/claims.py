"""Do the claims of the BayesAdapter paper hold on real CLIP features?

    SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/paper/claims.py --n-jobs 2

runs the study of feature_sets.toml (a run that was stopped goes on), and for each claim says
whether it is supported, with 95 % intervals over the draws, beside what the published averages say.
Verdicts follow rules that are fixed in this file: `verdict` and the constants.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from result_files import (  # noqa: E402
    RESULTS,
    ROOT,
    environment,
    plain_table,
    write_json,
    write_table,
)

from skclip.benchmark import METHODS, Study, interval, read_config, report, run  # noqa: E402
from skclip.benchmark.rendering import list_table  # noqa: E402

PUBLISHED = HERE / "published.csv"
BAYES = ("bayes-paper", "bayes")
LEVELS = (95, 99)
# Coverages closer than this are a tie, a fraction.
TIE = 0.01
# A slope of the ECE that counts as growth, points per doubling of shots.
GROWTH = 0.1
# A rank correlation below this leaves three quarters of the variation of ranks open.
WEAK = 0.5


def verdict(value, bound, holds_below):
    """From an interval over draws: on which side of a bound it lies, if wholly on one."""
    if np.isnan(value.half_width):
        return "one draw, no verdict"
    if not value.low <= bound <= value.high:
        return "supported" if (value.high < bound) == holds_below else "not supported"
    return "undecided"


def correlations(study, without=("zero-shot",)):
    """Per draw: Spearman's correlation over methods of accuracy and -ECE, mean over cells."""
    rows = study.rows_of(study.settings)
    rows = rows[~rows["method"].isin(without)]
    cells = rows.groupby(["seed", "setting", "shots"])
    complete = cells["method"].transform("size") == rows["method"].nunique()
    cells = rows[complete].groupby(["seed", "setting", "shots"])[["accuracy", "ece"]]
    found = cells.apply(lambda cell: _spearman(cell["accuracy"], cell["ece"]))
    return found.groupby(level="seed").mean().to_numpy()


def _spearman(accuracy, ece):
    if np.ptp(accuracy) == 0 or np.ptp(ece) == 0:
        return np.nan
    return float(spearmanr(accuracy, -np.array(ece)).statistic)


def ece_slopes(study, method, settings):
    """Per draw: least-squares slope of the ECE, averaged over settings, in points per doubling."""
    table = study.draws("ece", settings)[method].unstack("seed").dropna(axis=1)
    return 100 * np.polyfit(np.log2(table.index), table.to_numpy(), 1)[0]


def shares_of_best(study, level, without=()):
    """Method -> per draw the share of cells in which its coverage is the largest, or nearly.

    Cells are data sets x shots in which some method is reliable at this level; what is not
    reliable covers nothing.
    """
    rows = study.rows_of(study.settings)
    table = rows[~rows["method"].isin(without)].pivot(
        index=["seed", "setting", "shots"], columns="method", values=f"sample_coverage_{level}"
    )
    table = table.fillna(0)
    largest = table.max(axis=1)
    best = table.ge(largest - TIE, axis=0)[largest > 0]
    return {method: share.to_numpy() for method, share in best.groupby(level="seed").mean().items()}


def published():
    """(metric, method) -> percentages at 1, 2, 4, 8, 16, 32 shots, averages over data sets."""
    found = {}
    with PUBLISHED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["dataset"].startswith("average"):
                values = found.setdefault((row["metric"], row["method"]), {})
                values[int(row["shots"])] = float(row["percent"])
    return {key: np.array([v for _, v in sorted(values.items())]) for key, values in found.items()}


def published_correlations(reported):
    """Of the averages, per number of shots, over methods that have both metrics."""
    methods = [m for metric, m in reported if metric == "ece"]
    accuracy, ece = (np.array([reported[k, m] for m in methods]) for k in ("accuracy", "ece"))
    return np.array([_spearman(*columns) for columns in zip(accuracy.T, ece.T, strict=True)])


def claims(study):
    """Rows of (claim, published, ours, verdict)."""
    reported = published()
    rho = interval(correlations(study))
    theirs = published_correlations(reported)
    rows = [
        (
            "1. Accuracy does not track calibration: rank correlation over methods",
            f"{theirs.mean():.2f} (per shots: {' '.join(f'{r:.1f}' for r in theirs)})",
            rho.text(2),
            verdict(rho, WEAK, holds_below=True),
        )
    ]
    if "random-lp" in study.methods:
        rho = interval(correlations(study, without=("zero-shot", "random-lp")))
        rows.append(
            (
                "1. The same without the linear probe that starts at random",
                f"{theirs.mean():.2f} (it is not among them)",
                rho.text(2),
                verdict(rho, WEAK, holds_below=True),
            )
        )
    for number, method, grows in ((2, "clap", True), *((3, m, False) for m in BAYES)):
        if method not in study.methods:
            continue
        slope = interval(ece_slopes(study, method, study.settings))
        values = reported.get(("ece", method))
        there = "" if values is None else f"{np.polyfit(range(len(values)), values, 1)[0]:+.2f}"
        does = "grows" if grows else "does not grow"
        rows.append(
            (
                f"{number}. The ECE of {METHODS[method].label} {does} with shots: "
                "points per doubling",
                there,
                slope.text(2, sign="+"),
                verdict(slope, GROWTH, holds_below=not grows),
            )
        )
    for level in LEVELS:
        for method in (m for m in BAYES if m in study.methods):
            others = [m for m in BAYES if m != method]  # one of the two competes at a time
            share = interval(100 * shares_of_best(study, level, without=others)[method])
            rows.append(
                (
                    f"4. Coverage at {level} % reliability, {METHODS[method].label}: "
                    "best or tied, % of cells",
                    "most",
                    share.text(0),
                    verdict(share, 50.0, holds_below=False),
                )
            )
    return rows


def tables(study):
    """(title, header, rows) of the claims and of what is behind them."""
    yield (
        "Claims of the paper, and these runs",
        ("Claim", "Published averages", "Here", "Verdict"),
        claims(study),
    )
    rows = []
    for method in study.methods:
        slopes = [interval(ece_slopes(study, method, [s])) for s in study.settings]
        average = interval(ece_slopes(study, method, study.settings))
        entries = [value.text(2, sign="+") for value in (average, *slopes)]
        rows.append((METHODS[method].label, *entries))
    yield (
        "Slope of the ECE, points per doubling of shots",
        ("Method", "average", *(s.dataset for s in study.settings)),
        rows,
    )
    shares = [shares_of_best(study, level) for level in LEVELS]
    yield (
        "Share of cells in which a method's reliable coverage is the largest or within a point, %",
        ("Method", *(f"at {level} %" for level in LEVELS)),
        [
            (METHODS[m].label, *(interval(share[m]).text(0, 100) for share in shares))
            for m in study.methods
        ],
    )
    for metric, title in (("accuracy", "Accuracy, %"), ("ece", "ECE, %")):
        yield (
            f"{title}, average over data sets, over shots per class",
            ("Method", *map(str, study.shots)),
            [
                (METHODS[m].label, *(value.text(1, 100) for value in by_shots))
                for m, by_shots in study.intervals(metric, study.settings).iterrows()
            ],
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two draws of little; writes nothing")
    arguments = parser.parse_args()
    study = read_config(HERE / "feature_sets.toml")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.quick:
            study |= {
                "datasets": study["datasets"][2:],
                "methods": ("zero-shot", "clap", "gda", "bayes"),
                "shots": (1, 2),
                "seeds": (1, 2),
                "out": folder,
            }
        run(**study, n_jobs=arguments.n_jobs)
        results = Study(study["out"])
        found = list(tables(results))
        for title, header, rows in found:
            print(f"\n{title}\n\n{plain_table(header, rows)}")
        if not arguments.quick:
            _write(results, found)


def _write(results, found):
    draws = results.frame["seed"].nunique()
    fit = results.frame[["fit_seconds", "predict_seconds"]].to_numpy().sum()
    note = (
        f"{len(results.settings)} data sets, {len(results.shots)} numbers of shots, {draws} draws, "
        f"{len(results.methods)} methods: {len(results.frame)} fits, {fit / 60:.0f} minutes of "
        "work by one thread. ± is half of the 95 % interval over draws. Published averages are "
        "those over eleven data sets with RN50, as reported second-hand."
    )
    parts = [note, ""]
    for table in found:
        parts += [list_table(*table), ""]
    write_table("claims", "paper/claims.py", *parts)
    content = {
        title: [dict(zip(header, row, strict=True)) for row in rows]
        for title, header, rows in found
    }
    command = "python benchmarks/paper/claims.py " + " ".join(sys.argv[1:])
    about = environment(command=command)
    write_json(RESULTS / "claims.json", {"environment": about, **content})
    with tempfile.TemporaryDirectory() as folder:
        figures = report(results.folder, folder, formats=()) / "figures"
        target = ROOT / "docs" / "_static" / "claims_over_shots.svg"
        target.write_bytes((figures / "over_shots.svg").read_bytes())


if __name__ == "__main__":
    main()
