"""What to label next, and labels in a file that an interrupt does not lose."""

import csv
import io
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skclip.datasets import load_image_csv, load_image_folder
from skclip.decisions import acquisition
from skclip.exceptions import DatasetError, LeftOutWarning
from skclip.utils.csv_cells import safe_cell
from skclip.utils.csv_tables import read_table
from skclip.utils.files import decode_text
from skclip.workflow.saved_pipeline import load_pipeline

__all__ = ["Candidate", "LabelFile", "images_to_label"]


class Candidate(NamedTuple):
    """An image that a label is worth something of.

    Attributes
    ----------
    path : str
    score : float
        What the label is worth, see :func:`skclip.decisions.acquisition`.
    suggestions : tuple of (str, float)
        Classes and their probabilities, the most probable first.
    """

    path: str
    score: float
    suggestions: tuple[tuple[str, float], ...]


def images_to_label(
    classifier: str | PathLike[str],
    paths: Sequence[str | PathLike[str]],
    *,
    kind: str = "bald",
    device: str | None = None,
    batch_size: int | str = "auto",
    cache_dir: str | Path | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> list[Candidate]:
    """Images in the order in which labels of them are worth most to a saved classifier.

    Parameters
    ----------
    classifier : path-like
        What :func:`skclip.save` wrote of a pipeline that begins with CLIPFeaturizer.
    paths : sequence of n paths
        Unlabelled images; those that cannot be read are left out, with a warning.
    kind : {"bald", "entropy", "margin"}, default="bald"
        As for :func:`skclip.decisions.acquisition`.
    device : str, default=None
        Where the model runs; None for what the classifier says.
    batch_size, cache_dir, n_jobs, verbose
        Of :class:`skclip.CLIPFeaturizer`.

    Returns
    -------
    list of Candidate
        The most valuable first.

    Raises
    ------
    PersistenceError
        If the file holds no such pipeline.
    """
    pipeline = load_pipeline(classifier, device)
    names = [os.fspath(path) for path in paths]
    if not names:
        return []
    featurizer = pipeline[0].set_params(
        on_error="nan", batch_size=batch_size, cache_dir=cache_dir, n_jobs=n_jobs, verbose=verbose
    )
    X = featurizer.transform(names)
    readable = np.flatnonzero(~np.isnan(X).any(axis=1))
    if not len(readable):
        return []
    scores = acquisition(pipeline[1:], X[readable], kind)
    proba = pipeline[1:].predict_proba(X[readable])
    classes = [str(label) for label in pipeline.classes_]
    return [
        Candidate(
            names[readable[row]],
            float(scores[row]),
            tuple((classes[c], float(proba[row, c])) for c in np.argsort(-proba[row])),
        )
        for row in np.argsort(-scores, kind="stable")
    ]


class LabelFile:
    """Labels of images in a CSV file, as :func:`skclip.datasets.load_image_csv` reads it.

    Each label is on disk when :meth:`add` returns; the last one of an image counts.

    Parameters
    ----------
    path : path-like
        Made when the first label is added; what is there is gone on with.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    def labels(self) -> dict[str, str]:
        """The label of each absolute path.

        Returns
        -------
        dict of str to str

        Raises
        ------
        DatasetError
            If the file holds anything else.
        """
        if not self.path.exists():
            return {}
        content = self.path.read_bytes()
        if not content.strip():
            return {}
        # What is added has these two cells.
        if decode_text(content).split("\n", 1)[0].strip() != "path,label":
            raise DatasetError(
                f"{self.path} must be a new file, or one of labels with the columns path,label; it "
                "is something else. Give another name (--out of the command)."
            )
        found = {}
        for row in read_table(content, ["path", "label"]):
            if row["path"] and row["label"]:
                found[str((self.path.parent / row["path"]).absolute())] = row["label"]
        return found

    def add(self, labels: Iterable[tuple[str | Path, str]]) -> None:
        """Append labels, safe on disk.

        Parameters
        ----------
        labels : iterable of (path, str)
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if file.tell() == 0:
                writer.writerow(["path", "label"])
            else:
                file.seek(-1, os.SEEK_END)
                buffer.write("" if file.read(1) == b"\n" else "\n")  # half a line of a kill
            for path, label in labels:
                writer.writerow([safe_cell(str(Path(path).absolute())), safe_cell(label)])
            file.write(buffer.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())

    def start_from(self, source: str | PathLike[str]) -> int:
        """Begin a new file with the training images of a folder or CSV file.

        Parameters
        ----------
        source : path-like

        Returns
        -------
        int
            How many; 0 where the file is there already.
        """
        if self.path.exists():
            return 0
        rows = list(_labelled(Path(source).expanduser()))
        self.add(rows)
        return len(rows)


def _labelled(source: Path) -> Iterator[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)  # skclip check says it
        is_folder = source.is_dir()
        data = load_image_folder(source, underscores=True) if is_folder else load_image_csv(source)
    for path, label in zip(data.train.paths, data.train.labels.tolist(), strict=True):
        yield path, data.class_names[label]
