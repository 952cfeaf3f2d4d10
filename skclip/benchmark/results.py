"""A table of results that grows row by row, so that a stopped run can go on."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from skclip.utils.files import write_text

__all__ = ["ResultFile"]

Row = dict[str, str]


class ResultFile:
    """A CSV of rows, dictionaries of text without line breaks, identified by key columns.

    Parameters
    ----------
    path : path-like
    key, values : sequence of str
        Columns that identify a row, and the others.
    """

    def __init__(
        self, path: str | os.PathLike[str], key: Sequence[str], values: Sequence[str]
    ) -> None:
        self.path, self.key, self.columns = Path(path), tuple(key), (*key, *values)

    def read(self) -> dict[tuple[str, ...], Row]:
        """Rows by key. A last line without its end, cut off by a kill, is dropped."""
        if not self.path.exists():
            return {}
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(io.StringIO(whole, newline="")))
        return {tuple(row[name] for name in self.key): row for row in rows}

    def replace(self, rows: Iterable[Row]) -> None:
        """Write all rows, sorted by key, in one step."""
        header = dict(zip(self.columns, self.columns, strict=True))
        write_text(self.path, self._lines([header, *sorted(rows, key=self._order)]))

    def append(self, rows: Iterable[Row]) -> None:
        """Append whole lines in one write, so that a stopped run leaves at most one cut off."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._lines(rows))
            file.flush()
            os.fsync(file.fileno())

    def extend(
        self,
        function: Callable[..., Iterable[Row]],
        tasks: Sequence[tuple[object, ...]],
        *,
        n_jobs: int | None = None,
        verbose: int = 1,
    ) -> None:
        """Append the rows of ``function(*task)`` for all tasks, as they arrive, and sort all.

        Parameters
        ----------
        function : callable
        tasks : sequence of tuple
        n_jobs : int, default=None
            Processes, through joblib.
        verbose : int, default=1
            Show a progress bar.
        """
        self.replace(self.read().values())
        jobs = (delayed(function)(*task) for task in tasks)
        results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
        with tqdm(results, total=len(tasks), unit="fit", disable=not verbose) as progress:
            for rows in progress:
                self.append(rows)
        self.replace(self.read().values())

    def _lines(self, rows: Iterable[Row]) -> str:
        lines = io.StringIO()
        csv.DictWriter(lines, self.columns, lineterminator="\n").writerows(rows)
        return lines.getvalue()

    def _order(self, row: Row) -> list[tuple[int, float, str]]:
        """Numbers as numbers: 2 shots before 16."""
        entries = (str(row[name]) for name in self.key)
        return [(0, float(e), "") if _is_number(e) else (1, 0.0, e) for e in entries]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
