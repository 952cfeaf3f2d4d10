"""A CSV of results that grows row by row, so that a stopped run can go on."""

import csv
import io
import os
from pathlib import Path

from joblib import Parallel, delayed
from tqdm.auto import tqdm


class ResultFile:
    """Rows as dictionaries of text, identified by the `key` columns.

    Parameters
    ----------
    path : Path
    key, values : sequence of str
        Columns that identify a row, and the others.
    """

    def __init__(self, path: Path, key, values):
        self.path, self.key, self.columns = path, tuple(key), (*key, *values)

    def read(self):
        """Rows by key; a last line that was cut off is dropped."""
        if not self.path.exists():
            return {}
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        return {tuple(row[name] for name in self.key): row for row in rows}

    def replace(self, rows):
        """Write all rows, sorted by key, in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=self._order))
        partial.replace(self.path)

    def append(self, rows):
        """Append whole lines in one write, so that a stopped run leaves no half row."""
        lines = io.StringIO()
        csv.DictWriter(lines, self.columns, lineterminator="\n").writerows(rows)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def extend(self, function, tasks, n_jobs):
        """Call ``function(*task)``, which returns rows, for all tasks; append as they arrive."""
        jobs = (delayed(function)(*task) for task in tasks)
        results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
        for rows in tqdm(results, total=len(tasks), unit="fit", disable=None):
            self.append(rows)

    def _order(self, row):
        """Numbers as numbers: 2 shots before 16."""
        entries = (str(row[name]) for name in self.key)
        return [(0, float(e), "") if _is_number(e) else (1, 0.0, e) for e in entries]


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
