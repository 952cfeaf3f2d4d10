"""The tables of a study, in the layout of the literature: methods down, shots across."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from skclip.benchmark.evaluation import THRESHOLDS
from skclip.benchmark.ranks import ALPHA, rank_methods
from skclip.benchmark.study import label_of
from skclip.utils.files import slug

__all__ = ["CROSS", "Table", "study_tables"]

# Not reliable. Unlike a missing entry, which is empty.
CROSS = "✗"
# metric -> (title, factor, decimals, sign: -1 where larger is better)
SHOWN = {
    "accuracy": ("Accuracy, %", 100, 1, -1),
    "ece": ("ECE, %", 100, 1, 1),
    "aece": ("AECE, %", 100, 1, 1),
    "nll": ("Log-loss, nats", 1, 3, 1),
    "aurc": ("AURC × 1000", 1000, 1, 1),
}
_MEANING = {"ece": "Ten bins of equal width. ", "aece": "Ten bins of equal count. "}


@dataclass(frozen=True, eq=False)
class Table:
    """Entries of text, the first `n_names` columns of which are names, the others numbers.

    `best` is True, in the shape of the numbers, where an entry is printed bold.
    """

    name: str
    title: str
    frame: pd.DataFrame
    n_names: int
    note: str = ""
    best: np.ndarray | None = field(default=None, repr=False)

    @property
    def bold(self):
        """Of the shape of `frame`: what is best and not empty."""
        if self.best is None:
            return np.zeros(self.frame.shape, dtype=bool)
        return np.pad(self.best, ((0, 0), (self.n_names, 0))) & (self.frame != "").to_numpy()


def study_tables(study):
    """All tables that the results have something for."""
    tables = []
    for metric in SHOWN:
        for backbone in study.backbones:
            settings = study.of_backbone(backbone)
            several = len(settings) > 1
            if several:
                tables.append(over_shots(study, metric, backbone, [("average", settings)]))
            groups = [(_name(setting, settings), [setting]) for setting in settings]
            end = "_by_dataset" if several else ""
            tables.append(over_shots(study, metric, backbone, groups, end))
    for kind in ("sample", "class"):
        tables += [selective(study, kind, backbone) for backbone in study.backbones]
    tables += [shifts(study, backbone) for backbone in study.backbones]
    tables += [mean_ranks(study), cost(study), failures(study)]
    return [table for table in tables if table is not None]


def over_shots(study, metric, backbone, groups, end=""):
    """One row per group of settings, (name, settings), and method; a column per shots."""
    title, factor, decimals, sign = SHOWN[metric]
    names, rows = [], []
    for name, members in groups:
        for method, by_shots in study.intervals(metric, members).items():
            names.append((name, label_of(method)))
            rows.append(list(by_shots.values()))
    scores = pd.DataFrame([[sign * value.mean for value in row] for row in rows])
    return Table(
        f"{metric}{end}{_suffix(study, backbone)}",
        f"{title}, over shots per class{_of(study, backbone)}",
        _frame(
            ("Data set", "Method"),
            names,
            map(str, study.shots),
            [[value.text(decimals, factor) for value in row] for row in rows],
        ),
        2,
        f"{_MEANING.get(metric, '')}Mean over draws ± half of its 95 % interval over them; the "
        f"{'largest' if sign < 0 else 'smallest'} mean is bold.",
        _smallest(scores, [name for name, _ in names]),
    )


def selective(study, kind, backbone):
    """Coverage of what is confident enough, where that keeps its promise.

    A draw is reliable where the accuracy of the selected is at least the threshold. A cross:
    fewer than half of the draws are.
    """
    settings = study.of_backbone(backbone)
    columns = [f"{kind}_coverage_{round(100 * t)}" for t in THRESHOLDS]
    rows = study.rows_of(settings).sort_values("shots", kind="stable")
    cells = rows.groupby(["shots", "setting", "method"], sort=False)[columns]
    means = cells.mean().where(cells.count().ge(cells.size() / 2, axis=0))
    names = [(str(k), _name(s, settings), label_of(method)) for k, s, method in means.index]
    return Table(
        f"{kind}_coverage{_suffix(study, backbone)}",
        f"{'Share of the samples' if kind == 'sample' else 'Share of the classes'} covered at a "
        f"confidence, %{_of(study, backbone)}",
        _frame(
            ("Shots", "Data set", "Method"),
            names,
            (f"{t:.2f}" for t in THRESHOLDS),
            means.map(lambda mean: CROSS if np.isnan(mean) else f"{100 * mean:.1f}").to_numpy(),
        ),
        3,
        f"Mean over the draws in which those selected are as accurate as the threshold says; "
        f"{CROSS} where they are in fewer than half of the draws.",
        _smallest(-means, [name[:2] for name in names]),
    )


def shifts(study, backbone):
    """What was fitted on one data set, tested on its shifted versions, at the most shots."""
    members = [setting for setting in study.shifts if setting.backbone == backbone]
    if not members:
        return None
    shifted = sorted({s.dataset for s in members})
    shots = study.shots[-1]
    names, entries = [], []
    for source in sorted({s.trained_on for s in members}):
        target = [s for s in members if s.trained_on == source]
        origin = [s for s in study.of_backbone(backbone) if s.dataset == source]
        columns = [origin[:1], *([s for s in target if s.dataset == n] for n in shifted), target]
        for metric in ("accuracy", "ece"):
            found = [study.intervals(metric, column) for column in columns]
            for method in study.methods:
                names.append((SHOWN[metric][0], source, label_of(method)))
                entries.append([by_method[method][shots].text(1, 100) for by_method in found])
    header = ("itself", *shifted, "average of shifts")
    return Table(
        f"shifts{_suffix(study, backbone)}",
        f"Domain generalisation at {shots} shots{_of(study, backbone)}",
        _frame(("Metric", "Fitted on", "Method"), names, header, entries),
        3,
        "Where a shift has fewer classes, probabilities are those of its classes, renormalised.",
    )


def mean_ranks(study):
    """Mean ranks over data sets, with Friedman's test and the critical difference."""
    tests = {metric: rank_methods(study, metric, SHOWN[metric][3]) for metric in SHOWN}
    tests = {SHOWN[m][0].split(",")[0]: test for m, test in tests.items() if test is not None}
    if not tests:
        return None
    ranks = pd.DataFrame({m: pd.Series(t.mean_ranks, t.methods) for m, t in tests.items()})
    ranks = ranks.reindex([method for method in study.methods if method in ranks.index])
    entries = [
        *ranks.map(_decimals).to_numpy(),
        [_p_value(test.p_value) for test in tests.values()],
        [_decimals(test.critical_difference) for test in tests.values()],
    ]
    names = [
        *map(label_of, ranks.index),
        "Friedman's p",
        f"Critical difference, {100 * ALPHA:.0f} %",
    ]
    n = max(test.n_datasets for test in tests.values())
    note = (
        f"Over {n} data sets; each counts once, by its mean rank over shots, supports and "
        "backbones. Two methods differ significantly where their ranks are further apart than "
        "the critical difference (Nemenyi)."
    )
    if n <= 10:
        note += " The p-value is that of the chi-squared limit, which is rough below ten data sets."
    return Table(
        "mean_ranks",
        "Mean ranks, 1 for the best",
        _frame(("Method",), [(name,) for name in names], tests, entries),
        1,
        note,
        np.pad(_smallest(ranks, np.zeros(len(ranks))), ((0, 2), (0, 0))),
    )


def cost(study):
    """Seconds of one fit, over shots."""
    cells = study.rows_of(study.settings).groupby(["method", "shots"])
    seconds = cells["fit_seconds"].median().unstack().reindex(study.methods)
    return Table(
        "fit_seconds",
        "Seconds of a fit, over shots per class",
        _frame(
            ("Method",),
            [(label_of(method),) for method in seconds.index],
            map(str, seconds.columns),
            seconds.map(_decimals).to_numpy(),
        ),
        1,
        "Median over data sets and draws, by one thread.",
    )


def failures(study):
    if not study.failed:
        return None
    columns = ["dataset", "backbone", "shots", "seed", "method", "error"]
    frame = pd.DataFrame(study.failed)[columns].rename(columns=str.capitalize)
    return Table("failures", "Fits that failed", frame, len(columns))


def _frame(kinds, names, columns, entries):
    """Text under a header: tuples of names, what kinds they are, and a row of entries for each."""
    rows = [[*name, *row] for name, row in zip(names, entries, strict=True)]
    return pd.DataFrame(rows, columns=[*kinds, *columns])


def _smallest(scores, groups):
    """Where a score is the smallest of its column in its group of rows, ties included."""
    scores = scores.reset_index(drop=True)
    keys = pd.factorize(pd.Series(groups, dtype=object))[0]
    return (scores <= scores.groupby(keys).transform("min") + 1e-12).to_numpy()


def _decimals(value):
    return "" if np.isnan(value) else f"{value:.2f}"


def _p_value(p):
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _name(setting, settings):
    """The data set, with its support where it has several."""
    same = [s for s in settings if s.dataset == setting.dataset]
    return setting.dataset if len(same) == 1 else f"{setting.dataset} ({setting.support})"


def _suffix(study, backbone):
    return f"_{slug(backbone)}" if len(study.backbones) > 1 else ""


def _of(study, backbone):
    return "" if backbone == "precomputed" and len(study.backbones) == 1 else f" ({backbone})"
