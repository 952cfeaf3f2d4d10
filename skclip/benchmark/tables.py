"""The tables of a study, in the layout of the literature: methods down, shots across."""

import numpy as np

from skclip.benchmark.evaluation import THRESHOLDS
from skclip.benchmark.ranks import ALPHA, rank_methods
from skclip.benchmark.study import interval, label_of
from skclip.benchmark.table_formats import CROSS, Table
from skclip.utils.files import slug

__all__ = ["study_tables"]

# metric -> (title, factor, decimals, sign: -1 where larger is better)
SHOWN = {
    "accuracy": ("Accuracy, %", 100, 1, -1),
    "ece": ("ECE, %", 100, 1, 1),
    "aece": ("AECE, %", 100, 1, 1),
    "nll": ("Log-loss, nats", 1, 3, 1),
    "aurc": ("AURC × 1000", 1000, 1, 1),
}
_MEANING = {"ece": "Ten bins of equal width. ", "aece": "Ten bins of equal count. "}
AVERAGE = "average"


def study_tables(study):
    """All tables that the results have something for."""
    tables = []
    for metric in SHOWN:
        for backbone in study.backbones:
            settings = study.of_backbone(backbone)
            if len(settings) > 1:
                tables.append(over_shots(study, metric, backbone, [(AVERAGE, settings)]))
            groups = [(_name(setting, settings), [setting]) for setting in settings]
            end = "_by_dataset" if len(settings) > 1 else ""
            tables.append(over_shots(study, metric, backbone, groups, end))
    for kind in ("sample", "class"):
        tables += [selective(study, kind, backbone) for backbone in study.backbones]
    tables += [shifts(study, backbone) for backbone in study.backbones]
    tables += [mean_ranks(study), cost(study), failures(study)]
    return [table for table in tables if table is not None]


def over_shots(study, metric, backbone, groups, end=""):
    """One row per group of settings, (name, settings), and method; a column per shots."""
    title, factor, decimals, sign = SHOWN[metric]
    rows, best = [], set()
    for name, members in groups:
        means = []
        for method in study.methods:
            intervals = [
                interval(study.averages(metric, method, members, shots)) for shots in study.shots
            ]
            entries = [_with_interval(i, factor, decimals) for i in intervals]
            means.append([i.mean for i in intervals])
            rows.append([name, label_of(method), *entries])
        best |= _best(sign * np.array(means), len(rows) - len(means), 2)
    return Table(
        f"{metric}{end}{_suffix(study, backbone)}",
        f"{title}, over shots per class{_of(study, backbone)}",
        ("Data set", "Method", *map(str, study.shots)),
        rows,
        f"{_MEANING.get(metric, '')}Mean over draws ± half of its 95 % interval over them; the "
        f"{'largest' if sign < 0 else 'smallest'} mean is bold.",
        frozenset(best),
    )


def selective(study, kind, backbone):
    """Coverage of what is confident enough, where that keeps its promise.

    A draw is reliable where the accuracy of the selected is at least the threshold. A cross:
    fewer than half of the draws are.
    """
    settings = study.of_backbone(backbone)
    rows, best = [], set()
    for shots in study.shots:
        for setting in settings:
            means = []
            for method in study.methods:
                columns = [
                    study.values(f"{kind}_coverage_{round(100 * t)}", method, setting, shots)
                    for t in THRESHOLDS
                ]
                if not len(columns[0]):
                    continue
                entries, numbers = zip(*map(_coverage, columns), strict=True)
                means.append(numbers)
                rows.append([str(shots), _name(setting, settings), label_of(method), *entries])
            if means:
                best |= _best(-np.array(means), len(rows) - len(means), 3)
    header = ("Shots", "Data set", "Method", *(f"{t:.2f}" for t in THRESHOLDS))
    what = "Share of the samples" if kind == "sample" else "Share of the classes"
    return Table(
        f"{kind}_coverage{_suffix(study, backbone)}",
        f"{what} covered at a confidence, %{_of(study, backbone)}",
        header,
        rows,
        f"Mean over the draws in which those selected are as accurate as the threshold says; "
        f"{CROSS} where they are in fewer than half of the draws.",
        frozenset(best),
    )


def _coverage(values):
    """Text and number of one entry; a cross is worth nothing."""
    reliable = ~np.isnan(values)
    if reliable.mean() < 0.5:
        return CROSS, np.nan
    mean = float(values[reliable].mean())
    return f"{100 * mean:.1f}", mean


def shifts(study, backbone):
    """What was fitted on one data set, tested on its shifted versions, at the most shots."""
    members = [setting for setting in study.shifts if setting.backbone == backbone]
    if not members:
        return None
    names = sorted({s.dataset for s in members}, key=[s.dataset for s in members].index)
    sources = sorted({s.trained_on for s in members})
    rows = []
    for source in sources:
        target = [s for s in members if s.trained_on == source]
        origin = [s for s in study.of_backbone(backbone) if s.dataset == source]
        for metric in ("accuracy", "ece"):
            for method in study.methods:
                shots = study.shots[-1]
                columns = [origin[:1], *([s for s in target if s.dataset == n] for n in names)]
                entries = [
                    _with_interval(interval(study.averages(metric, method, c, shots)), 100, 1)
                    for c in (*columns, target)
                ]
                rows.append([SHOWN[metric][0], source, label_of(method), *entries])
    return Table(
        f"shifts{_suffix(study, backbone)}",
        f"Domain generalisation at {study.shots[-1]} shots{_of(study, backbone)}",
        ("Metric", "Fitted on", "Method", "itself", *names, "average of shifts"),
        rows,
        "Where a shift has fewer classes, probabilities are those of its classes, renormalised.",
    )


def mean_ranks(study):
    """Mean ranks over data sets, with Friedman's test and the critical difference."""
    rows = []
    tests = {metric: rank_methods(study, metric, SHOWN[metric][3]) for metric in SHOWN}
    tests = {metric: test for metric, test in tests.items() if test is not None}
    if not tests:
        return None
    for method in study.methods:
        entries = [
            f"{test.mean_ranks[test.methods.index(method)]:.2f}" if method in test.methods else ""
            for test in tests.values()
        ]
        if any(entries):
            rows.append([label_of(method), *entries])
    best = _best(np.array([[float(e or "nan") for e in row[1:]] for row in rows]), 0, 1)
    rows.append(["Friedman's p", *(_p_value(test.p_value) for test in tests.values())])
    rows.append(
        [
            f"Critical difference, {100 * ALPHA:.0f} %",
            *(_plain(test.critical_difference, 1, 2) for test in tests.values()),
        ]
    )
    n = max(test.n_datasets for test in tests.values())
    note = (
        f"Over {n} data sets; each counts once, by its mean rank over shots, supports and "
        "backbones. Two methods differ significantly where their ranks are further apart than "
        "the critical difference (Nemenyi)."
    )
    if n <= 10:
        note += " The p-value is that of the chi-squared limit, which is rough below ten data sets."
    header = ("Method", *(SHOWN[metric][0].split(",")[0] for metric in tests))
    return Table("mean_ranks", "Mean ranks, 1 for the best", header, rows, note, best)


def cost(study):
    """Seconds of one fit, over shots."""
    rows = []
    for method in study.methods:
        entries = []
        for shots in study.shots:
            seconds = np.concatenate(
                [study.values("fit_seconds", method, s, shots) for s in study.settings]
            )
            entries.append(f"{np.median(seconds):.2f}" if len(seconds) else "")
        rows.append([label_of(method), *entries])
    return Table(
        "fit_seconds",
        "Seconds of a fit, over shots per class",
        ("Method", *map(str, study.shots)),
        rows,
        "Median over data sets and draws, by one thread.",
    )


def failures(study):
    if not study.failed:
        return None
    columns = ("dataset", "backbone", "shots", "seed", "method", "error")
    rows = [[row[name] for name in columns] for row in study.failed]
    return Table("failures", "Fits that failed", tuple(name.capitalize() for name in columns), rows)


def _with_interval(value, factor, decimals):
    text = _plain(value.mean, factor, decimals)
    if np.isnan(value.half_width):
        return text
    return f"{text} ± {factor * value.half_width:.{decimals}f}"


def _plain(value, factor, decimals):
    return "" if np.isnan(value) else f"{factor * value:.{decimals}f}"


def _p_value(p):
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _best(scores, first_row, first_column):
    """Positions of the smallest score of every column, ties included."""
    found = set()
    for j, column in enumerate(scores.T):
        if not np.isnan(column).all():
            winners = np.flatnonzero(column <= np.nanmin(column) + 1e-12)
            found |= {(first_row + int(i), first_column + j) for i in winners}
    return found


def _name(setting, settings):
    """The data set, with its support where it has several."""
    same = [s for s in settings if s.dataset == setting.dataset]
    return setting.dataset if len(same) == 1 else f"{setting.dataset} ({setting.support})"


def _suffix(study, backbone):
    return f"_{slug(backbone)}" if len(study.backbones) > 1 else ""


def _of(study, backbone):
    return "" if backbone == "precomputed" and len(study.backbones) == 1 else f" ({backbone})"
