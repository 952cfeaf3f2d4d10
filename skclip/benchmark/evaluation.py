"""Fitting one method to one draw, and measuring it on the test split."""

import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from threadpoolctl import threadpool_limits

import skclip.metrics as metrics
from skclip.benchmark.episodes import Episode, draw_support
from skclip.benchmark.feature_data import FeatureDataset
from skclip.benchmark.memory import PeakMemory
from skclip.benchmark.method_registry import Method, calibrate
from skclip.benchmark.sources import Source
from skclip.exceptions import DatasetError

__all__ = [
    "KEY",
    "MADE_FROM",
    "MEASURED",
    "METRICS",
    "TESTED",
    "VALUES",
    "Cell",
    "evaluate",
    "made_from",
    "measure",
]

THRESHOLDS = (0.80, 0.85, 0.90, 0.95, 0.99)
KEY = ("dataset", "backbone", "support", "shots", "seed", "method", "calibrator")
# Names of metrics; fractions, nats for nll.
METRICS = (
    *("accuracy", "nll", "brier", "ece", "aece", "mce", "aurc"),
    *(f"sample_coverage_{round(100 * t)}" for t in THRESHOLDS),
    *(f"class_coverage_{round(100 * t)}" for t in THRESHOLDS),
)
# What differs between two runs of the same fit.
MEASURED = ("fit_seconds", "predict_seconds", "peak_mib")
# What a row was made from: features, draw, configuration of the method, versions of packages.
MADE_FROM = ("weights", "episode", "configuration", "versions")
# Of the rows that were tested: their number, that of classes, and the share of the largest.
TESTED = ("n_test", "n_classes", "largest_class")
VALUES = (*METRICS, *MEASURED, *TESTED, "n_warnings", "status", "error", *MADE_FROM)


@dataclass(frozen=True)
class Cell:
    """One fit: a source, a draw, a method, and the calibrators to try on it."""

    source: Source
    episode: Episode
    method: Method
    calibrators: tuple[str, ...]

    def tests(self) -> list[tuple[tuple[str, ...], Source]]:
        """Key of each row, and what is tested in it: the data set itself, then its shifts."""
        tail = (str(self.episode.shots), str(self.episode.seed), self.method.name)
        return [
            ((dataset, backbone, support, *tail, calibrator), tested)
            for dataset, backbone, support, tested in self.source.settings()
            for calibrator in self.calibrators
        ]


def made_from(tested: FeatureDataset, draw: str, method: Method | None = None) -> dict[str, str]:
    """The values of MADE_FROM of a row, without `method` those that do not depend on it."""
    found = {"weights": tested.fingerprint, "episode": draw}
    if method is None:
        return found
    names = ("numpy", "scipy", "scikit-learn", "torch")
    versions = " ".join(f"{name}={version(name)}" for name in ("skclip", *names))
    return found | {"configuration": method.fingerprint, "versions": versions}


def measure(
    y_true: NDArray[Any], y_proba: NDArray[np.floating[Any]], labels: NDArray[Any]
) -> dict[str, float]:
    """METRICS of predictions; coverages are NaN where they are not reliable."""
    given: dict[str, Any] = {"labels": labels}
    values = {
        "accuracy": accuracy_score(y_true, labels[y_proba.argmax(axis=1)]),
        "nll": log_loss(y_true, y_proba, **given),
        "brier": brier_score_loss(y_true, y_proba, scale_by_half=False, **given),
        "ece": metrics.expected_calibration_error(y_true, y_proba, **given),
        "aece": metrics.expected_calibration_error(y_true, y_proba, strategy="quantile", **given),
        "mce": metrics.maximum_calibration_error(y_true, y_proba, **given),
        "aurc": metrics.area_under_risk_coverage(y_true, y_proba, **given),
    }
    confidence = y_proba.max(axis=1)
    correct = labels[y_proba.argmax(axis=1)] == y_true
    for threshold in THRESHOLDS:
        chosen = confidence >= threshold - 1e-12
        reliable = chosen.any() and correct[chosen].mean() >= threshold - 1e-12
        samples = chosen.mean() if reliable else np.nan
        classes = len(np.unique(y_true[chosen])) / len(labels) if reliable else np.nan
        values[f"sample_coverage_{round(100 * threshold)}"] = samples
        values[f"class_coverage_{round(100 * threshold)}"] = classes
    return values


def evaluate(cell: Cell) -> list[tuple[dict[str, str], Any]]:
    """Rows and compact predictions of one fit, one of each per test and calibrator.

    A failure is a row with ``status="failed"`` and the last line of the error; predictions
    are then the traceback. Work is done by one thread, so that numbers do not depend on how
    many processes share the machine.
    """
    data = cell.source.data
    measured: dict[str, Any] = {}
    draw, fitted, failure = "", None, None
    try:
        support = draw_support(data, cell.episode)
        draw = support.fingerprint
        with _one_thread(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = cell.method.make(data, cell.episode.seed)
            with PeakMemory() as peak:
                start = time.perf_counter()
                fitted = estimator.fit(support.X, support.y)
                measured["fit_seconds"] = f"{time.perf_counter() - start:.4f}"
        measured |= {"peak_mib": f"{peak.mib:.0f}", "n_warnings": str(len(caught))}
    except Exception as error:
        failure = _failed(error)
    rows = []
    for key, source in cell.tests():
        test = source.data
        found = dict.fromkeys(VALUES, "") | dict(zip(KEY, key, strict=True)) | measured
        found |= _tested(test) | made_from(test, draw, cell.method)
        values, predictions = failure or _predict(data, test, support, fitted, key[-1])
        rows.append((found | values, predictions))
    return rows


def _columns(data, test):
    """Where the classes of a test are among those of `data`, by name if they are others."""
    if test.class_names == data.class_names:
        return range(len(data.class_names))
    for name in test.class_names:
        if data.class_names.count(name) != 1:
            raise DatasetError(
                "Every class of a shift must be one of the data set that was fitted; got "
                f"{name!r}, which is {data.class_names.count(name)} of them."
            )
    return [data.class_names.index(name) for name in test.class_names]


def _predict(data, test, support, fitted, calibrator):
    """Values of a row and what is kept of the predictions, or the failure."""
    try:
        columns = _columns(data, test)
        with _one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier = calibrate(calibrator, fitted, support)
            start = time.perf_counter()
            proba = classifier.predict_proba(test.features["test"])
            seconds = time.perf_counter() - start
        y, classes = test.labels["test"], classifier.classes_
        whole = _all_columns(proba, classes, len(data.class_names))
        if len(columns) < len(data.class_names):
            whole = whole[:, columns] + np.finfo(float).tiny  # a row of zeros becomes uniform
            proba = whole = whole / whole.sum(axis=1, keepdims=True)
            classes = np.arange(len(columns))
        values = measure(y, whole, np.arange(len(columns)))
    except Exception as error:
        return _failed(error)
    found = {name: _text(values[name]) for name in METRICS}
    found |= {"status": "ok", "predict_seconds": f"{seconds:.4f}"}
    return found, compact(y, proba, classes)


def _all_columns(proba, classes, n_classes):
    """Columns for all classes: what was fitted without text does not know those without rows."""
    proba = proba.astype(np.float64)
    proba = proba / proba.sum(axis=1, keepdims=True)
    if len(classes) == n_classes:
        return proba
    whole = np.zeros((len(proba), n_classes))
    whole[:, classes] = proba
    return whole


def compact(y, proba, classes):
    """Per test row: the predicted code, its probability and that of the true class."""
    top = proba.argmax(axis=1)
    column = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    true = np.where(classes[column] == y, proba[np.arange(len(y)), column], 0.0)
    return {
        "true": y.astype(np.int32),
        "predicted": classes[top].astype(np.int32),
        "confidence": proba.max(axis=1).astype(np.float32),
        "true_probability": true.astype(np.float32),
    }


def _tested(test):
    counts = np.bincount(test.labels["test"], minlength=len(test.class_names))
    share = counts.max() / counts.sum()
    return dict(zip(TESTED, (str(counts.sum()), str(len(counts)), _text(share)), strict=True))


def _failed(error):
    """What a row says of a failure, and the traceback."""
    words = f"{type(error).__name__}: {error}".split()
    return {"status": "failed", "error": " ".join(words)}, traceback.format_exc()


def _text(value):
    return "" if np.isnan(value) else f"{value:.6g}"


@contextmanager
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
