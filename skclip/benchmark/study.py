"""Results as numbers: what was compared, means over draws, and intervals around them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student

from skclip.benchmark.evaluation import KEY, MEASURED, METRICS, TESTED
from skclip.benchmark.manifest import read_manifest
from skclip.benchmark.method_registry import METHODS
from skclip.benchmark.runner import RESULTS, read_results
from skclip.exceptions import DatasetError
from skclip.utils.messages import listing

__all__ = ["Interval", "Setting", "Study", "interval"]

CONFIDENCE = 0.95
_PLUS = " + "
_LONGEST = 60
# No metric, no seconds and no seed are larger: 2**32.
_LARGEST = 5e9
_DRAW = ("shots", "seed")
_INTEGERS = (*_DRAW, "n_test", "n_classes")


@dataclass(frozen=True, order=True)
class Setting:
    """A data set as one backbone sees it, and the split that shots are drawn from."""

    dataset: str
    backbone: str
    support: str

    @property
    def trained_on(self) -> str | None:
        """The data set that was fitted, where it is another one: a shift. Else None."""
        source, colon, _ = self.support.rpartition(":")
        return source if colon else None


class Interval(NamedTuple):
    """A mean and half the width of its 95 % interval, NaN for a single value."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.half_width

    def text(self, decimals: int, factor: float = 1, sign: str = "") -> str:
        """``"80.0 ± 1.2"``; nothing for no value.

        Parameters
        ----------
        decimals : int
        factor : float, default=1
            100 for per cent.
        sign : {"", "+"}, default=""
            "+" shows that of positive means.

        Returns
        -------
        str
        """
        if np.isnan(self.mean):
            return ""
        text = f"{factor * self.mean:{sign}.{decimals}f}"
        if np.isnan(self.half_width):
            return text
        return f"{text} ± {factor * self.half_width:.{decimals}f}"


def interval(values: ArrayLike) -> Interval:
    """Mean over draws with Student's interval, which takes draws to be independent.

    Parameters
    ----------
    values : array-like of shape (n_draws,)

    Returns
    -------
    Interval
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        return Interval(np.nan, np.nan)
    if n == 1:
        return Interval(float(values[0]), np.nan)
    error = values.std(ddof=1) / np.sqrt(n)
    return Interval(float(values.mean()), float(student.ppf((1 + CONFIDENCE) / 2, n - 1) * error))


class Study:
    """The fits of a folder of results that went well, and the rows of those that failed.

    A method is its name, with that of its calibrator after " + " where there is one.

    Parameters
    ----------
    folder : path-like
        That :func:`run` wrote.

    Attributes
    ----------
    frame : DataFrame
        One row per fit that went well, in order of settings, shots, methods and seeds. Columns
        are "method", "setting" (a :class:`Setting`) and its parts, "shots", "seed", those of
        METRICS, MEASURED and TESTED, "weights", which identifies the features that were tested, and
        "key", which identifies the row of the results.
    failed : list of dict
    methods : list of str
        In the order of METHODS.
    shots : list of int
    settings, shifts : list of Setting
        What was fitted and tested, and what was only tested.
    backbones, datasets : list of str
        Of what was fitted.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        rows = read_results(folder)
        self.folder = Path(folder).expanduser()
        _check_statuses(rows, self.folder)
        self._own_methods = read_manifest(self.folder)["methods"]
        self.failed = [row for row in rows if row["status"] != "ok"]
        fine = [row for row in rows if row["status"] == "ok"]
        if not fine:
            raise ValueError(
                f"Results must hold at least one fit that went well; got {len(self.failed)} that "
                f"failed in {folder}. The reasons are in its folder errors."
            )
        parts = ["dataset", "backbone", "support"]
        frame = pd.DataFrame(fine)
        frame["key"] = [tuple(row[name] for name in KEY) for row in fine]
        frame["setting"] = [Setting(*(row[name] for name in parts)) for row in fine]
        frame["method"] = [_method_of(row) for row in fine]
        frame["weights"] = [row.get("weights", "") for row in fine]
        twice = frame[frame.duplicated(["setting", "method", "shots", "seed"])]
        if len(twice):
            raise DatasetError(
                f"{self.folder / RESULTS} must have one row for each draw; got two of "
                f"{listing(twice['method'])}. Remove one."
            )
        numbers = [*_DRAW, *METRICS, *MEASURED, *TESTED]
        frame[numbers] = _numbers(frame[numbers], self.folder, fine)
        self.methods = sorted(set(frame["method"]), key=_position)
        order = ["setting", "shots", "method", "seed"]
        places = {method: place for place, method in enumerate(self.methods)}
        self.frame = frame.sort_values(
            order, key=lambda column: column.map(places) if column.name == "method" else column
        )[[*order, *parts, *METRICS, *MEASURED, *TESTED, "weights", "key"]]
        self.shots = sorted(set(frame["shots"]))
        everything = sorted(set(frame["setting"]))
        self.settings = [s for s in everything if s.trained_on is None]
        self.shifts = [s for s in everything if s.trained_on is not None]
        self.backbones = sorted({s.backbone for s in self.settings})
        self.datasets = sorted({s.dataset for s in self.settings})

    def rows_of(self, settings: Sequence[Setting]) -> pd.DataFrame:
        """Rows of `frame` with these settings.

        Parameters
        ----------
        settings : sequence of Setting

        Returns
        -------
        DataFrame
        """
        return self.frame[self.frame["setting"].isin(settings)]

    def draws(self, metric: str, settings: Sequence[Setting]) -> pd.Series:
        """Means over settings, one per draw in which all of them have the metric.

        Parameters
        ----------
        metric : str
            One of METRICS.
        settings : sequence of Setting

        Returns
        -------
        Series
            By method, shots and seed.
        """
        wide = self.frame.pivot(index=["method", "shots", "seed"], columns="setting", values=metric)
        return wide.reindex(columns=list(settings)).dropna().mean(axis=1).dropna()

    def intervals(self, metric: str, settings: Sequence[Setting]) -> pd.DataFrame:
        """Intervals of the means over settings, those of :meth:`draws`.

        Parameters
        ----------
        metric : str
            One of METRICS.
        settings : sequence of Setting

        Returns
        -------
        DataFrame
            Of :class:`Interval`, NaN where there is no draw: methods down, shots across.
        """
        groups = self.draws(metric, settings).groupby(level=["method", "shots"])
        found = {key: interval(values) for key, values in groups}
        nothing = interval([])
        table = [[found.get((m, k), nothing) for k in self.shots] for m in self.methods]
        return pd.DataFrame(table, index=self.methods, columns=self.shots)

    def of_backbone(self, backbone: str) -> list[Setting]:
        """Settings with this backbone.

        Parameters
        ----------
        backbone : str

        Returns
        -------
        list of Setting
        """
        return [setting for setting in self.settings if setting.backbone == backbone]

    def label_of(self, method: str) -> str:
        """What tables and figures print for a method: not more than can be read there.

        Parameters
        ----------
        method : str

        Returns
        -------
        str
            The label of the study's own method, else that of METHODS, else the name.
        """
        name, plus, calibrator = method.partition(_PLUS)
        own = self._own_methods.get(name)
        known = own.get("label") if own else name in METHODS and METHODS[name].label
        label = known or name
        return (label if len(label) <= _LONGEST else f"{label[:_LONGEST]}…") + plus + calibrator


def _check_statuses(rows: Sequence[dict[str, str]], folder: Path) -> None:
    for row in rows:
        if row["status"] not in ("ok", "failed"):
            raise DatasetError(
                f"{folder / RESULTS} must hold 'ok' or 'failed' as status; got "
                f"{listing([row['status']])} in the row {_row_named(row)}. Remove such rows: the "
                "benchmark computes them again."
            )


def _numbers(cells: pd.DataFrame, folder: Path, rows: Sequence[dict[str, str]]) -> pd.DataFrame:
    """The cells as numbers, NaN where there is none; `rows` are what they come from."""
    found = cells.apply(pd.to_numeric, errors="coerce")
    ranges = pd.DataFrame({name: _range(name) for name in cells})
    wrong = found.isna() | (found < ranges.loc[0]) | (found > ranges.loc[1])
    whole = [name for name in cells if name in _INTEGERS]
    wrong[whole] |= found[whole] % 1 != 0
    wrong &= (cells != "") | cells.columns.isin(_DRAW)
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        name = cells.columns[column]
        kind = "an integer" if name in _INTEGERS else "a number"
        low, high = _range(name)
        raise DatasetError(
            f"{folder / RESULTS} must hold numbers in their range: {name} is {kind} from {low:g} "
            f"to {high:g}; got {listing([cells.iat[row, column]])} in the row "
            f"{_row_named(rows[row])}. Remove such rows: the benchmark computes them again."
        )
    return found.astype(dict.fromkeys(_DRAW, int))


def _range(name: str) -> tuple[float, float]:
    """Smallest and largest number that a column can hold."""
    if name == "brier":
        return 0, 2
    low = 1 if name in ("shots", "n_test", "n_classes") else 0
    return low, 1 if name in {*METRICS, "largest_class"} - {"nll"} else _LARGEST


def _row_named(row: dict[str, str]) -> str:
    return ", ".join(f"{name}={row[name]}" for name in KEY)


def _method_of(row: dict[str, str]) -> str:
    return row["method"] + ("" if row["calibrator"] == "none" else _PLUS + row["calibrator"])


def _position(method: str) -> tuple[int, str]:
    """Known methods in their order, then others by name."""
    name, order = method.partition(_PLUS)[0], list(METHODS)
    return (order.index(name) if name in order else len(order)), method
