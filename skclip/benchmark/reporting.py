"""A folder of results as tables, figures and one page."""

from collections.abc import Sequence
from importlib.metadata import version
from os import PathLike
from pathlib import Path

from skclip.benchmark.answer import answer_sections
from skclip.benchmark.diagrams import (
    FEWEST,
    pooled_predictions,
    reliability_diagrams,
    reliability_size,
    risk_coverage_curves,
)
from skclip.benchmark.figures import curves_over_shots, rank_diagram
from skclip.benchmark.manifest import dataset_of, read_manifest
from skclip.benchmark.ranks import rank_methods
from skclip.benchmark.rendering import FORMATS
from skclip.benchmark.study import Study
from skclip.benchmark.tables import SHOWN, study_tables
from skclip.pages import Figure, Section, draw, for_file, for_page, page
from skclip.utils.files import slug, write_text

__all__ = ["report"]

_IN_FIGURE = ("accuracy", "ece", "nll")
# (title of a section, what names of its figures begin with, and those of its tables)
_SECTIONS = (
    ("Over shots", ("over_shots",), tuple(SHOWN)),
    (
        "What may be accepted",
        ("risk_coverage", "reliability"),
        ("sample_coverage", "class_coverage"),
    ),
    ("Domain generalisation", (), ("shifts",)),
    ("Mean ranks", ("ranks",), ("mean_ranks",)),
    ("Cost", (), ("fit_seconds",)),
    ("Failures", (), ("failures",)),
)


def report(
    results: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    formats: Sequence[str] = ("rst", "csv", "latex", "html"),
) -> Path:
    """Write the tables and figures of a study, and one HTML page with all of them.

    Parameters
    ----------
    results : path-like
        Folder that :func:`run` wrote.
    out : path-like, default=None
        Folder to write into; ``report`` in `results` when None.
    formats : sequence of {"rst", "csv", "latex", "html"}, default=all of them
        Files are ``tables/<name>.rst``, ``.csv``, ``.tex`` and ``index.html``; figures are
        ``figures/<name>.svg`` always.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    FileNotFoundError
        If there are no results.
    ValueError
        If a format is unknown, or every fit failed.

    Notes
    -----
    Numbers are those of the rows; nothing is fitted or measured again. Reliability diagrams and
    risk-coverage curves need the stored predictions and are left out without them. The page
    holds its style and figures, so that it can be sent as one file.

    See Also
    --------
    recommend : The short answer.
    """
    known = (*FORMATS, "html")
    unknown = [name for name in formats if name not in known]
    if unknown:
        raise ValueError(f"formats must be among {', '.join(known)}; got {unknown}.")
    results = Path(results).expanduser()
    out = results / "report" if out is None else Path(out).expanduser()
    study = Study(results)
    tables = study_tables(study)
    for suffix, write in (FORMATS[name] for name in formats if name != "html"):
        for table in tables:
            write_text(out / "tables" / f"{table.name}.{suffix}", write(table))
    figures = [(name, draw(name, fill, size), text) for name, fill, size, text in _figures(study)]
    for name, svg, _ in figures:
        write_text(out / "figures" / f"{name}.svg", for_file(svg))
    if "html" in formats:
        write_text(out / "index.html", _page(study, tables, figures))
    return out


def _figures(study):
    """(name, what fills it, size, caption) of everything that can be drawn."""
    height = max(3.2, 0.2 * len(study.methods))
    for backbone in study.backbones:
        settings = study.of_backbone(backbone)
        end = f"_{slug(backbone)}" if len(study.backbones) > 1 else ""
        of = f" {backbone}." if end else ""
        if len(study.shots) > 1:
            metrics = {metric: SHOWN[metric] for metric in _IN_FIGURE}
            fill = curves_over_shots(study, metrics, backbone)
            sets = _count(len(settings), "data set")
            caption = f"Means over {sets}; bands are 95 % intervals over draws.{of}"
            yield f"over_shots{end}", fill, (11.5, height), caption
        shots = study.shots[-1]
        pooled = pooled_predictions(study, settings, shots)
        if pooled:
            caption = f"All test rows of all draws and data sets, {shots} shots.{of}"
            fill = risk_coverage_curves(study, pooled)
            yield f"risk_coverage{end}", fill, (7.5, height + 0.4), caption
            fill = reliability_diagrams(study, pooled)
            caption += f" Points of bins with at least {FEWEST} predictions."
            yield f"reliability{end}", fill, reliability_size(pooled), caption
    for metric in _IN_FIGURE:
        test = rank_methods(study, metric, SHOWN[metric][3])
        if test is not None and test.n_datasets > 1 and len(test.methods) > 2:
            caption = (
                f"{SHOWN[metric][0].split(',')[0]}: mean ranks over {test.n_datasets} data sets. "
                "A bar joins methods that do not differ significantly."
            )
            size = (8.5, 1.3 + 0.17 * len(test.methods) + 0.09 * len(test.groups()))
            yield f"ranks_{metric}", rank_diagram(test, study.label_of), size, caption


def _page(study, tables, figures):
    sections = answer_sections(study)
    for title, drawn, tabled in _SECTIONS:
        chosen = [Figure(for_page(s, c), c) for name, s, c in figures if name.startswith(drawn)]
        these = [table for table in tables if table.name.startswith(tabled)]
        sections.append(Section(title, figures=chosen, tables=these))
    failed = f", {len(study.failed)} more failed" if study.failed else ""
    manifest = read_manifest(study.folder)
    known = [
        dataset_of(manifest, *key) for key in {(s.dataset, s.backbone) for s in study.settings}
    ]
    left_out, repeated = (sum(d.get(name, 0) for d in known) for name in ("left_out", "repeated"))
    unread, both = _count(left_out, "image"), _count(repeated, "image")
    subtitle = (
        f"{len(study.frame)} fits{failed}: {_count(len(study.datasets), 'data set')}, "
        f"{_count(len(study.methods), 'method')}, {'/'.join(map(str, study.shots))} shots per "
        f"class. {f'{unread} left out, unreadable. ' if left_out else ''}"
        f"{f'{both} fitted as well as tested: results are too good. ' if repeated else ''}"
        f"Written by skclip {version('skclip')}."
    )
    return page(f"Results: {', '.join(study.datasets)}", subtitle, sections)


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"
