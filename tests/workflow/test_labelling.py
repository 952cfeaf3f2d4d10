"""The loop of labelling: what is asked next, and answers that are not lost."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skclip
from skclip import BayesAdapterClassifier, SelectiveClassifier
from skclip.cli import main
from skclip.datasets import load_image_csv, make_clip_features, save_digits_images, tiny_clip
from skclip.decisions import acquisition
from skclip.exceptions import DatasetError
from skclip.workflow import LabelFile, fit_dataset, images_to_label


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    save_digits_images(folder / "photos", n_per_class=2, shift="rotated")
    paths, labels = save_digits_images(folder / "new", n_per_class=6, shift="combined")
    report = fit_dataset(folder / "photos", pretrained=tiny_clip(), device="cpu", threshold=0.5)
    file = skclip.save(report.pipeline, folder / "classifier.safetensors")
    truth = {str(p): str(label) for p, label in zip(paths, labels, strict=True)}
    return folder, file, paths, truth


def test_acquisition_looks_through_what_is_around_a_classifier():
    data = make_clip_features(5, 4, random_state=0)
    inner = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    expected = inner.acquisition(data.X_test)
    selective = SelectiveClassifier(FrozenEstimator(inner), threshold=0.5).fit(data.X, data.y)
    for wrapped in (FrozenEstimator(inner), selective, make_pipeline(selective)):
        np.testing.assert_array_equal(acquisition(wrapped, data.X_test), expected)
    with pytest.raises(ValueError, match="must end in a classifier with a method acquisition"):
        acquisition(LogisticRegression().fit(data.X, data.y), data.X_test)


def test_images_come_in_the_order_of_what_their_labels_are_worth(saved):
    _, file, paths, _ = saved
    candidates = images_to_label(file, paths, kind="entropy")
    pipeline = skclip.load(file)
    scores = acquisition(pipeline, paths, "entropy")
    expected = [str(paths[row]) for row in np.argsort(-scores, kind="stable")]
    assert [c.path for c in candidates][:20] == expected[:20]
    first = candidates[0]
    proba = pipeline.predict_proba([first.path])[0]
    assert first.suggestions[0][0] == pipeline.classes_[proba.argmax()]
    assert [p for _, p in first.suggestions] == sorted((p for _, p in first.suggestions))[::-1]


def test_labels_are_read_as_a_data_set_and_the_last_one_counts(tmp_path):
    paths, _ = save_digits_images(tmp_path / "x", n_per_class=1)
    labels = LabelFile(tmp_path / "labels.csv")
    assert labels.labels() == {}
    labels.add([(paths[0], "=zero"), (paths[1], "one")])
    labels.add([(paths[2], "two")])
    named = zip(paths[:3], ("=zero", "one", "two"), strict=True)
    assert labels.labels() == {str(path): name for path, name in named}
    assert "'=zero" in labels.path.read_text()
    data = load_image_csv(labels.path)
    assert list(data.class_names.values()) == ["=zero", "one", "two"]
    with labels.path.open("a") as file:
        file.write(str(paths[3]))  # half a line of a kill
    labels.add([(paths[4], "four")])
    assert labels.labels()[str(paths[4])] == "four"
    assert str(paths[3]) not in labels.labels()


@pytest.mark.parametrize("header", ["label,path", "path,label,split", "path;label", "a,b"])
def test_labels_are_not_added_to_another_table(header, tmp_path):
    """They would be read as something else."""
    (tmp_path / "table.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(DatasetError, match="must be a new file, or one of labels with the columns"):
        LabelFile(tmp_path / "table.csv").labels()


def test_the_command_goes_on_where_it_was_and_fit_takes_its_file(
    saved, tmp_path, monkeypatch, capsys
):
    folder, file, paths, truth = saved
    out = tmp_path / "labels.csv"
    command = ["label", str(file), str(folder / "new"), "--out", str(out), "--quiet"]
    command += ["--labelled", str(folder / "photos")]
    order = [c.path for c in images_to_label(file, paths)]

    def answer(answers):
        given = iter(answers)
        monkeypatch.setattr("builtins.input", lambda prompt: next(given))
        assert main(command) == 0
        return capsys.readouterr().out

    printed = answer([truth[order[0]], "", "-", "2", "99", "q", "q"])
    assert f"1 of 50: {order[0]}" in printed
    assert "there are 10 suggestions" in printed
    assert "3 labels added" in printed
    found = LabelFile(out).labels()
    assert len(found) == 20 + 3
    assert found[order[0]] == truth[order[0]]
    assert order[2] not in found
    printed = answer(["a new thing", "n", "q"])
    assert f"1 of 50: {order[2]}" in printed  # what was passed over comes again
    printed = answer(["a new thing", "y", "q"])
    assert LabelFile(out).labels()[order[2]] == "a new thing"
    report = fit_dataset(out, pretrained=tiny_clip(), device="cpu")
    assert len(report.train) == 24
    assert "a new thing" in report.pipeline.classes_


def test_a_picture_is_two_pixels_in_a_cell(saved):
    from PIL import Image

    from skclip.cli.label import _picture

    folder, *_ = saved
    Image.new("RGB", (10, 5), (255, 0, 7)).save(folder / "flat.png")
    lines = _picture(str(folder / "flat.png")).split("\n")
    assert len(lines) == 2
    assert all(line.count("▀") == 10 for line in lines)
    assert lines[0].startswith("\x1b[38;2;255;0;7m\x1b[48;2;255;0;7m▀")
