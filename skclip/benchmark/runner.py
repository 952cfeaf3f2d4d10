"""All fits of a study, in any number of processes, once each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from skclip.benchmark.episodes import Episode
from skclip.benchmark.evaluation import KEY, VALUES, Cell, evaluate
from skclip.benchmark.feature_data import embed_dataset, load_feature_dataset
from skclip.benchmark.method_registry import CALIBRATORS, METHODS, Method, resolve_methods
from skclip.benchmark.own_data import hold_out
from skclip.benchmark.results import ResultFile
from skclip.datasets import (
    ImageDataset,
    load_few_shot_dataset,
    load_image_csv,
    load_image_folder,
)
from skclip.utils.files import replace_file, slug, write_text

__all__ = ["prediction_path", "read_results", "run"]

RESULTS = "results.csv"
_SOURCES = ("features", "dataset", "few_shot", "folder", "csv")


def run(
    datasets: Iterable[Mapping[str, Any]],
    out: str | PathLike[str],
    *,
    methods: Iterable[str | Method | Mapping[str, Any]] = tuple(METHODS),
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: Sequence[int] = (1, 2, 3),
    calibrators: Sequence[str] = ("none",),
    n_jobs: int | None = None,
    store_predictions: bool = True,
    verbose: int = 1,
) -> Path:
    """Fit every method to every draw of every data set, and write a row for each.

    Parameters
    ----------
    datasets : list of dict
        Each has a "name" (else that of its source), a "support", the split that shots are
        drawn from (default "train"), and one source:

        - "features": path of features, as :func:`load_feature_dataset` reads them;
        - "dataset": a :class:`skclip.datasets.ImageDataset`;
        - "few_shot": name of a few-shot data set, with its "root";
        - "folder" or "csv": a user's own images. Without a test split half of each class is
          held out to test, by :func:`hold_out`.

        A table with "trained_on", the name of another one, is a shift of it: its test split
        is predicted by what was fitted there, as far as both share class names. In the
        results its support is then, say, "imagenet:train".

        Sources of images also need "pretrained" and, with a tag or a file, "model", as
        CLIPFeaturizer does, and take "templates". Several tables with one name and
        different models compare backbones.
    out : path-like
        Folder of the results: ``results.csv``, ``predictions/``, ``errors/`` and, of images,
        ``features/``. What is there already is not computed again.
    methods : sequence, default=all of METHODS
        Names of METHODS, :class:`Method` objects or tables that describe one.
    shots, seeds : sequence of int, default=(1, 2, 4, 8, 16), (1, 2, 3)
        Draws are those of :func:`skclip.datasets.draw_few_shots`.
    calibrators : sequence of {"none", "temperature"}, default=("none",)
        "temperature" scales by ``min(shots, 4)`` further images per class.
    n_jobs : int, default=None
        Processes, through joblib: ``joblib.parallel_config`` chooses another back end.
        Rows do not depend on it, but for seconds and memory.
    store_predictions : bool, default=True
        Keep predicted class, its probability and the true class's for every test row;
        :func:`report` draws its figures from them.
    verbose : int, default=1
        Show a progress bar.

    Returns
    -------
    Path
        Of ``results.csv``: one row per fit and calibrator, in the order of its key columns.

    Notes
    -----
    A row is appended in one write when its fit is done, after its predictions. A run that was
    killed and started again computes what is missing. A fit that fails is a row with
    ``status`` "failed"; its traceback is in ``errors/``, and the others go on.
    """
    out = Path(out).expanduser()
    resolved = resolve_methods(methods)
    unknown = [name for name in calibrators if name not in CALIBRATORS]
    if unknown:
        raise ValueError(f"calibrators must be among {CALIBRATORS}; got {unknown}.")
    sources = _with_shifts([_source(entry, out, verbose) for entry in datasets])
    results = ResultFile(out / RESULTS, KEY, VALUES)
    cells = _cells(sources, resolved, shots, seeds, tuple(calibrators), results.read())
    tasks = [(cell, out, store_predictions) for cell in cells]
    results.extend(_run_cell, tasks, n_jobs=n_jobs, verbose=verbose)
    return results.path


def _source(entry, out, verbose):
    """(name, path of features, support split, what it is a shift of or None) of one table."""
    entry = dict(entry)
    trained_on = entry.pop("trained_on", None)
    given = [key for key in _SOURCES if key in entry]
    if len(given) != 1:
        raise ValueError(
            f"A data set needs one source among {', '.join(_SOURCES)}; got {sorted(entry)}."
        )
    kind = given[0]
    value, support = entry.pop(kind), entry.pop("support", "train")
    name = entry.pop("name", None)
    if kind == "features":
        if entry:
            raise ValueError(f"Features are ready: they take no {sorted(entry)}.")
        load_feature_dataset(value)  # an error now rather than in the middle
        return name or Path(value).stem, str(value), support, trained_on
    images = _images(kind, value, entry)
    if "pretrained" not in entry:
        raise ValueError(
            f"Images need a model and pretrained weights; got {sorted(entry)} for {images.name}."
        )
    name = name or images.name
    path = out / "features" / f"{slug(name, entry.get('model', ''), entry['pretrained'])}.npz"
    embed_dataset(images, path, verbose=verbose, **entry)
    return name, str(path), support, trained_on


def _with_shifts(sources):
    """(name, path, support, shifts) of what is fitted; shifts have the same backbone."""
    fitted = [(*source[:3], []) for source in sources if source[3] is None]
    for name, path, _, trained_on in sources:
        if trained_on is None:
            continue
        backbone = load_feature_dataset(path).backbone
        targets = [
            shifts
            for base, base_path, _, shifts in fitted
            if base == trained_on and load_feature_dataset(base_path).backbone == backbone
        ]
        if not targets:
            raise ValueError(
                f"trained_on must name a data set of the study with the same backbone; got "
                f"{trained_on!r} for {name}, and there are {[source[0] for source in fitted]}."
            )
        for shifts in targets:
            shifts.append((name, path))
    return fitted


def _images(kind, value, entry):
    if kind == "dataset":
        if not isinstance(value, ImageDataset):
            raise ValueError(f"dataset must be an ImageDataset; got {type(value).__name__}.")
        return value
    if kind == "few_shot":
        return load_few_shot_dataset(value, entry.pop("root"), check=entry.pop("check", True))
    return hold_out((load_image_folder if kind == "folder" else load_image_csv)(value))


def _cells(sources, methods, shots, seeds, calibrators, done):
    """Fits that lack a row, those of one data set together, cheap draws first."""
    for (name, path, support, shifts), k, seed, method in product(sources, shots, seeds, methods):
        episode = Episode(name, support, int(k), int(seed))
        cell = Cell(path, episode, method, calibrators, shifts=tuple(shifts))
        backbone = load_feature_dataset(path).backbone
        missing = [key for key in cell.keys(backbone) if key not in done]
        if missing:
            lacking = tuple(dict.fromkeys(key[-1] for key in missing))
            yield replace(cell, calibrators=lacking)


def _run_cell(cell, out, store_predictions):
    rows = []
    for row, predictions in evaluate(cell):
        rows.append(row)
        key = tuple(row[name] for name in KEY)
        if row["status"] == "failed":
            write_text(out / "errors" / f"{slug(*key)}.txt", predictions)
        elif store_predictions:
            path = prediction_path(out, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, partial(np.savez_compressed, **predictions))
    return rows


def prediction_path(out: str | PathLike[str], key: Iterable[str]) -> Path:
    """Where the predictions of a row lie."""
    return Path(out) / "predictions" / f"{slug(*key)}.npz"


def read_results(out: str | PathLike[str]) -> list[dict[str, str]]:
    """Rows of ``results.csv`` in a folder, dictionaries of text.

    Parameters
    ----------
    out : path-like
        Folder that :func:`run` wrote.

    Returns
    -------
    list of dict

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    path = Path(out).expanduser() / RESULTS
    if not path.exists():
        raise FileNotFoundError(
            f"Results must be in a folder with {RESULTS}; got none in {path.parent}. Run the "
            "benchmark with this folder as out."
        )
    return list(ResultFile(path, KEY, VALUES).read().values())
