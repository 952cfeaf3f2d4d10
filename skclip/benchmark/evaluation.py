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
from skclip.benchmark.feature_data import load_feature_dataset
from skclip.benchmark.memory import PeakMemory
from skclip.benchmark.method_registry import Method, calibrate
from skclip.exceptions import DatasetError

__all__ = ["KEY", "MEASURED", "METRICS", "VALUES", "Cell", "evaluate", "measure"]

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
VALUES = (*METRICS, *MEASURED, "n_warnings", "status", "error", "episode", "weights", "versions")


@dataclass(frozen=True)
class Cell:
    """One fit: a data set's file, a draw, a method, and the calibrators to try on it.

    `shifts` are (name, file) of further data sets that the same fit is tested on.
    """

    path: str
    episode: Episode
    method: Method
    calibrators: tuple[str, ...]
    shifts: tuple[tuple[str, str], ...] = ()

    def keys(self, backbone: str) -> list[tuple[str, ...]]:
        """Of the rows; the support of a shift names what was fitted: "imagenet:train"."""
        e = self.episode
        tested = [(e.dataset, e.support)]
        tested += [(name, f"{e.dataset}:{e.support}") for name, _ in self.shifts]
        tail = (str(e.shots), str(e.seed), self.method.name)
        return [(n, backbone, s, *tail, c) for n, s in tested for c in self.calibrators]


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
    """Rows and compact predictions of one fit, one of each per calibrator.

    A failure is a row with ``status="failed"`` and the last line of the error; predictions
    are then the traceback. Work is done by one thread, so that numbers do not depend on how
    many processes share the machine.
    """
    data = load_feature_dataset(cell.path)
    keys = cell.keys(data.backbone)
    common: dict[str, Any] = {}
    try:
        support = draw_support(data, cell.episode)
        common = {"episode": support.fingerprint}
        with _one_thread(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = cell.method.make(data, cell.episode.seed)
            with PeakMemory() as peak:
                start = time.perf_counter()
                fitted = estimator.fit(support.X, support.y)
                common["fit_seconds"] = time.perf_counter() - start
        common |= {"peak_mib": peak.mib, "n_warnings": len(caught)}
    except Exception as error:
        text = traceback.format_exc()
        return [(_failed(key, data, error, common), text) for key in keys]
    tests = [(data, range(len(data.class_names)))]
    rows = []
    try:
        tests += [_shift(data, path) for _, path in cell.shifts]
    except Exception as error:
        text = traceback.format_exc()
        rows = [(_failed(key, data, error, common), text) for key in keys[len(cell.calibrators) :]]
    pairs = zip(keys, (test for test in tests for _ in cell.calibrators), strict=False)
    return [_predict(data, test, support, fitted, key, common) for key, test in pairs] + rows


def _shift(data, path):
    """Another data set to test on, and where its classes are among those of `data`, by name."""
    test = load_feature_dataset(path)
    if test.class_names == data.class_names:
        return test, range(len(data.class_names))
    positions = []
    for name in test.class_names:
        if data.class_names.count(name) != 1:
            raise DatasetError(
                "Every class of a shift must be one of the data set that was fitted; got "
                f"{name!r}, which is {data.class_names.count(name)} of them, in {path}."
            )
        positions.append(data.class_names.index(name))
    return test, positions


def _predict(data, test, support, fitted, key, common):
    test, columns = test
    try:
        with _one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier = calibrate(key[-1], fitted, support)
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
        return _failed(key, data, error, common), traceback.format_exc()
    row = dict(zip(KEY, key, strict=True)) | {n: _text(values[n]) for n in METRICS}
    row |= {"status": "ok", "error": "", "predict_seconds": f"{seconds:.4f}"}
    return row | _shared(test, common), compact(y, proba, classes)


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


def _shared(data, common):
    names = ("numpy", "scipy", "scikit-learn", "torch")
    versions = " ".join(f"{name}={version(name)}" for name in ("skclip", *names))
    return {
        "fit_seconds": f"{common.get('fit_seconds', np.nan):.4f}",
        "peak_mib": f"{common.get('peak_mib', np.nan):.0f}",
        "n_warnings": str(common.get("n_warnings", 0)),
        "episode": common.get("episode", ""),
        "weights": data.fingerprint,
        "versions": versions,
    }


def _failed(key, data, error, common):
    row = dict.fromkeys((*METRICS, "predict_seconds"), "") | dict(zip(KEY, key, strict=True))
    lines = f"{type(error).__name__}: {error}".split()
    return row | _shared(data, common) | {"status": "failed", "error": " ".join(lines)}


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
