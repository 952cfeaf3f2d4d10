"""Predictions as a file: every row right, whatever happens on the way."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import skclip
from skclip import CLIPFeaturizer, SelectiveClassifier
from skclip.datasets import save_digits_images, tiny_clip
from skclip.exceptions import ImageError, PersistenceError
from skclip.utils.csv_cells import text_of_cell
from skclip.workflow import fit_dataset, predict_files


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a classifier, and images to predict."""
    folder = tmp_path_factory.mktemp("saved")
    paths, _ = save_digits_images(folder / "digits", n_per_class=6, shift="rotated")
    report = fit_dataset(folder / "digits", pretrained=tiny_clip(), device="cpu", threshold=0.98)
    return skclip.save(report.pipeline, folder / "classifier.safetensors"), paths


def read(path):
    with open(path, encoding="utf-8", newline="") as file:  # noqa: PTH123
        return list(csv.DictReader(file))


def test_rows_are_what_the_pipeline_says(saved, tmp_path):
    file, paths = saved
    report = predict_files(file, paths, tmp_path / "out.csv", all_classes=True, chunk_size=7)
    assert (report.n_files, report.n_rows, report.n_resumed, report.n_unreadable) == (60, 60, 0, 0)
    pipeline = skclip.load(file)
    proba = pipeline.predict_proba(paths)
    rows = read(tmp_path / "out.csv")
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert [row["class"] for row in rows] == pipeline.classes_[proba.argmax(axis=1)].tolist()
    found = np.array([float(row["probability"]) for row in rows])
    np.testing.assert_allclose(found, proba.max(axis=1), atol=1e-4)
    every = [[float(row[f"p({label})"]) for label in pipeline.classes_] for row in rows]
    np.testing.assert_allclose(every, proba, atol=1e-4)
    abstains = pipeline.predict(paths) == "abstain"
    assert [row["abstain"] == "yes" for row in rows] == abstains.tolist()
    assert 0 < report.n_abstained == abstains.sum() < 60
    assert sorted(os.listdir(tmp_path)) in (  # noqa: PTH208
        [".out.csv.lock", "out.csv"],
        ["out.csv"],
    )


def test_rows_abstain_by_the_score_of_the_classifier(saved, tmp_path):
    """A threshold of another score than the probability is not compared with the probability."""
    file, paths = saved
    frozen = FrozenEstimator(skclip.load(file)[-1].estimator_)
    reader = CLIPFeaturizer(pretrained=tiny_clip())
    X = reader.transform(paths)
    selective = SelectiveClassifier(frozen, selection_score="margin", threshold=1.0)
    pipeline = make_pipeline(reader, selective.fit(X, frozen.predict(X)))
    other = skclip.save(pipeline, tmp_path / "other.safetensors")
    report = predict_files(other, paths, tmp_path / "out.csv")
    abstains = pipeline.predict(paths) == "abstain"
    assert [row["abstain"] == "yes" for row in read(tmp_path / "out.csv")] == abstains.tolist()
    assert report.n_abstained == abstains.sum()


def test_an_image_that_cannot_be_read_has_the_reason_in_its_row(saved, tmp_path):
    file, paths = saved
    (tmp_path / "empty.png").write_bytes(b"")
    given = [paths[0], tmp_path / "empty.png", tmp_path / "gone.png", paths[1]]
    report = predict_files(file, given, tmp_path / "out.csv")
    assert report.n_unreadable == 2
    rows = read(tmp_path / "out.csv")
    assert [row["reason"] for row in rows] == ["", "the file is empty", "the file is missing", ""]
    assert [bool(row["class"]) for row in rows] == [True, False, False, True]
    predict_files(file, given, tmp_path / "skip.csv", on_error="skip")
    assert [row["path"] for row in read(tmp_path / "skip.csv")] == [str(given[0]), str(given[3])]
    with pytest.raises(ImageError, match=r"empty.png: the file is empty"):
        predict_files(file, given, tmp_path / "raise.csv", on_error="raise")
    assert not (tmp_path / "raise.csv").exists()


def test_unknown_images_abstain(saved, tmp_path):
    """A classifier that says "unknown" is asked as one that is unsure."""
    file, paths = saved
    featurizer, labels = skclip.load(file)[0], [Path(path).parent.name for path in paths]
    known = [i for i, label in enumerate(labels) if label != "nine"]
    open_set = skclip.OpenSetClassifier(skclip.GaussianDAClassifier(), false_alarm_rate=0.2)
    pipeline = make_pipeline(featurizer, open_set)
    pipeline.fit([paths[i] for i in known], [labels[i] for i in known])
    skclip.save(pipeline, tmp_path / "open.safetensors")
    report = predict_files(tmp_path / "open.safetensors", paths, out=tmp_path / "out.csv")
    unknown = pipeline.predict(paths) == "unknown"
    assert [row["abstain"] == "yes" for row in read(tmp_path / "out.csv")] == unknown.tolist()
    assert 0 < report.n_abstained == unknown.sum() < 60


@pytest.fixture
def interrupted(saved, tmp_path, monkeypatch):
    """A call that is interrupted in its third chunk; what it had to encode, in a list."""
    file, paths = saved
    encoded = []
    transform = CLIPFeaturizer.transform

    def counted(self, X):
        encoded.extend(X)
        if len(encoded) == 3 * 16:
            raise KeyboardInterrupt
        return transform(self, X)

    copies = [shutil.copy(path, tmp_path / f"{i}.png") for i, path in enumerate(paths)]
    monkeypatch.setattr(CLIPFeaturizer, "transform", counted)
    with pytest.raises(KeyboardInterrupt):
        predict_files(file, copies, tmp_path / "out.csv", chunk_size=16)
    assert not (tmp_path / "out.csv").exists()
    del encoded[:]
    encoded.append("more than")
    return file, copies, tmp_path / "out.csv", encoded


def finish(file, copies, out, **options):
    """Finish the call; its report, and whether the output is that of an uninterrupted one."""
    report = predict_files(file, copies, out, chunk_size=16, **options)
    again = out.with_name("again.csv")
    predict_files(file, copies, again, **options)
    assert out.read_bytes() == again.read_bytes()
    return report


def test_an_interrupted_call_goes_on_where_it_was(interrupted):
    file, copies, out, _ = interrupted
    assert finish(file, copies, out).n_resumed == 32


def test_half_a_row_of_a_kill_is_written_anew(interrupted):
    file, copies, out, _ = interrupted
    with out.with_name("out.csv.partial").open("ab") as rows:
        rows.write(b"/x/33.png,sev")
    assert finish(file, copies, out).n_resumed == 32


@pytest.mark.parametrize("change", ["image", "order", "option", "rows", "classifier"])
def test_nothing_is_taken_over_that_could_be_of_something_else(interrupted, tmp_path, change):
    file, copies, out, _ = interrupted
    options = {}
    if change == "image":
        shutil.copy(copies[59], copies[0])
    if change == "order":
        copies = copies[::-1]
    if change == "option":
        options["on_error"] = "skip"
    if change == "rows":
        rows = out.with_name("out.csv.partial")
        rows.write_bytes(rows.read_bytes().replace(b",no,", b",ye,", 1))
    if change == "classifier":
        pipeline = skclip.load(file)
        pipeline[-1].threshold_ = 0.9
        file = skclip.save(pipeline, tmp_path / "other.safetensors")
    assert finish(file, copies, out, **options).n_resumed == 0


def test_names_that_a_spreadsheet_would_run_are_harmless(saved, tmp_path):
    file, paths = saved
    name = tmp_path / '=cmd|"x"!A1.png'
    shutil.copy(paths[0], name)
    relative = os.path.relpath(name, tmp_path)
    cwd = os.getcwd()  # noqa: PTH109
    os.chdir(tmp_path)
    try:
        predict_files(file, [relative], "out.csv")
    finally:
        os.chdir(cwd)
    (row,) = read(tmp_path / "out.csv")
    assert row["path"].startswith("'=")
    assert text_of_cell(row["path"]) == relative


def test_a_file_of_something_else_is_refused(saved, tmp_path):
    file, paths = saved
    classifier = skclip.save(skclip.load(file)[-1], tmp_path / "head.safetensors")
    with pytest.raises(PersistenceError, match="pipeline that begins with CLIPFeaturizer"):
        predict_files(classifier, paths, tmp_path / "out.csv")
    for wrong in ({"on_error": "no"}, {"chunk_size": 0}):
        with pytest.raises(ValueError, match="must be"):
            predict_files(file, paths, tmp_path / "out.csv", **wrong)
