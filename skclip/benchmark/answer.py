"""The first part of a page: the answer in a sentence and a picture, then the errors to look at."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skclip.benchmark.array_files import read_arrays
from skclip.benchmark.feature_data import load_feature_dataset
from skclip.benchmark.figures import style_of
from skclip.benchmark.manifest import dataset_of, read_manifest
from skclip.benchmark.recommendation import Recommendation, recommend
from skclip.benchmark.runner import prediction_path
from skclip.benchmark.study import Setting, Study
from skclip.exceptions import DatasetError
from skclip.metrics.class_errors import numbers_by_class
from skclip.pages import Figure, Gallery, Section, Table, draw, for_page, thumbnail

__all__ = ["answer_sections"]

_MOST_IMAGES, _MOST_DATASETS = 12, 4
_BESIDE = ("zero-shot", "logistic-regression")


def answer_sections(study: Study) -> list[Section]:
    """The answer, then what goes wrong, by class and with images where they are still there."""
    found = recommend(study.folder)
    pictures = [
        Figure(for_page(draw(f"answer_{metric}", fill, (4.6, 3.0)), caption), caption, fits=True)
        for metric, fill, caption in _pictures(study, found)
    ]
    answer = Section(
        "Answer",
        tuple(found.sentences()),
        pictures,
        text=found.text(),
        summary="In numbers, and in Python",
    )
    settings = study.of_backbone(found.backbone)[:_MOST_DATASETS]
    parts = [part for s in settings for part in _errors(study, s, found, len(settings) > 1)]
    tables = [part for part in parts if isinstance(part, Table)]
    galleries = [part for part in parts if isinstance(part, Gallery)]
    return [answer, Section("Errors by class", tables=tables, galleries=galleries)]


def _pictures(study, found):
    """Accuracy and calibration error over labels: what is recommended, beside what is known."""
    methods = [found.method, *(m for m in _BESIDE if m != found.method and m in study.methods)]
    settings = study.of_backbone(found.backbone)
    shown = {"accuracy": "Accuracy, %", "ece": "Calibration error, %"}
    for metric, title in shown.items():
        by_method = study.intervals(metric, settings).loc[methods]
        yield metric, _curves(study, by_method, title), f"{title}, over labelled images per class."


def _curves(study, by_method, title):
    def fill(figure):
        ax = figure.subplots()
        for index, (method, by_shots) in enumerate(by_method.iterrows()):
            mean = np.array([100 * value.mean for value in by_shots])
            half = 100 * np.nan_to_num([value.half_width for value in by_shots])
            style = style_of(index)
            label = study.label_of(method)
            ax.plot(study.shots, mean, label=label, linewidth=1.8, markersize=5, **style)
            ax.fill_between(
                study.shots, mean - half, mean + half, color=style["color"], alpha=0.15, linewidth=0
            )
        ax.set_xscale("log", base=2)
        ax.set_xticks(study.shots, [str(shots) for shots in study.shots])
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, 0), min(high, 100))
        ax.set(xlabel="Labelled images per class", ylabel=title)
        ax.legend(fontsize="small")

    return fill


def _errors(
    study: Study, setting: Setting, found: Recommendation, several: bool
) -> Iterator[Table | Gallery]:
    """A table by class and the worst mistakes on one data set; nothing without predictions."""
    shots, of = max(found.curve), f" of {setting.dataset}" if several else ""
    rows = study.rows_of([setting])
    rows = rows[(rows["method"] == found.method) & (rows["shots"] == shots)]
    drawn = [_drawn(prediction_path(study.folder, key)) for key in rows["key"]]
    drawn = [arrays for arrays in drawn if arrays]
    if not drawn or len({len(arrays["true"]) for arrays in drawn}) > 1:
        return
    names, paths = _names_and_paths(study, setting, rows["weights"].iloc[0])
    true, predicted, confidence = (
        np.stack([arrays[name] for arrays in drawn]) for name in ("true", "predicted", "confidence")
    )
    if not names:
        names = [str(code) for code in range(int(max(true.max(), predicted.max())) + 1)]
    labels = np.array(names)
    numbers = numbers_by_class(true.ravel(), predicted.ravel(), confidence.ravel(), labels)
    yield _table(numbers, true, predicted, labels, len(drawn), found, of)
    worst = list(_worst(true, predicted, confidence))[:_MOST_IMAGES]
    if worst and paths:
        yield Gallery(
            f"Most confident mistakes{of}",
            [
                thumbnail(
                    paths[row],
                    (f"taken for {names[code]} ({sure:.0%})", f"is {names[true[0, row]]}"),
                )
                for row, code, sure in worst
            ],
            f"Test images that most draws get wrong, {shots} shots per class. An image whose label "
            "looks wrong may have a wrong label.",
        )


def _drawn(path):
    """True and predicted codes and confidences of a draw; nothing where they were not stored."""
    try:
        arrays = read_arrays(path) if path.exists() else {}
    except DatasetError:  # the diagrams say it
        return {}
    return arrays if {"true", "predicted", "confidence"} <= arrays.keys() else {}


def _names_and_paths(study, setting, fingerprint):
    """Names of the classes and paths of the test rows, if the features are those of the results."""
    entry = dataset_of(read_manifest(study.folder), setting.dataset, setting.backbone)
    path = study.folder / Path(entry.get("features", ""))
    if "features" not in entry or not path.exists():
        return [], []
    try:
        data = load_feature_dataset(path)
    except DatasetError:
        return [], []
    if data.fingerprint != fingerprint:
        return [], []
    return list(data.class_names), list(data.test_paths)


def _table(numbers, true, predicted, labels, n_draws, found, of):
    """Classes from the worst recall on, with what each is most often taken for."""
    taken = []
    for code in range(len(labels)):
        wrong = predicted[(true == code) & (predicted != code)]
        counts = np.bincount(wrong, minlength=len(labels))
        share = counts.max(initial=0) / max(1, int((true == code).sum()))
        taken.append(f"{labels[counts.argmax()]} ({share:.0%})" if len(wrong) else "")
    shares = numbers[["recall", "precision", "overconfidence"]]
    entries = shares.map(lambda share: "" if np.isnan(share) else str(round(100 * share)))
    titles = ["Recognised, %", "Right when said, %", "Confidence too high by, points"]
    entries = entries.set_axis(titles, axis=1)
    entries["Most often taken for"] = taken
    entries.insert(0, "Images", numbers["images"] // n_draws)
    entries.index = entries.index.rename("Class")
    order = numbers["recall"].fillna(2).argsort(kind="stable")
    return Table(
        f"errors_{len(labels)}{of}".replace(" ", "_"),
        f"{found.label} by class{of}, the worst first",
        entries.iloc[order],
        f"Means over {n_draws} draw{'s' if n_draws > 1 else ''} of {max(found.curve)} labelled "
        "images per class.",
    )


def _worst(true, predicted, confidence):
    """Test rows that most draws get wrong, then the most confident: row, code, confidence."""
    wrong = predicted != true
    count = wrong.sum(axis=0)
    sure = np.where(wrong, confidence, 0).sum(axis=0) / np.maximum(count, 1)
    for row in np.lexsort((-sure, -count)):
        if count[row]:
            codes = predicted[wrong[:, row], row]
            yield int(row), int(np.bincount(codes).argmax()), float(sure[row])
