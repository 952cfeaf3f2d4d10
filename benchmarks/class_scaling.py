"""Processor seconds and memory of every classifier's fit over the number of classes.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/class_scaling.py``. Each fit is of synthetic
features, 512 of them, 16 images of each class, and has a process to itself, which is ended when it
takes more processor time or memory than it may. What is done is kept in
``benchmarks/results/class_scaling.csv``: a call goes on where an earlier one was stopped, and
``--classes 10 100`` or ``--classifiers NAME`` do a part. Cells that met a limit are tried again
when it is raised; ``--again`` measures all that is asked for anew. A classifier that met its limit
is not tried with more classes.

Seconds are of the processor, in all threads, so that other work on the machine counts little.
Memory is the peak during the fit less what the process held before it, the features included. The
exponent is the growth of the seconds between the two largest numbers of classes that ended:
rows grow along, 1 is linear in the classes. The table is ``docs/tables/class_scaling.rst``.
"""

import argparse
import inspect
import json
import math
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from adapter_speed import adapters, make_data
from result_files import RESULTS, environment, plain_table, write_table
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from skclip.benchmark import PeakMemory
from skclip.benchmark.rendering import list_table
from skclip.utils.files import write_text

CLASSES, SHOTS, N_FEATURES = (10, 100, 1000, 5000), 16, 512
QUICK_CLASSES, QUICK_SHOTS, QUICK_FEATURES = (3, 6), 4, 48
FILE = RESULTS / "class_scaling.csv"
KEY = ["classifier", "classes", "shots", "features"]
# Below this it is the overhead of a call that is timed.
LEAST_SECONDS = 0.01
ENDED, OF_TIME, OF_MEMORY = "ended", "time limit", "memory limit"
# Columns for the settings of result_files.environment.
SETTINGS = {k: k for k in ("processor", "torch", "date", "load_average")}
SETTINGS |= {"threads": "OMP_NUM_THREADS", "source": "skclip_source_sha256"}
# With its own tolerance it does not start at 1000 classes (docs/benchmarks.rst).
REFERENCE = "LogisticRegression(C=100, tol=1e-6)"


def make(name, data):
    if name == REFERENCE:
        return LogisticRegression(C=100, tol=1e-6, max_iter=300)
    cls = adapters()[name]
    seeded = "random_state" in inspect.signature(cls).parameters
    return cls(data.prototypes, **({"random_state": 0} if seeded else {}))


def memory_mib(field):
    """What this process holds, as the kernel counts it: "VmRSS" in memory, "VmData" asked for."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def run_cell(name, c, shots, d, limit_s, limit_mib):
    """What a cell's own process does: one fit, whose figures it prints."""
    warnings.simplefilter("ignore")
    small = make_data(32, QUICK_FEATURES, 8)
    make(name, small).fit(small.X, small.y)  # loads libraries
    data = make_data(shots * c, d, c)
    before = memory_mib("VmRSS")
    size = int((memory_mib("VmData") + limit_mib) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + limit_s, used + limit_s + 5))
    estimator = make(name, data)
    wall, start = time.perf_counter(), time.process_time()
    try:
        with PeakMemory() as peak:
            estimator.fit(data.X, data.y)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        print(json.dumps({"outcome": OF_MEMORY}))
        return
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    figures = {"seconds": seconds, "wall": wall, "mib": peak.mib - before}
    print(json.dumps({"outcome": ENDED, **figures}))


def measure(name, c, shots, d, limit_s, limit_mib):
    """The figures of a cell, from a process of its own."""
    cell = json.dumps([name, c, shots, d, limit_s, limit_mib])
    command = [sys.executable, __file__, "--cell", cell]
    try:
        # Another process on the machine may take its turn; one that waits for ever may not.
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=20 * limit_s + 600
        )
    except subprocess.TimeoutExpired:
        return {"outcome": OF_TIME}
    if done.returncode < 0:  # ended by a signal: SIGXCPU, or by the system for want of memory
        return {"outcome": OF_TIME if done.returncode == -24 else OF_MEMORY}
    if done.returncode:
        print(f"{name} at {c} classes:\n{done.stderr}", file=sys.stderr)
        return {"outcome": f"error: {done.stderr.strip().splitlines()[-1]}"}
    return json.loads(done.stdout.splitlines()[-1])


def known(table, cell, limit_s, limit_mib):
    """The row of a cell that need not be measured again, or None."""
    rows = table[(table[KEY] == cell).all(axis=1)] if len(table) else table
    if not len(rows):
        return None
    row = rows.iloc[-1]
    met = {OF_TIME: row["limit_s"] < limit_s, OF_MEMORY: row["limit_mib"] < limit_mib}
    return None if met.get(row["outcome"], row["outcome"] != ENDED) else row.to_dict()


def exponent(rows):
    """Of the seconds between the two largest sizes that ended and count; NaN for fewer."""
    counts = (rows["outcome"] == ENDED) & (rows["seconds"] > LEAST_SECONDS)
    ended = rows[counts].sort_values("classes").tail(2)
    if len(ended) < 2:
        return math.nan
    steps = np.log(ended[["classes", "seconds"]].to_numpy(float))
    return float((steps[1, 1] - steps[0, 1]) / (steps[1, 0] - steps[0, 0]))


def shown(row, column):
    if row is None:
        return "not run"
    if row["outcome"] == OF_TIME and column == "seconds":
        return f"> {row['limit_s']:,.0f}"
    if row["outcome"] != ENDED:
        return row["outcome"].partition(":")[0]
    return f"{row[column]:,.2f}" if column == "seconds" else f"{row[column]:,.0f}"


def tables(table, classes):
    """Headers and rows of the two tables: seconds with their exponents, and memory."""
    out = []
    for column in ("seconds", "mib"):
        rows = []
        for name, cells in table.groupby("classifier", sort=False):
            by_size = {int(r["classes"]): r for r in cells.to_dict("records")}
            row = [name, *(shown(by_size.get(c), column) for c in classes)]
            growth = exponent(cells)
            if column == "seconds":
                row.append("" if math.isnan(growth) else f"{growth:.2f}")
            rows.append(row)
        header = ["Classifier", *(f"{c:,}" for c in classes)]
        out.append((header + ["Exponent"] * (column == "seconds"), rows))
    return out


def report(table, classes, shots, d, *, write):
    seconds, mib = tables(table, classes)
    print(plain_table(*seconds), plain_table(*mib), sep="\n\n")
    if not write:
        return
    of_limits = table[table["outcome"] != ENDED]
    sentence = f"{', '.join(sorted(set(table['processor'])))}; " + (
        f"{', '.join(f'{n} of torch' for n in sorted(set(table['torch'])))}, threads: "
        f"{', '.join(sorted(set(table['threads'].astype(str))))}."
    )
    if len(of_limits):
        sentence += (
            f" Limits were {of_limits['limit_s'].max():,.0f} s of processor time and "
            f"{of_limits['limit_mib'].max():,.0f} MiB."
        )
    what = f"to fit {shots} images of each class, {d} features, over the number of classes"
    write_table(
        "class_scaling",
        "class_scaling.py",
        list_table(f"Seconds of processor time {what}", *seconds),
        list_table(f"Peak of memory in MiB {what}", *mib),
        sentence + "\n",
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description="Fits of every classifier over classes.")
    parser.add_argument("--quick", action="store_true", help="two small sizes, no file")
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES))
    parser.add_argument("--classifiers", nargs="+", default=[*adapters(), REFERENCE])
    parser.add_argument("--limit-s", type=int, default=600, help="processor seconds of a fit")
    parser.add_argument("--limit-mib", type=int, default=8192, help="memory of a fit")
    parser.add_argument("--again", action="store_true", help="measure what is known, too")
    parser.add_argument("--table", action="store_true", help="write the table of what is known")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.cell:
        run_cell(*json.loads(arguments.cell))
        return
    classes, shots, d = sorted(arguments.classes), SHOTS, N_FEATURES
    if arguments.quick:
        classes, shots, d = QUICK_CLASSES, QUICK_SHOTS, QUICK_FEATURES
    kept = not arguments.quick
    table = pd.read_csv(FILE) if kept and FILE.exists() else pd.DataFrame()
    limits = {"limit_s": arguments.limit_s, "limit_mib": arguments.limit_mib}
    cells = [] if arguments.table else [(n, c) for c in classes for n in arguments.classifiers]
    stopped = set()
    for name, c in tqdm(cells, unit="fit", disable=None):
        cell = [name, c, shots, d]
        row = None if arguments.again else known(table, cell, **limits)
        if row is None and name not in stopped:
            settings = environment()
            row = dict(zip(KEY, cell, strict=True)) | measure(*cell, **limits) | limits
            row |= {k: settings[k] for k in ("processor", "torch", "date", "load_average")}
            row |= {
                "threads": settings["OMP_NUM_THREADS"],
                "source": settings["skclip_source_sha256"],
            }
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            table = table.drop_duplicates(KEY, keep="last")
            if kept:
                write_text(FILE, table.to_csv(index=False))
        if row is not None and row["outcome"] != ENDED:
            stopped.add(name)
    order = {name: i for i, name in enumerate([*adapters(), REFERENCE])}
    table = table.sort_values("classifier", key=lambda names: names.map(order), kind="stable")
    sizes = sorted(set(table["classes"].astype(int)))
    report(table, sizes, shots, d, write=kept)


if __name__ == "__main__":
    main()
