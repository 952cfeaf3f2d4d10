"""A study: every fit once, whatever happens to the processes."""

import csv
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from skclip import CLIPFeaturizer, ZeroShotClassifier
from skclip.benchmark import (
    MEASURED,
    METHODS,
    METRICS,
    Method,
    load_feature_dataset,
    read_config,
    read_results,
    run,
)
from skclip.benchmark.evaluation import KEY, measure
from skclip.benchmark.method_registry import estimator_class
from skclip.benchmark.runner import prediction_path
from skclip.datasets import (
    ImageDataset,
    ImageList,
    load_image_folder,
    save_digits_images,
    tiny_clip,
)
from skclip.exceptions import DatasetError
from skclip.metrics import reliability_coverage_table

CHEAP = ("zero-shot", "bayes", "logistic-regression")


def study(feature_file, out, **changes):
    arguments = {
        "datasets": [{"features": str(feature_file), "name": "small"}],
        "methods": CHEAP,
        "shots": (1, 2),
        "seeds": (1, 2),
        "verbose": 0,
    }
    return run(out=out, **{**arguments, **changes})


def comparable(out):
    """Rows without what differs between two runs of the same fit."""
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in read_results(out)]


def test_every_fit_has_one_row_with_every_metric(feature_file, tmp_path):
    path = study(feature_file, tmp_path, calibrators=("none", "temperature"))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CHEAP) * 2 * 2 * 2 == len({tuple(r[k] for k in KEY) for r in rows})
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert 0 <= float(row["accuracy"]) <= 1
        assert all(name in row for name in METRICS)
        assert float(row["fit_seconds"]) > 0
        assert float(row["peak_mib"]) > 0
        assert "scikit-learn=" in row["versions"]
        assert len(row["episode"]) == len(row["weights"]) == 16


def test_numbers_are_those_of_the_estimator_on_the_test_split(feature_file, tmp_path):
    study(feature_file, tmp_path, methods=("zero-shot",), shots=(1,), seeds=(1,))
    data = load_feature_dataset(feature_file)
    classifier = ZeroShotClassifier(data.prototypes).fit(
        data.features["train"], data.labels["train"]
    )
    proba = classifier.predict_proba(data.features["test"])
    (row,) = read_results(tmp_path)
    assert float(row["nll"]) == pytest.approx(log_loss(data.labels["test"], proba), rel=1e-5)
    stored = np.load(prediction_path(tmp_path, tuple(row[k] for k in KEY)))
    np.testing.assert_array_equal(stored["predicted"], proba.argmax(axis=1))
    true = proba[np.arange(len(proba)), data.labels["test"]]
    np.testing.assert_allclose(stored["true_probability"], true, rtol=1e-6)
    np.testing.assert_allclose(stored["confidence"], proba.max(axis=1), rtol=1e-6)


def test_coverages_are_those_of_the_papers_table():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(4, 0.2), size=300)
    y = np.array([rng.choice(4, p=p) for p in proba])
    values = measure(y, proba, np.arange(4))
    table = reliability_coverage_table(y, proba, labels=np.arange(4))
    for column, name in (("sample_coverage", "sample"), ("class_coverage", "class")):
        ours = [values[f"{name}_coverage_{t}"] for t in (80, 85, 90, 95, 99)]
        np.testing.assert_allclose(ours, table[column].to_numpy())


def test_what_is_done_is_not_done_again(feature_file, tmp_path):
    path = study(feature_file, tmp_path)
    text = path.read_text()
    study(feature_file, tmp_path)
    assert path.read_text() == text  # seconds and all
    study(feature_file, tmp_path, shots=(1, 2, 4))
    assert path.read_text().startswith(text.splitlines()[0])
    assert len(read_results(tmp_path)) == len(CHEAP) * 3 * 2


@pytest.mark.parametrize("n_jobs", [2, 4])
def test_rows_do_not_depend_on_the_number_of_processes(feature_file, tmp_path, n_jobs):
    study(feature_file, tmp_path / "one")
    study(feature_file, tmp_path / "many", n_jobs=n_jobs)
    assert comparable(tmp_path / "many") == comparable(tmp_path / "one")


def test_a_line_that_was_cut_off_is_computed_again(feature_file, tmp_path):
    path = study(feature_file, tmp_path)
    before = comparable(tmp_path)
    path.write_text(path.read_text()[:-30])
    study(feature_file, tmp_path)
    assert comparable(tmp_path) == before


SCRIPT = """
import sys
from skclip.benchmark import run
run([{"features": sys.argv[1], "name": "small"}], sys.argv[2], methods=("zero-shot", "bayes"),
    shots=(1, 2, 4), seeds=tuple(range(1, 11)), verbose=0)
"""


@pytest.mark.slow
def test_a_study_that_is_killed_ends_like_one_that_is_not(feature_file, tmp_path):
    """Twenty kills at random times after the start of the fits."""
    command = [sys.executable, "-c", SCRIPT, str(feature_file)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    out, kills, rng = tmp_path / "killed", 0, random.Random(0)
    finished, table = set(), out / "results.csv"
    while kills < 20:
        process = subprocess.Popen([*command, str(out)])
        size = table.stat().st_size if table.exists() else 0
        # Imports take seconds: wait until this run writes, then a little.
        while process.poll() is None and (not table.exists() or table.stat().st_size <= size):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.06))
        ended = process.poll() is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        now = {tuple(row[k] for k in KEY) for row in read_results(out)}
        assert finished <= now  # nothing that was finished is lost
        finished = now
        if ended:
            break
    assert kills >= 10
    subprocess.run([*command, str(out)], check=True)
    assert comparable(out) == comparable(tmp_path / "whole")
    assert not (out / "errors").exists()


def test_a_fit_that_fails_does_not_stop_the_others(feature_file, tmp_path):
    broken = Method("broken", "BayesAdapterClassifier", {"prior_precision": -1.0})
    study(feature_file, tmp_path, methods=("zero-shot", broken), shots=(1,), seeds=(1,))
    failed, fine = sorted(read_results(tmp_path), key=lambda row: row["method"])
    assert (failed["status"], fine["status"]) == ("failed", "ok")
    assert "InvalidParameterError: The 'prior_precision' parameter" in failed["error"]
    (trace,) = (tmp_path / "errors").iterdir()
    assert "Traceback (most recent call last)" in trace.read_text()


def test_images_are_embedded_once(tmp_path, monkeypatch):
    save_digits_images(tmp_path / "digits", shift="rotated")
    seen = []
    transform = CLIPFeaturizer.transform
    monkeypatch.setattr(
        CLIPFeaturizer, "transform", lambda self, X: seen.append(len(X)) or transform(self, X)
    )
    data = load_image_folder(tmp_path / "digits")
    half = {
        split: ImageList(data.train.paths[k::2], data.train.labels[k::2])
        for k, split in enumerate(("train", "test"))
    }
    table = {
        "dataset": ImageDataset("digits", data.class_names, half),
        "pretrained": tiny_clip(),
        "templates": "a photo of the digit {}.",
    }
    for _ in range(2):
        run([table], tmp_path / "out", methods=("bayes",), shots=(2,), seeds=(1,), verbose=0)
    assert seen == [448, 448]
    (row,) = read_results(tmp_path / "out")
    assert float(row["accuracy"]) > 0.5


# -- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("bays",)}, "methods must be among zero-shot, .*; got 'bays'"),
        ({"methods": ("bayes", "bayes")}, "Every method needs a name of its own; got 'bayes'"),
        ({"calibrators": ("platt",)}, "calibrators must be among"),
        ({"datasets": [{"name": "x"}]}, "A data set needs one source among features"),
        ({"datasets": [{"folder": "x", "csv": "y"}]}, "A data set needs one source among"),
        (
            {"methods": [{"name": "mine", "estimator": "os.system"}]},
            r"estimator must be one of LogisticRegression, .* of skclip; got 'os\.system'",
        ),
        ({"methods": [{"name": "mine", "params": {}}]}, "A method is a name, or a table with"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_before_it_runs(
    feature_file, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        study(feature_file, tmp_path, **changes)


def test_an_unknown_support_split_fails_with_the_known_ones(feature_file, tmp_path):
    datasets = [{"features": str(feature_file), "support": "dev"}]
    study(feature_file, tmp_path, datasets=datasets, shots=(1,), seeds=(1,), methods=("bayes",))
    (row,) = read_results(tmp_path)
    assert "Shots must be drawn from a split of small; got 'dev', and it has" in row["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("text_features"), "must hold text_features"),
        (lambda a: a.pop("val_labels"), "must hold val_labels; got val_features only"),
        (lambda a: a.update(test_labels=np.full(100, 5)), "test_labels must be codes from 0 to 4"),
        (lambda a: a.update(test_features=np.ones((100, 3))), r"test_features must be \(n, 24\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(feature_file, tmp_path, change, message):
    with np.load(feature_file) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        load_feature_dataset(tmp_path / "wrong.npz")


def test_features_may_be_a_folder_of_arrays(feature_file, tmp_path):
    with np.load(feature_file) as file:
        for name in file.files:
            np.save(tmp_path / f"{name}.npy", file[name])
    ours, theirs = load_feature_dataset(tmp_path), load_feature_dataset(feature_file)
    assert ours.fingerprint == theirs.fingerprint
    assert ours.class_names == ("ant", "bee", "cow", "dog", "emu")


def test_results_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Results must be in a folder with results\.csv"):
        read_results(tmp_path)


# -- the configuration file -------------------------------------------------------------


def test_a_configuration_is_the_arguments_of_run(feature_file, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_FOLDER", str(feature_file.parent))
    (tmp_path / "study.toml").write_text(
        """
        shots = [1]
        seeds = [1, 2]
        methods = [
            "zero-shot",
            {name = "firm", base = "bayes", parameters = {prior_precision = 300.0}},
        ]
        [[datasets]]
        name = "small"
        features = "$SOME_FOLDER/small.npz"
        """
    )
    config = read_config(tmp_path / "study.toml")
    assert Path(config["out"]) == tmp_path / "results"
    run(**config, verbose=0)
    assert {row["method"] for row in read_results(tmp_path / "results")} == {"zero-shot", "firm"}


def test_backbones_multiply_data_sets_of_images(tmp_path):
    (tmp_path / "study.toml").write_text(
        """
        backbones = [
            {model = "RN50", pretrained = "openai"},
            {model = "ViT-B-16", pretrained = "openai"},
        ]
        [[datasets]]
        few_shot = "dtd"
        root = "data"
        [[datasets]]
        features = "ready.npz"
        """
    )
    tables = read_config(tmp_path / "study.toml")["datasets"]
    assert [table.get("model") for table in tables] == ["RN50", "ViT-B-16", None]
    assert tables[0]["root"] == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shots = [1", "must be TOML; got an error"),
        ("shots = [1]", r"A study needs at least one \[\[datasets\]\] table"),
        ("shot = [1]", r"The keys of a study are backbones, .*; got \['shot'\]"),
        ('datasets = [{features = "$UNSET_FOLDER/x.npz"}]', "The variables in .* must be set"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, text, message):
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / "study.toml")


def test_every_known_method_runs(feature_file, tmp_path):
    """Few epochs for those trained by gradients: that they run is what is tested here."""
    methods = [
        {"name": name, "base": name, "parameters": {"max_iter": 3}}
        if {"max_iter"} & set(_parameters(method))
        else name
        for name, method in METHODS.items()
    ]
    study(feature_file, tmp_path, methods=methods, shots=(2,), seeds=(1,))
    failed = {r["method"]: r["error"] for r in read_results(tmp_path) if r["status"] != "ok"}
    assert not failed, json.dumps(failed, indent=1)


def _parameters(method):
    return inspect.signature(estimator_class(method.estimator)).parameters
