"""Three commands from a folder of images to predictions, and the same in Python."""

import csv
import subprocess
import sys

import numpy as np
import pytest

import skclip
from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer
from skclip.cli import main
from skclip.datasets import save_digits_images, tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labelled photographs in one folder per class, and new ones in another, one unreadable."""
    folder = tmp_path_factory.mktemp("user")
    save_digits_images(folder / "photos", n_per_class=6, shift="rotated")
    new = folder / "new"
    save_digits_images(new, n_per_class=9, shift="rotated")
    for i, path in enumerate(sorted(new.glob("*/*.png"))):
        if i % 9 < 6:
            path.unlink()  # seen
    (new / "broken.png").write_bytes(b"no image")
    return folder


def run(folder, *arguments, code=0):
    command = [sys.executable, "-m", "skclip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_three_commands_make_what_python_makes(folder):
    """Without reading more than --help: every option but the model is a default."""
    checked = run(folder, "check", "photos")
    assert "60 train" in checked
    assert "Nothing is wrong with it." in checked
    fitted = run(folder, "fit", "photos", "--pretrained", tiny_clip())
    assert "Fitted on 60 images of 10 classes." in fitted
    assert "Against the prompts alone, by class:" in fitted
    predicted = run(folder, "predict", "classifier.safetensors", "new")
    assert "31 rows in predictions.csv" in predicted
    assert "1 images could not be read" in predicted

    paths = sorted((folder / "photos").glob("*/*.png"))
    featurizer = CLIPFeaturizer(pretrained=tiny_clip())
    classifier = BayesAdapterClassifier(ClassPrompts(featurizer))
    classifier.fit(featurizer.transform(paths), [path.parent.name for path in paths])
    new = sorted((folder / "new").glob("*/*.png"))
    proba = classifier.predict_proba(featurizer.transform(new))
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    broken = [row for row in rows if row["reason"]]
    assert [(row["path"], row["class"]) for row in broken] == [("new/broken.png", "")]
    rows = [row for row in rows if not row["reason"]]
    assert [row["path"] for row in rows] == [str(path.relative_to(folder)) for path in new]
    assert [row["class"] for row in rows] == classifier.classes_[proba.argmax(axis=1)].tolist()
    found = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(found, proba.max(axis=1), atol=1e-4)
    loaded = skclip.load(folder / "classifier.safetensors")
    np.testing.assert_allclose(loaded.predict_proba(new), proba, atol=1e-4)


def test_nothing_of_the_user_s_is_overwritten(folder, tmp_path, monkeypatch, capsys):
    """It is said before anything is computed, and what is ours is replaced."""
    monkeypatch.chdir(folder)
    (tmp_path / "list.csv").write_text("path,label\n")
    model = ["--pretrained", tiny_clip(), "--quiet"]
    for out in (tmp_path / "list.csv", tmp_path, tmp_path / "page.html"):
        with pytest.raises(SystemExit, match="2"):
            main(["fit", "photos", *model, "--out", str(out)])
        assert "OUT must " in capsys.readouterr().err
    assert main(["fit", "photos", *model, "--out", str(tmp_path / "new" / "c")]) == 0
    assert main(["fit", "photos", *model, "--out", str(tmp_path / "new" / "c")]) == 0
    predict = ["predict", str(tmp_path / "new" / "c"), "new", "--quiet", "--out"]
    for out in (tmp_path / "list.csv", tmp_path, tmp_path / "new" / "c"):
        assert main([*predict, str(out)]) == 1
        assert "out must be a new file, or predictions to replace" in capsys.readouterr().err
    assert main([*predict, str(tmp_path / "p.csv")]) == 0
    assert main([*predict, str(tmp_path / "p.csv")]) == 0
    assert (tmp_path / "list.csv").read_text() == "path,label\n"


def test_where_no_image_can_be_read_predict_fails(folder, tmp_path, capsys):
    saved = tmp_path / "c"
    assert (
        main(["fit", str(folder / "photos"), "--pretrained", tiny_clip(), "--out", str(saved)]) == 0
    )
    (tmp_path / "list.txt").write_text("nowhere.png\n")
    out = ["--out", str(tmp_path / "p.csv")]
    assert main(["predict", str(saved), str(tmp_path / "list.txt"), *out]) == 1
    assert "error: no image could be read" in capsys.readouterr().err
    assert "the file is missing" in (tmp_path / "p.csv").read_text()


def test_a_warning_is_told_once(tmp_path, capsys):
    save_digits_images(tmp_path, n_per_class=3)
    (tmp_path / "one").rename(tmp_path / "Two")
    arguments = ["fit", str(tmp_path), "--pretrained", tiny_clip(), "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "c.safetensors")]) == 0
    assert capsys.readouterr().err.count("Every class needs a prototype of its own") == 1


def test_check_ends_with_1_where_numbers_would_be_wrong(folder, tmp_path, capsys):
    save_digits_images(tmp_path / "a", n_per_class=2)
    assert main(["check", str(tmp_path / "a"), "--quiet"]) == 0
    first = sorted((tmp_path / "a" / "zero").iterdir())[0]
    (tmp_path / "a" / "one" / "copy.png").write_bytes(first.read_bytes())
    assert main(["check", str(tmp_path / "a"), "--quiet"]) == 1
    assert "error: 2 images have a copy in another class" in capsys.readouterr().out


WRONG = {
    "no folder": (["check", "nowhere"], "SOURCE must exist; 'nowhere' is missing"),
    "no model": (["fit", "photos"], "a model must be named"),
    "two goals": (
        ["fit", "photos", "--coverage", "0.5", "--threshold", "0.5"],
        "not allowed with argument --coverage",
    ),
    "a goal of 1": (["fit", "photos", "--coverage", "1"], "must be between 0 and 1; got 1"),
    "no classifier": (["predict", "none", "new"], "CLASSIFIER must be a file that skclip fit"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_asked_for_wrongly_ends_with_code_2(
    arguments, message, folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_is_no_data_set_fails_with_its_reason(tmp_path, capsys):
    (tmp_path / "loose.png").write_bytes(b"")
    assert main(["fit", str(tmp_path), "--pretrained", tiny_clip(), "--quiet"]) == 1
    assert "must be a folder with one folder per class" in capsys.readouterr().err
