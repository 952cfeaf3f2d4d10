"""The page of a fit: the answer, the errors by class, images to look at."""

from collections.abc import Iterable
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skclip.metrics import ErrorDisplay
from skclip.pages import Figure, Gallery, Section, Table, draw, for_page, page, thumbnail
from skclip.utils.files import write_text
from skclip.workflow.check_result import DatasetCheck
from skclip.workflow.fit_report import (
    DOUBTS_MEAN_NOTHING,
    NAMES_DO_NOT_HELP,
    FitReport,
    HeldOut,
)

__all__ = ["write_page"]

_MOST_IMAGES, _MOST_IN_MATRIX = 12, 30


def write_page(report: FitReport, path: str | PathLike[str]) -> Path:
    """Write what a fit is worth as one HTML file that needs nothing else.

    It has the answer in a sentence, a table and the confusion of the classes, the most confident
    mistakes and the least sure images, labels that the classifier doubts, and what the check found.

    Parameters
    ----------
    report : FitReport
    path : path-like
        The file, replaced in one step.

    Returns
    -------
    Path

    Notes
    -----
    It holds small copies of up to 36 of the images.
    """
    path = Path(path).expanduser()
    sections = [_answer(report), *_errors(report), _doubtful(report), _check(report.check)]
    subtitle = f"{report.learned_from} Written by skclip {version('skclip')}."
    write_text(path, page("What the classifier is worth", subtitle, sections))
    return path


def _answer(report: FitReport) -> Section:
    measured = report.measured
    if measured is None:
        return Section("Answer", ("Nothing could be held out, so that nothing can be said.",))
    adapted, prompts = (measured.metrics[name] for name in ("adapted", "prompts"))
    gains = measured.gains
    better, worse = (
        sum(gain.verdict == verdict for gain in gains) for verdict in ("better", "worse")
    )
    accuracy, ece = adapted["accuracy"], adapted["expected_calibration_error"]
    who = "A classifier of more of these images" if report.is_measured_on_more else "It"
    said: tuple[str, ...] = (
        f"{who} recognises {100 * accuracy.value:.0f} of 100 images that it has not seen (between "
        f"{100 * accuracy.low:.0f} and {100 * accuracy.high:.0f}), and the confidence it states is "
        f"off by {100 * ece.value:.0f} points on average.",
        f"The prompts alone recognise {100 * prompts['accuracy'].value:.0f} of 100. Adapting to "
        f"the images made {better} of {len(gains)} classes better and {worse} worse, as far as "
        f"{len(measured.y)} images tell.",
    )
    if not report.names_help:
        said += (NAMES_DO_NOT_HELP,)
    return Section("Answer", said, text=report.text())


def _errors(report: FitReport) -> list[Section]:
    measured = report.measured
    if measured is None:
        return []
    errors = measured.errors(report.y_train)
    figures = []
    if len(errors.labels) <= _MOST_IN_MATRIX:
        side = 2.2 + 0.3 * len(errors.labels)
        caption = (
            "True classes down, predicted classes across; blue is the share of the true class."
        )
        svg = draw("confusion", lambda figure: errors.plot(figure.subplots()), (side + 0.6, side))
        figures.append(Figure(for_page(svg, caption), caption, fits=True))
    mistakes, unsure = errors.mistakes(_MOST_IMAGES), errors.least_sure(_MOST_IMAGES)
    return [
        Section("Errors by class", tables=[_table(measured, errors)], figures=figures),
        Section(
            "Images to look at",
            galleries=[
                _gallery("Most confident mistakes", measured, errors, mistakes),
                _gallery("Least sure", measured, errors, unsure),
            ],
        ),
    ]


def _table(measured: HeldOut, errors: ErrorDisplay) -> Table:
    numbers = errors.table
    gains = pd.Series([gain.verdict for gain in measured.gains], index=numbers.index)
    entries = pd.DataFrame(
        {
            "Shots": numbers["shots"],
            "Measured": numbers["images"],
            "Recognised, %": numbers["recall"].map(_percent),
            "Right when said, %": numbers["precision"].map(_percent),
            "Confidence too high by, points": numbers["overconfidence"].map(_percent),
            "Against the prompts": gains,
        }
    )
    entries.index = entries.index.rename("Class")
    order = numbers["recall"].fillna(2).argsort(kind="stable")
    note = f"Of {measured.how}."
    return Table("errors", "By class, the worst first", entries.iloc[order], note)


def _percent(share: float) -> str:
    return "" if np.isnan(share) else str(round(100 * share))


def _gallery(title: str, measured: HeldOut, errors: ErrorDisplay, rows: Iterable[Any]) -> Gallery:
    shown = [thumbnail(measured.paths[row], errors.caption(row).split("\n")) for row in rows]
    return Gallery(title, shown)


def _doubtful(report: FitReport) -> Section:
    """Labels of the support that its other images do not believe."""
    title = "Labels that the classifier doubts"
    if report.left_out is not None and not report.can_doubt:
        return Section(title, (DOUBTS_MEAN_NOTHING,))
    shown = [
        thumbnail(path, (f"labelled {label} ({p:.1%})", f"looks like {taken}", Path(path).name))
        for path, label, taken, p in report.label_errors[:_MOST_IMAGES]
    ]
    note = "In brackets the probability of the label by a classifier that has not seen the image."
    galleries = [Gallery(f"The {len(shown)} least believable", shown, note)]
    return Section(title, galleries=galleries if shown else [])


def _check(check: DatasetCheck | None) -> Section:
    if check is None or not check.findings:
        return Section("The images")
    lead = tuple(finding.short() for finding in check.findings if finding.severity != "note")
    return Section("The images", lead, text=check.text(), summary="All that was found")
