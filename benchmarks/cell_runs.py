"""The command line of a comparison whose rows come cell by cell, and go on where a run stopped."""

import argparse
import tempfile
from pathlib import Path

from result_files import RESULTS, environment, write_json

from skclip.benchmark import ResultFile


def run_cells(name, key, values, run_one, report, *, tasks, quick, about, task_of=None):
    """Measure what ``results/NAME.csv`` lacks, and report all that it holds.

    ``run_one(*task)`` gives the rows of one task; ``report(rows, write=...)`` prints their tables
    and writes them. `quick` are the tasks of ``--quick``, which keeps nothing; `about` is the
    docstring of the script. `task_of` gives the task of a row's key, by default its first three.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one cell, no file")
    parser.add_argument("--report", action="store_true", help="fit nothing: tables from the CSV")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if arguments.quick else RESULTS
        results = ResultFile(folder / f"{name}.csv", key, values)
        complete = {task_of(k) if task_of else k[:3] for k in results.read()}
        asked = quick if arguments.quick else tasks
        missing = [task for task in asked if tuple(map(str, task)) not in complete]
        if missing and not arguments.report:
            write_json(results.path.with_suffix(".json"), environment(fits=len(missing)))
            results.extend(run_one, missing, n_jobs=arguments.n_jobs)
        report(list(results.read().values()), write=not arguments.quick)
