"""Results as numbers: what was compared, means over draws, and intervals around them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from skclip.benchmark.evaluation import KEY
from skclip.benchmark.method_registry import METHODS
from skclip.benchmark.runner import read_results

__all__ = ["Interval", "Setting", "Study", "interval", "label_of"]

CONFIDENCE = 0.95
_PLUS = " + "


@dataclass(frozen=True, order=True)
class Setting:
    """A data set as one backbone sees it, and the split that shots are drawn from."""

    dataset: str
    backbone: str
    support: str

    @property
    def trained_on(self):
        """The data set that was fitted, where it is another one: a shift. Else None."""
        source, colon, _ = self.support.partition(":")
        return source if colon else None


class Interval(NamedTuple):
    """A mean and half the width of its 95 % interval, NaN for a single value."""

    mean: float
    half_width: float

    @property
    def low(self):
        return self.mean - self.half_width

    @property
    def high(self):
        return self.mean + self.half_width


def interval(values):
    """Mean over draws with Student's interval, which takes draws to be independent."""
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
    methods : list of str
        In the order of METHODS.
    shots : list of int
    settings, shifts : list of Setting
        What was fitted and tested, and what was only tested.
    backbones : list of str
    """

    def __init__(self, folder):
        rows = read_results(folder)
        self.folder = folder
        self.failed = [row for row in rows if row["status"] != "ok"]
        self.rows = [row for row in rows if row["status"] == "ok"]
        if not self.rows:
            raise ValueError(
                f"Results must hold at least one fit that went well; got {len(self.failed)} that "
                f"failed in {folder}. The reasons are in its folder errors."
            )
        self._seeds = {}
        for row in self.rows:
            cell = (_method_of(row), _setting_of(row), int(row["shots"]))
            self._seeds.setdefault(cell, {})[int(row["seed"])] = row
        found = {method for method, _, _ in self._seeds}
        order = list(METHODS)
        self.methods = sorted(found, key=lambda m: (_position(order, m), m))
        self.shots = sorted({shots for _, _, shots in self._seeds})
        everything = sorted({setting for _, setting, _ in self._seeds})
        self.settings = [s for s in everything if s.trained_on is None]
        self.shifts = [s for s in everything if s.trained_on is not None]
        self.backbones = sorted({s.backbone for s in everything})

    @property
    def datasets(self):
        """Names of what was fitted."""
        return sorted({s.dataset for s in self.settings})

    def by_seed(self, metric, method, setting, shots):
        """Values of one cell, NaN where the metric has none.

        Parameters
        ----------
        metric : str
            One of METRICS.
        method : str
        setting : Setting
        shots : int

        Returns
        -------
        dict
            Seed -> value.
        """
        rows = self._seeds.get((method, setting, shots), {})
        return {seed: _number(row[metric]) for seed, row in sorted(rows.items())}

    def values(self, metric, method, setting, shots):
        """Values of one cell, one per draw.

        Parameters
        ----------
        metric : str
            One of METRICS.
        method : str
        setting : Setting
        shots : int

        Returns
        -------
        ndarray
        """
        return np.array(list(self.by_seed(metric, method, setting, shots).values()), dtype=float)

    def averages(self, metric, method, settings, shots, missing=None):
        """Means over several settings, one per seed that all of them have.

        Parameters
        ----------
        metric : str
            One of METRICS.
        method : str
        settings : list of Setting
        shots : int
        missing : float, default=None
            Replaces the values that a metric does not have.

        Returns
        -------
        ndarray
        """
        parts = [self.by_seed(metric, method, setting, shots) for setting in settings]
        seeds = sorted(set.intersection(*map(set, parts))) if parts else []
        table = np.array([[part[seed] for part in parts] for seed in seeds], dtype=float)
        if missing is not None:
            table = np.where(np.isnan(table), missing, table)
        return table.reshape(len(seeds), len(parts)).mean(axis=1) if seeds else np.array([])

    def keys(self, method, settings, shots):
        """Keys of the rows of some cells, for their predictions.

        Parameters
        ----------
        method : str
        settings : list of Setting
        shots : int

        Returns
        -------
        list of tuple
        """
        return [
            tuple(row[name] for name in KEY)
            for setting in settings
            for _, row in sorted(self._seeds.get((method, setting, shots), {}).items())
        ]

    def of_backbone(self, backbone):
        """Settings with this backbone.

        Parameters
        ----------
        backbone : str

        Returns
        -------
        list of Setting
        """
        return [setting for setting in self.settings if setting.backbone == backbone]


def label_of(method):
    """What tables print for a method."""
    name, plus, calibrator = method.partition(_PLUS)
    known = METHODS.get(name)
    return (known.label if known else name) + plus + calibrator


def _method_of(row):
    return row["method"] + ("" if row["calibrator"] == "none" else _PLUS + row["calibrator"])


def _setting_of(row):
    return Setting(row["dataset"], row["backbone"], row["support"])


def _position(order, method):
    name = method.partition(_PLUS)[0]
    return order.index(name) if name in order else len(order)


def _number(text):
    return float(text) if text else np.nan
