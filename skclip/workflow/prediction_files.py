"""Predictions for any number of files as a CSV file, streamed and resumable."""

import contextlib
import csv
import hashlib
import io
import json
import logging
import os
import time
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skclip.decisions.wrapped import unwrap
from skclip.exceptions import ImageError
from skclip.features import CLIPFeaturizer
from skclip.store import file_stamp
from skclip.utils.csv_cells import safe_cell
from skclip.utils.files import replace_file
from skclip.utils.locks import locked
from skclip.workflow.saved_pipeline import load_pipeline

__all__ = ["COLUMNS", "PredictionReport", "predict_files"]

logger = logging.getLogger(__name__)

COLUMNS = ("path", "class", "probability", "abstain", "reason")
_FORMAT = 1


@dataclass(frozen=True)
class PredictionReport:
    """What :func:`predict_files` did.

    Attributes
    ----------
    out : Path
    n_files, n_rows : int
        Files that were asked for, and rows of the output.
    n_resumed : int
        Rows that an earlier, interrupted call had written.
    n_unreadable, n_abstained : int
        Of the rows and files of this call.
    seconds : float
        Wall-clock time of this call.
    """

    out: Path
    n_files: int
    n_rows: int
    n_resumed: int
    n_unreadable: int
    n_abstained: int
    seconds: float


def predict_files(
    classifier: str | PathLike[str],
    paths: Sequence[str | PathLike[str]],
    out: str | PathLike[str] = "predictions.csv",
    *,
    on_error: str = "nan",
    all_classes: bool = False,
    device: str | None = None,
    batch_size: int | str = "auto",
    cache_dir: str | Path | None = None,
    n_jobs: int | None = None,
    chunk_size: int = 256,
    verbose: int = 0,
) -> PredictionReport:
    """Predict files with a saved pipeline, into a CSV file.

    Rows are written as they are computed, into ``<out>.partial``, and get their name when all are
    there. A call that was interrupted goes on where it was, if the file of the classifier, the
    options, the paths and the files behind them are the same; else it starts anew.

    Parameters
    ----------
    classifier : path-like
        What :func:`skclip.save` wrote of a pipeline that begins with CLIPFeaturizer, as
        :func:`fit_dataset` makes it.
    paths : sequence of n paths
    out : path-like, default="predictions.csv"
        The output; an earlier one is replaced in one step. In UTF-8, with the columns "path" (as
        given), "class" (the most probable one), "probability" (of it, a fraction), "abstain"
        ("yes" where the classifier does not accept the image, as unsure or as unknown, else "no")
        and "reason" (why an image could not be read; class and probability are empty then). What
        a spreadsheet would take for a formula has an apostrophe in front.
    on_error : {"nan", "skip", "raise"}, default="nan"
        What an image that cannot be read does: have a row with the reason, have no row, or stop
        the call.
    all_classes : bool, default=False
        Whether every class has a column of its probabilities, ``p(class)``.
    device : str, default=None
        Where the model runs; None for what the classifier says.
    batch_size, cache_dir, n_jobs
        Of :class:`skclip.CLIPFeaturizer`.
    chunk_size : int, default=256
        Images that are predicted between two writes: the most work that an interrupt can lose.
    verbose : int, default=0
        Whether to show a progress bar.

    Returns
    -------
    PredictionReport

    Raises
    ------
    PersistenceError
        If the file holds no such pipeline.
    ImageError
        If an image cannot be read and `on_error` is "raise".
    ValueError
        If there is a file `out` that holds no predictions, which is not overwritten.

    Notes
    -----
    Memory is a chunk and two batches. Equal calls on one `out` take turns.

    Examples
    --------
    >>> import tempfile
    >>> import skclip
    >>> from skclip.datasets import save_digits_images, tiny_clip
    >>> from skclip.workflow import fit_dataset, predict_files
    >>> folder = tempfile.mkdtemp()
    >>> paths, _ = save_digits_images(f"{folder}/digits", n_per_class=4)
    >>> fitted = fit_dataset(f"{folder}/digits", pretrained=tiny_clip())
    >>> file = skclip.save(fitted.pipeline, f"{folder}/classifier.safetensors")
    >>> report = predict_files(file, paths, f"{folder}/predictions.csv")
    >>> print(report.out.read_text().splitlines()[0])
    path,class,probability,abstain,reason
    """
    started = time.monotonic()
    if on_error not in ("nan", "skip", "raise"):
        raise ValueError(f"on_error must be 'nan', 'skip' or 'raise'; got {on_error!r}.")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size!r}.")
    classifier, out = Path(classifier).expanduser(), Path(out).expanduser()
    _check_out(out)
    names = [os.fspath(path) for path in paths]
    pipeline = load_pipeline(classifier, device)
    pipeline[0].set_params(
        on_error="nan", batch_size=batch_size, cache_dir=cache_dir, n_jobs=n_jobs, verbose=0
    )
    options = {"on_error": on_error, "all_classes": all_classes}
    with locked(out.with_name(f".{out.name}.lock"), f"another call writes {out}; waiting for it"):
        partial = _Partial(out, _identity(classifier, names, options))
        report = _predict(pipeline, names, partial, on_error, all_classes, chunk_size, verbose)
    n_resumed, n_rows, n_unreadable, n_abstained = report
    seconds = time.monotonic() - started
    return PredictionReport(out, len(names), n_rows, n_resumed, n_unreadable, n_abstained, seconds)


def _check_out(out: Path) -> None:
    """Refuse to replace what is no file of predictions; make its folder."""
    known = ",".join(COLUMNS[:-1]).encode()
    if out.exists():
        with contextlib.suppress(IsADirectoryError, PermissionError), out.open("rb") as file:
            if file.read(len(known)) in (known, b""):
                return
        raise ValueError(
            f"out must be a new file, or predictions to replace; {str(out)!r} is something else. "
            "Give another name (--out of the command), or remove it."
        )
    out.parent.mkdir(parents=True, exist_ok=True)


def _identity(classifier: Path, names: Sequence[str], options: dict[str, Any]) -> str:
    """A digest of all that decides the rows: classifier, options, and the files as they are now."""
    from skclip import __version__

    digest = hashlib.sha256(classifier.read_bytes())
    digest.update(json.dumps([_FORMAT, __version__, options], sort_keys=True).encode())
    for name in names:
        path = os.path.abspath(os.path.expanduser(name))  # noqa: PTH100, PTH111
        try:
            stamp = file_stamp(path, os.stat(path))  # noqa: PTH116
        except OSError:
            stamp = b"missing"
        digest.update(os.fsencode(name) + b"\0" + stamp)
    return digest.hexdigest()


class _Partial:
    """The rows that are finished, in a file beside the output, and how many they are.

    The state is written after the rows and says how many bytes of them count.
    """

    def __init__(self, out: Path, identity: str) -> None:
        self.out, self.identity = out, identity
        self.rows = out.with_name(f"{out.name}.partial")
        self.state = out.with_name(f"{out.name}.partial.json")
        self.done, self.written, self.size, self.checksum = 0, 0, 0, 0
        found = self._found()
        if found is not None:
            self.done, self.written, self.size, self.checksum = found
        elif self.rows.exists():
            logger.warning(
                "%s is of another classifier, other images or other options, and is replaced",
                self.rows,
            )

    def _found(self) -> tuple[int, int, int, int] | None:
        """Files, rows, bytes and checksum of what an equal call has finished."""
        try:
            state = json.loads(self.state.read_bytes())
            if state["identity"] != self.identity:
                return None
            with self.rows.open("rb") as file:
                content = file.read(state["size"])
            if len(content) != state["size"] or zlib.crc32(content) != state["checksum"]:
                return None
            return state["done"], state["written"], state["size"], state["checksum"]
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def open(self) -> BinaryIO:
        """The file of rows, at its end."""
        file = self.rows.open("r+b" if self.size else "wb")
        file.truncate(self.size)
        file.seek(self.size)
        return file

    def add(self, file: BinaryIO, lines: Iterable[Sequence[str]], n_files: int) -> None:
        """Append lines, safe on disk before they count; the first call writes the header."""
        buffer = io.StringIO()
        lines = list(lines)
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        content = buffer.getvalue().encode()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        self.checksum = zlib.crc32(content, self.checksum)
        self.done += n_files
        self.written += len(lines)
        self.size += len(content)
        names = ("identity", "done", "written", "size", "checksum")
        state = json.dumps({name: getattr(self, name) for name in names}).encode()
        replace_file(self.state, lambda f: f.write(state))

    def finish(self) -> None:
        """Give the rows their name."""
        self.rows.replace(self.out)
        self.state.unlink(missing_ok=True)


def _predict(
    pipeline: Pipeline,
    names: Sequence[str],
    partial: _Partial,
    on_error: str,
    all_classes: bool,
    chunk_size: int,
    verbose: int,
) -> tuple[int, int, int, int]:
    """Rows resumed, rows in all, unreadable and abstained of this call."""
    from tqdm.auto import tqdm

    n_resumed = max(0, partial.written - 1)  # without the header
    n_unreadable = n_abstained = 0
    with (
        partial.open() as file,
        tqdm(total=len(names), initial=partial.done, unit="image", disable=not verbose) as bar,
    ):
        columns = [f"p({label})" for label in pipeline.classes_] if all_classes else []
        n_columns = len(columns)
        if not partial.size:
            partial.add(file, [[*COLUMNS, *map(safe_cell, columns)]], 0)
        while partial.done < len(names):
            chunk = names[partial.done : partial.done + chunk_size]
            rows, reasons = _rows_of(pipeline, chunk)
            if reasons and on_error == "raise":
                first = min(reasons)
                raise ImageError(
                    f"Every image must be readable; {chunk[first]}: {reasons[first]}. Repair or "
                    "remove it, or pass on_error='nan' or 'skip' (--on-error of the command)."
                )
            n_unreadable += len(reasons)
            n_abstained += sum(row.abstain == "yes" for row in rows)
            partial.add(
                file,
                [
                    [*map(safe_cell, (name, *row[:3], reasons.get(i, ""))), *row.every[:n_columns]]
                    for i, (name, row) in enumerate(zip(chunk, rows, strict=True))
                    if on_error != "skip" or i not in reasons
                ],
                len(chunk),
            )
            bar.update(len(chunk))
    partial.finish()
    return n_resumed, partial.written - 1, n_unreadable, n_abstained


class _Row(NamedTuple):
    """What a line says of an image: nothing where it cannot be read."""

    label: str = ""
    probability: str = ""
    abstain: str = ""
    every: Sequence[str] = ()


def _rows_of(pipeline: Pipeline, names: Sequence[str]) -> tuple[list[_Row], dict[int, str]]:
    """What is said of each image, and why nothing is said of some."""
    X, reasons = _features(pipeline[0], names)
    readable = [i for i in range(len(names)) if i not in reasons]
    rows = [_Row(every=[""] * len(pipeline.classes_)) for _ in names]
    if readable:
        last, features = unwrap(pipeline[1:], X[readable])
        accepted = np.ones(len(readable), bool)
        if hasattr(last, "accept"):
            accepted = last.accept(features)
        proba = last.predict_proba(features)
        for i, p, accepts in zip(readable, proba, accepted, strict=True):
            top = int(p.argmax())
            abstains = "no" if accepts else "yes"
            every = [f"{value:.6f}" for value in p]
            rows[i] = _Row(str(pipeline.classes_[top]), every[top], abstains, every)
    return rows, reasons


def _features(
    featurizer: CLIPFeaturizer, names: Sequence[str]
) -> tuple[np.ndarray, dict[int, str]]:
    """Features, and the reason for each image that has none."""
    strict, reasons = clone(featurizer).set_params(on_error="raise"), {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "\\d+ of \\d+ images cannot be read")  # rows say it
        X = featurizer.transform(list(names))
    for i in np.flatnonzero(np.isnan(X).any(axis=1)).tolist():
        try:
            X[i] = strict.transform([names[i]])[0]
        except ImageError as error:
            missing = "the file is missing"  # which is refused before anything is read
            reasons[i] = str(error.__cause__) if error.__cause__ else missing
    return X, reasons
