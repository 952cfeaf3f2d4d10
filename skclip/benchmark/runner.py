"""All fits of a study, in any number of processes, once each."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from skclip.benchmark.episodes import Episode, draw_support
from skclip.benchmark.evaluation import KEY, METRICS, VALUES, Cell, evaluate, made_from
from skclip.benchmark.manifest import write_manifest
from skclip.benchmark.method_registry import CALIBRATORS, METHODS, Method, resolve_methods
from skclip.benchmark.results import ResultFile
from skclip.benchmark.sources import read_sources, warn_of_few
from skclip.exceptions import StudyError, StudyWarning
from skclip.utils.files import replace_file, slug, write_text
from skclip.utils.locks import locked
from skclip.utils.messages import listing

__all__ = ["prediction_path", "read_results", "run"]

RESULTS = "results.csv"
_NEEDED = (*METRICS, "status")
# Of MADE_FROM, in words.
_DIFFERENT = {
    "weights": "other features",
    "episode": "another draw",
    "configuration": "other parameters of {}",
    "versions": "other versions of packages",
}


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
        CLIPFeaturizer does, and take "templates", "on_error" and what else
        :func:`embed_dataset` does. Several tables with one name and different models compare
        backbones. Where two names that come from paths are the same, as of ``a/mine.npz`` and
        ``b/mine.npz``, what differs of the paths is added.
    out : path-like
        Folder of the results: ``results.csv``, ``predictions/``, ``errors/`` and, of images,
        ``features/``. What is there already is not computed again if all that it was made from
        is the same: features, draw, configuration of the method, versions of packages.
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
    ``status`` "failed"; its traceback is in ``errors/``, and the others go on. A second run on
    the same folder waits for the first.

    Raises
    ------
    StudyError
        If the arguments describe no study: before anything is fitted.
    DatasetError, ImageError
        If data, or results that are there already, are not what they must be.

    Warns
    -----
    StudyWarning
        If rows were made from something else and are computed again, images are left out or are
        in both halves, most classes have fewer images than shots, or another run is waited for.
    """
    out = Path(out).expanduser()
    resolved = resolve_methods(methods)
    shots = _integers("shots", shots, 1)
    seeds = _integers("seeds", seeds, 0)
    _check_rest(calibrators, n_jobs, store_predictions)
    out.mkdir(parents=True, exist_ok=True)
    waiting = f"Another run writes to {out}; this one waits until it is done."
    with locked(
        out / ".lock", waiting, partial(warnings.warn, category=StudyWarning, stacklevel=4)
    ):
        sources = read_sources(datasets, out, verbose)
        warn_of_few(sources, shots)
        results = ResultFile(out / RESULTS, KEY, VALUES, _NEEDED)
        done = results.read()
        cells = _cells(sources, resolved, shots, seeds, tuple(dict.fromkeys(calibrators)))
        keys = {key for cell in cells for key, _ in cell.tests()}
        stale = _stale(done, keys, sources, resolved)
        if stale:
            _say_stale(results.path, done, keys, stale)
            results.replace(row for key, row in done.items() if key not in stale)
            for key in stale:
                prediction_path(out, key).unlink(missing_ok=True)
                _error_path(out, key).unlink(missing_ok=True)
        write_manifest(out, sources, resolved)
        lacking = _lacking(cells, done.keys() - stale.keys())
        tasks = [(cell, out, store_predictions) for cell in lacking]
        jobs = n_jobs if n_jobs is None or n_jobs < 0 else min(n_jobs, max(1, len(tasks)))
        results.extend(_run_cell, tasks, n_jobs=jobs, verbose=verbose)
    return results.path


def _integers(name, values, least):
    """The numbers, each once."""
    values = [] if isinstance(values, (str, Mapping)) else values
    if (
        not isinstance(values, Iterable)
        or not (values := list(values))
        or not all(
            isinstance(v, Integral) and not isinstance(v, bool) and least <= v < 2**32
            for v in values
        )
    ):
        raise StudyError(
            f"{name} must be a list of integers from {least} to 2**32 - 1; got {values!r}."
        )
    return list(dict.fromkeys(map(int, values)))


def _check_rest(calibrators, n_jobs, store_predictions):
    several = isinstance(calibrators, (list, tuple)) and len(calibrators) > 0
    if not several or any(name not in CALIBRATORS for name in calibrators):
        raise StudyError(f"calibrators must be among {CALIBRATORS}; got {calibrators!r}.")
    if n_jobs is not None and (
        isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or not n_jobs
    ):
        raise StudyError(f"n_jobs must be an integer other than 0, or None; got {n_jobs!r}.")
    if not isinstance(store_predictions, bool):
        raise StudyError(f"store_predictions must be true or false; got {store_predictions!r}.")


def _cells(sources, methods, shots, seeds, calibrators):
    """All fits that are asked for, those of one data set together, cheap draws first."""
    return [
        Cell(source, Episode(source.name, source.support, k, seed), method, calibrators)
        for source, k, seed, method in product(sources, shots, seeds, methods)
    ]


def _lacking(cells, done):
    """The cells that lack a row, with the calibrators that do."""
    for cell in cells:
        missing = dict.fromkeys(key[-1] for key, _ in cell.tests() if key not in done)
        if missing:
            yield replace(cell, calibrators=tuple(missing))


def _stale(done, asked, sources, methods):
    """Key -> why, of rows that were made from something else than this study has.

    Also of rows that are not asked for now, as far as they would stand beside new ones: those
    of other versions stay.
    """
    settings = {where[:3]: (source, where[3]) for source in sources for where in source.settings()}
    of_name = {method.name: method for method in methods}
    draws = {}
    stale = {}
    for key, row in done.items():
        dataset, backbone, support, shots, seed, method, _ = key
        if (dataset, backbone, support) not in settings:
            continue
        source, tested = settings[dataset, backbone, support]
        draw = (source.path, source.support, shots, seed)
        if draw not in draws:
            draws[draw] = _draw_of(source, shots, seed)
        now = made_from(tested.data, draws[draw], of_name.get(method))
        if key not in asked:
            now.pop("versions", None)
        differs = [name for name, value in now.items() if row[name] != value]
        if differs:
            stale[key] = _DIFFERENT[differs[0]].format(method)
    return stale


def _draw_of(source, shots, seed):
    try:
        episode = Episode(source.name, source.support, int(shots), int(seed))
        return draw_support(source.data, episode).fingerprint
    except ValueError:
        return ""  # as the row of a draw that fails says


def _say_stale(path, done, asked, stale):
    counts = Counter((key[0], why) for key, why in stale.items())
    named = listing([f"{n} of {name} ({why})" for (name, why), n in counts.items()], show=str)
    again = len(stale.keys() & asked)
    warnings.warn(
        f"{len(stale)} of {len(done)} rows of {path} were made from something else than this "
        f"study has: {named}. {again} are computed again, {len(stale) - again} that are not asked "
        "for now are removed.",
        StudyWarning,
        stacklevel=3,
    )


def _run_cell(cell, out, store_predictions):
    rows = []
    for row, predictions in evaluate(cell):
        rows.append(row)
        key = tuple(row[name] for name in KEY)
        if row["status"] == "failed":
            encodable = predictions.encode("utf-8", "backslashreplace").decode()
            write_text(_error_path(out, key), encodable)
        elif store_predictions:
            path = prediction_path(out, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, partial(np.savez_compressed, **predictions))
    return rows


def _error_path(out, key):
    return out / "errors" / f"{slug(*key)}.txt"


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
    return list(ResultFile(path, KEY, VALUES, _NEEDED).read().values())
