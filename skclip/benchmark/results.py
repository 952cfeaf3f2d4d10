"""A table of results that grows row by row, so that a stopped run can go on."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from skclip.exceptions import DatasetError
from skclip.utils.csv_cells import safe_cell, text_of_cell
from skclip.utils.files import write_text
from skclip.utils.messages import listing

__all__ = ["ResultFile"]

Row = dict[str, str]


class ResultFile:
    """A CSV of rows, dictionaries of text without line breaks, identified by key columns.

    Parameters
    ----------
    path : path-like
    key, values : sequence of str
        Columns that identify a row, and the others.
    needed : sequence of str, default=()
        Those of `values` that every version has written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: Sequence[str],
        values: Sequence[str],
        needed: Sequence[str] = (),
    ) -> None:
        self.path, self.key, self.columns = Path(path), tuple(key), (*key, *values)
        self.needed = (*key, *needed)

    def read(self) -> dict[tuple[str, ...], Row]:
        """Rows by key. A last line without its end, cut off by a kill, is dropped.

        Columns that the file lacks, because an older version wrote it, are empty; those that it
        has more are dropped.

        Raises
        ------
        DatasetError
            If the file is not such a table, lacks a column, or has two rows of one key.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        if not content:
            return {}
        try:
            whole = content[: content.rfind(b"\n") + 1].decode("utf-8-sig")
            header, *lines = csv.reader(io.StringIO(whole, newline="")) if whole else [[]]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(
                f"{self.path} must be a table of results in UTF-8; it cannot be read: {error}. "
                "Move it away."
            ) from error
        lacking = [name for name in self.needed if name not in header]
        uneven = [number for number, line in enumerate(lines, 2) if len(line) != len(header)]
        if lacking or uneven:
            found = f"no {listing(lacking)}" if lacking else f"others in line {listing(uneven)}"
            raise DatasetError(
                f"Every line of {self.path} must have the columns {', '.join(self.needed)}, ... of "
                f"results; got {found}. Move it away."
            )
        rows = {}
        for line in lines:
            cells = dict(zip(header, map(text_of_cell, line), strict=True))
            row = {name: cells.get(name, "") for name in self.columns}
            place = tuple(row[name] for name in self.key)
            if place in rows:
                raise DatasetError(
                    f"{self.path} must have one row for each {', '.join(self.key)}; got two of "
                    f"{', '.join(place)}. Remove one."
                )
            rows[place] = row
        return rows

    def replace(self, rows: Iterable[Row]) -> None:
        """Write all rows, sorted by key, in one step."""
        header = dict(zip(self.columns, self.columns, strict=True))
        write_text(self.path, self._lines([header, *sorted(rows, key=self._order)]))

    def append(self, rows: Iterable[Row]) -> None:
        """Append whole lines in one write, so that a stopped run leaves at most one cut off."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
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

        Rows whose key the file has are not written a second time.

        Parameters
        ----------
        function : callable
        tasks : sequence of tuple
        n_jobs : int, default=None
            Processes, through joblib.
        verbose : int, default=1
            Show a progress bar.
        """
        done = self.read()
        self.replace(done.values())
        known = set(done)
        jobs = (delayed(function)(*task) for task in tasks)
        results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
        with tqdm(results, total=len(tasks), unit="fit", disable=not verbose) as progress:
            for rows in progress:
                new = {tuple(str(row[name]) for name in self.key): row for row in rows}
                self.append(row for key, row in new.items() if key not in known)
                known.update(new)
        self.replace(self.read().values())

    def _lines(self, rows: Iterable[Row]) -> str:
        lines = io.StringIO()
        cells = ({name: safe_cell(str(value)) for name, value in row.items()} for row in rows)
        csv.DictWriter(lines, self.columns, lineterminator="\n").writerows(cells)
        return lines.getvalue()

    def _order(self, row: Row) -> list[tuple[int, float, str]]:
        """Numbers as numbers: 2 shots before 16."""
        entries = (str(row[name]) for name in self.key)
        return [(0, float(e), "") if _is_number(e) else (1, 0.0, e) for e in entries]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))  # a data set may be called "nan"
    except ValueError:
        return False
