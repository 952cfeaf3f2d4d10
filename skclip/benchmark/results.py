"""A table of results that grows row by row, so that a stopped run can go on."""

import csv
import io
import os
from pathlib import Path

__all__ = ["ResultFile"]


class ResultFile:
    """A CSV of rows, dictionaries of text without line breaks, identified by key columns.

    Parameters
    ----------
    path : path-like
    key, values : sequence of str
        Columns that identify a row, and the others.
    """

    def __init__(self, path, key, values):
        self.path, self.key, self.columns = Path(path), tuple(key), (*key, *values)

    def read(self):
        """Rows by key. A last line without its end, cut off by a kill, is dropped."""
        if not self.path.exists():
            return {}
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(io.StringIO(whole, newline="")))
        return {tuple(row[name] for name in self.key): row for row in rows}

    def replace(self, rows):
        """Write all rows, sorted by key, in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=self._order))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def append(self, rows):
        """Append whole lines in one write, so that a stopped run leaves at most one cut off."""
        lines = io.StringIO()
        csv.DictWriter(lines, self.columns, lineterminator="\n").writerows(rows)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines.getvalue())
            file.flush()
            os.fsync(file.fileno())

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
