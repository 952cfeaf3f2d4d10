"""`skclip benchmark` and `skclip report`: from a folder of images to a page."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from skclip.benchmark import read_results
from skclip.cli import main
from skclip.datasets import make_clip_features, save_digits_images, tiny_clip

from ..benchmark.result_rows import row, write_results


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    data = make_clip_features(
        n_samples_per_class=6, n_classes=3, n_features=16, n_informative=8, random_state=0
    )
    path = tmp_path_factory.mktemp("features") / "mine.npz"
    np.savez(
        path,
        text_features=data.prototypes,
        train_features=data.X,
        train_labels=data.y,
        test_features=data.X_test,
        test_labels=data.y_test,
    )
    return path


def test_a_folder_of_images_ends_with_a_recommendation(tmp_path, capsys):
    save_digits_images(tmp_path / "digits", n_per_class=8)
    model = ["--pretrained", tiny_clip(), "--templates", "a photo of the digit {}."]
    out = tmp_path / "out"
    command = ["benchmark", str(tmp_path / "digits"), *model, "--out", str(out), "--quiet"]
    assert main([*command, "--methods", "zero-shot", "bayes", "--seeds", "1", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Shots needed: " in printed
    assert f'CLIPFeaturizer(pretrained="{tiny_clip()}")' in printed
    assert "templates='a photo of the digit {}.'" in printed
    rows = read_results(out)
    # Four of eight images per class are held out: one and two shots, two draws, two methods.
    assert {row["shots"] for row in rows} == {"1", "2"}
    assert len(rows) == 8

    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report" / "index.html")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    answer, errors = page.index("<h2>Answer"), page.index("<h2>Errors by class")
    assert answer < page.index(" recognises ") < errors < page.index("<h2>Over shots")
    assert ">seven</td>" in page[errors:]
    assert page.count("<img ") == page.count("<span>taken for ")
    assert "Mean ranks" not in page  # of one data set


def test_what_is_embedded_is_compared_without_its_images(tmp_path, capsys):
    """The numbers are those of the images; they may be gone."""
    save_digits_images(tmp_path / "digits", n_per_class=6)
    study = ["--methods", "zero-shot", "gda", "--seeds", "1", "--shots", "2", "--quiet"]
    images = ["benchmark", str(tmp_path / "digits"), "--pretrained", tiny_clip()]
    assert main([*images, *study, "--out", str(tmp_path / "a")]) == 0
    features = str(tmp_path / "features")
    command = ["embed", str(tmp_path / "digits"), "--pretrained", tiny_clip(), "--quiet"]
    assert main([*command, "--out", features]) == 0
    shutil.rmtree(tmp_path / "digits")
    assert main(["benchmark", features, *study, "--out", str(tmp_path / "b")]) == 0
    first, second = (read_results(tmp_path / name) for name in "ab")
    names = ("method", "shots", "accuracy", "n_test")
    assert [[row[n] for n in names] for row in first] == [[row[n] for n in names] for row in second]
    wrong = ["benchmark", features, *study, "--out", str(tmp_path / "c"), "--model", "ViT-B-32"]
    assert main(wrong) == 2
    assert "model must be that of the embeddings" in capsys.readouterr().err


def test_copies_and_contradictions_are_said_and_take_no_part(tmp_path, capsys):
    save_digits_images(tmp_path / "digits", n_per_class=4)
    first = sorted((tmp_path / "digits" / "one").iterdir())[0]
    (tmp_path / "digits" / "one" / "copy.png").write_bytes(first.read_bytes())
    (tmp_path / "digits" / "two" / "other.tif").write_bytes(first.read_bytes())
    command = ["benchmark", str(tmp_path / "digits"), "--pretrained", tiny_clip(), "--quiet"]
    command += ["--methods", "zero-shot", "--shots", "1", "--seeds", "1", "--exclude", "*.tif"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "warning: 1 images are copies of another one" in capsys.readouterr().out
    assert {row["n_test"] for row in read_results(tmp_path / "out")} == {"20"}


def test_unreadable_images_stop_the_command_with_an_option_that_it_has(tmp_path, capsys):
    save_digits_images(tmp_path / "digits", n_per_class=4)
    (tmp_path / "digits" / "two" / "broken.png").write_bytes(b"no image")
    command = ["benchmark", str(tmp_path / "digits"), "--pretrained", tiny_clip(), "--quiet"]
    command += ["--methods", "zero-shot", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "1 of 41 images are not: " in error
    assert "--on-error skip" in error
    assert main([*command, "--on-error", "skip"]) == 0
    assert "1 of 41 images of digits cannot be read and are left out" in capsys.readouterr().err


def test_a_name_that_the_terminal_cannot_write_is_no_failure(tmp_path):
    """Ours are "±" and "✗"; others come from folders."""
    rows = [row("bayes", seed=seed, backbone="熊 猫") for seed in (1, 2)]
    write_results(tmp_path, rows)
    (tmp_path / "熊").symlink_to(tmp_path)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "skclip", "report", str(tmp_path / "熊")]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u718a/report/index.html" in done.stdout


def test_a_study_may_be_a_file_and_options_change_it(features, tmp_path, capsys):
    (tmp_path / "study.toml").write_text(
        f'methods = ["zero-shot"]\nshots = [1, 2]\n[[datasets]]\nfeatures = "{features}"\n'
    )
    command = ["benchmark", "--config", str(tmp_path / "study.toml"), "--quiet", "--no-predictions"]
    assert main([*command, "--seeds", "5"]) == 0
    assert "Method: Zero-shot" in capsys.readouterr().out
    rows = read_results(tmp_path / "results")
    assert [(row["shots"], row["seed"]) for row in rows] == [("1", "5"), ("2", "5")]
    assert not (tmp_path / "results" / "predictions").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either SOURCE or --config must be given, and not both"),
        (["photos", "--config", "x.toml"], "either SOURCE or --config must be given"),
        (["--config", "x.toml", "--model", "RN50"], "model are in the file of --config"),
    ],
)
def test_what_is_asked_for_wrongly_has_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_fits_that_fail_are_told_and_have_code_1(features, tmp_path, capsys):
    (tmp_path / "study.toml").write_text(
        'shots = [1]\nseeds = [1]\nmethods = ["bayes", {name = "broken", base = "bayes", '
        f'parameters = {{prior_precision = -1.0}}}}]\n[[datasets]]\nfeatures = "{features}"\n'
    )
    assert main(["benchmark", "--config", str(tmp_path / "study.toml"), "--quiet"]) == 1
    assert "1 fits failed: the reasons are in" in capsys.readouterr().out


def test_results_that_are_not_there_have_code_1(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "Results must be in a folder with results.csv" in capsys.readouterr().err
