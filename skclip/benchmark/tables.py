"""The tables of a study, in the layout of the literature: methods down, shots across."""

import numpy as np
import pandas as pd

from skclip.benchmark.evaluation import THRESHOLDS
from skclip.benchmark.ranks import ALPHA, rank_methods
from skclip.pages import Table
from skclip.utils.files import slug

__all__ = ["CROSS", "study_tables"]

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


def study_tables(study):
    """All tables that the results have something for."""
    tables = []
    for metric in SHOWN:
        for backbone in study.backbones:
            settings = study.of_backbone(backbone)
            several = len(settings) > 1
            if several:
                tables.append(over_shots(study, metric, backbone, {"average": settings}))
            groups = {_name(setting, settings): [setting] for setting in settings}
            tables.append(over_shots(study, metric, backbone, groups, "_by_dataset" * several))
    for kind in ("sample", "class"):
        tables += [selective(study, kind, backbone) for backbone in study.backbones]
    tables += [shifts(study, backbone) for backbone in study.backbones]
    tables += [mean_ranks(study), cost(study), failures(study)]
    return [table for table in tables if table is not None]


def over_shots(study, metric, backbone, groups, end=""):
    """One row per group of settings, name -> settings, and method; a column per shots."""
    title, factor, decimals, sign = SHOWN[metric]
    found = pd.concat(
        {name: study.intervals(metric, members) for name, members in groups.items()},
        names=["Data set", "Method"],
    )
    scores = sign * found.map(lambda value: value.mean)
    return Table(
        f"{metric}{end}{_suffix(study, backbone)}",
        f"{title}, over shots per class{_of(study, backbone)}",
        found.map(lambda value: value.text(decimals, factor)).rename(
            study.label_of, level="Method"
        ),
        f"{_MEANING.get(metric, '')}Mean over draws ± half of its 95 % interval over them; the "
        f"{'largest' if sign < 0 else 'smallest'} mean is bold.",
        _smallest(scores, "Data set"),
    )


def selective(study, kind, backbone):
    """Coverage of what is confident enough, where that keeps its promise.

    A draw is reliable where the accuracy of the selected is at least the threshold. A cross:
    fewer than half of the draws are.
    """
    settings = study.of_backbone(backbone)
    columns = {f"{kind}_coverage_{round(100 * t)}": f"{t:.2f}" for t in THRESHOLDS}
    rows = study.rows_of(settings).sort_values("shots", kind="stable").rename(columns=columns)
    cells = rows.groupby(["shots", "setting", "method"], sort=False)[[*columns.values()]]
    means = cells.mean().where(cells.count().ge(cells.size() / 2, axis=0))
    means.index.names = ["Shots", "Data set", "Method"]
    means = means.rename(study.label_of, level="Method")
    entries = means.map(lambda mean: CROSS if np.isnan(mean) else f"{100 * mean:.1f}")
    return Table(
        f"{kind}_coverage{_suffix(study, backbone)}",
        f"{'Share of the samples' if kind == 'sample' else 'Share of the classes'} covered at a "
        f"confidence, %{_of(study, backbone)}",
        entries.rename(lambda setting: _name(setting, settings), level="Data set"),
        f"Mean over the draws in which those selected are as accurate as the threshold says; "
        f"{CROSS} where they are in fewer than half of the draws.",
        _smallest(-means, ["Shots", "Data set"]),
    )


def shifts(study, backbone):
    """What was fitted on one data set, tested on its shifted versions, at the most shots."""
    members = [setting for setting in study.shifts if setting.backbone == backbone]
    if not members:
        return None
    shots = study.shots[-1]
    found = {}
    for source in sorted({s.trained_on for s in members}):
        origin = [s for s in study.of_backbone(backbone) if s.dataset == source]
        target = [s for s in members if s.trained_on == source]
        columns = {"itself": origin[:1]}
        columns |= {n: [s for s in target if s.dataset == n] for n in _datasets(members)}
        columns["average of shifts"] = target
        for metric in ("accuracy", "ece"):
            found[SHOWN[metric][0], source] = pd.DataFrame(
                {name: study.intervals(metric, s)[shots] for name, s in columns.items()}
            )
    return Table(
        f"shifts{_suffix(study, backbone)}",
        f"Domain generalisation at {shots} shots{_of(study, backbone)}",
        pd.concat(found, names=["Metric", "Fitted on", "Method"])
        .map(lambda value: value.text(1, 100))
        .rename(study.label_of, level="Method"),
        "Where a shift has fewer classes, probabilities are those of its classes, renormalised.",
    )


def mean_ranks(study):
    """Mean ranks over data sets, with Friedman's test and the critical difference.

    Of one data set there are none: they would be its order.
    """
    found = ((title, rank_methods(study, m, sign)) for m, (title, _, _, sign) in SHOWN.items())
    tests = {t.split(",")[0]: test for t, test in found if test is not None and test.n_datasets > 1}
    if not tests:
        return None
    ranks = pd.DataFrame({name: pd.Series(t.mean_ranks, t.methods) for name, t in tests.items()})
    ranks = ranks.reindex([method for method in study.methods if method in ranks.index])
    entries = ranks.map(_two_decimals).rename(study.label_of).rename_axis("Method")
    entries.loc["Friedman's p"] = [_p_value(test.p_value) for test in tests.values()]
    entries.loc[f"Critical difference, {100 * ALPHA:.0f} %"] = [
        _two_decimals(test.critical_difference) for test in tests.values()
    ]
    n = max(test.n_datasets for test in tests.values())
    note = (
        f"Over {n} data sets; each counts once, by its mean rank over shots, supports and "
        "backbones. Two methods differ significantly where their ranks are further apart than "
        "the critical difference (Nemenyi)."
    )
    if n <= 10:
        note += " The p-value is that of the chi-squared limit, which is rough below ten data sets."
    best = np.pad(ranks <= ranks.min() + 1e-12, ((0, 2), (0, 0)))  # labels may be equal
    best = pd.DataFrame(best, entries.index, entries.columns)
    return Table("mean_ranks", "Mean ranks, 1 for the best", entries, note, best)


def cost(study):
    """Seconds of one fit, over shots."""
    cells = study.rows_of(study.settings).groupby(["method", "shots"])
    seconds = cells["fit_seconds"].median().unstack().reindex(study.methods)
    return Table(
        "fit_seconds",
        "Seconds of a fit, over shots per class",
        seconds.map(_two_decimals).rename(study.label_of).rename_axis("Method"),
        "Median over data sets and draws, by one thread.",
    )


def failures(study):
    if not study.failed:
        return None
    columns = ["dataset", "backbone", "shots", "seed", "method", "error"]
    frame = pd.DataFrame(study.failed)[columns].rename(columns=str.capitalize)
    return Table("failures", "Fits that failed", frame.set_index(list(frame.columns)))


def _smallest(scores, groups):
    """Where a score is the smallest of its column in its group of rows, ties included."""
    return scores <= scores.groupby(level=groups, sort=False).transform("min") + 1e-12


def _two_decimals(value):
    return "" if np.isnan(value) else f"{value:.2f}"


def _p_value(p):
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _datasets(settings):
    return sorted({setting.dataset for setting in settings})


def _name(setting, settings):
    """The data set, with its support where it has several."""
    same = [s for s in settings if s.dataset == setting.dataset]
    return setting.dataset if len(same) == 1 else f"{setting.dataset} ({setting.support})"


def _suffix(study, backbone):
    return f"_{slug(backbone)}" if len(study.backbones) > 1 else ""


def _of(study, backbone):
    return "" if backbone == "precomputed" and len(study.backbones) == 1 else f" ({backbone})"
