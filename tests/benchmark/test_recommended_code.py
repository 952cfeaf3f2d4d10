"""The code of the page makes the numbers of the page."""

import ast
import html
import json
import re

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

import skclip
from skclip.benchmark import load_feature_dataset, read_results, recommend, report, run
from skclip.benchmark.episodes import Episode, draw_support
from skclip.benchmark.manifest import MANIFEST
from skclip.datasets import draw_few_shots, load_image_folder, save_digits_images, tiny_clip
from skclip.exceptions import DatasetError

from .result_rows import row, write_results

KNOWN = {name: getattr(skclip, name) for name in skclip.__all__} | {
    each.__name__: each
    for each in (make_pipeline, CalibratedClassifierCV, FrozenEstimator, KFold, LogisticRegression)
}
MINE = {"name": "mine", "base": "bayes", "parameters": {"prior_precision": 30.0}}


def code_of(page):
    """The lines of Python on a page: they end what is preformatted."""
    (text,) = re.findall(r"<pre>(.*?)</pre>", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(text).rpartition("\n\n")[2]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folders train and test, of classes whose names have two words."""
    folder = tmp_path_factory.mktemp("images") / "digits"
    save_digits_images(folder / "all", n_per_class=8)
    for path in sorted((folder / "all").glob("*/*.png")):
        half = "train" if int(path.stem) % 2 else "test"
        target = folder / half / f"number_{path.parent.name}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for path in (folder / "all").glob("*"):
        path.rmdir()
    (folder / "all").rmdir()
    return folder


@pytest.mark.parametrize(
    "method", ["zero-shot", "zs-lp", "bayes", "bayes-paper", "clap", "gda", "tip-adapter-f", MINE]
)
def test_code_for_images_makes_the_numbers(digits, tmp_path, method):
    """With templates, norm, seed and weights that are not those of the defaults."""
    table = {
        "folder": str(digits),
        "pretrained": tiny_clip(),
        "templates": ["a photo of the digit {}.", 'it\'s "{}", art.'],
        "normalize": False,
    }
    run([table], tmp_path, methods=(method,), shots=(2,), seeds=(7,), verbose=0)
    (measured,) = read_results(tmp_path)
    data = load_image_folder(digits)
    rows = draw_few_shots(data.train.labels, 2, 7)
    named = np.array([data.class_names[label] for label in range(10)])
    space = KNOWN | {
        "image_paths": data.train.paths[rows],
        "class_names": named[data.train.labels[rows]],
        "new_image_paths": data.test.paths,
    }
    exec(code_of(report(tmp_path) / "index.html"), space)
    y = named[data.test.labels]
    classes = space["pipe"].classes_
    proba = space["probabilities"]
    assert log_loss(y, proba, labels=classes) == pytest.approx(float(measured["nll"]), rel=1e-4)
    accuracy = accuracy_score(y, classes[proba.argmax(axis=1)])
    assert accuracy == pytest.approx(float(measured["accuracy"]), rel=1e-5)


@pytest.mark.parametrize("calibrator", ["none", "temperature"])
def test_code_for_features_makes_the_numbers(feature_file, tmp_path, calibrator):
    table = {"features": str(feature_file), "name": "mine"}
    given = {"methods": ("random-lp",), "calibrators": (calibrator,), "verbose": 0}
    run([table], tmp_path, shots=(4,), seeds=(3,), **given)
    (measured,) = read_results(tmp_path)
    data = load_feature_dataset(feature_file)
    support = draw_support(data, Episode("mine", "train", 4, 3))
    space = KNOWN | {
        "prototypes": data.prototypes,
        "X": support.X,
        "y": support.y,
        "X_val": support.X_val,
        "y_val": support.y_val,
        "X_new": data.features["test"],
    }
    exec(code_of(report(tmp_path) / "index.html"), space)
    loss = log_loss(data.labels["test"], space["probabilities"])
    assert loss == pytest.approx(float(measured["nll"]), rel=1e-5)


def test_the_page_has_the_path_and_the_templates(digits, tmp_path):
    table = {"folder": str(digits), "pretrained": tiny_clip(), "templates": "a photo of the {}."}
    run([table], tmp_path, methods=("gda",), shots=(1,), seeds=(1,), verbose=0)
    code = code_of(report(tmp_path) / "index.html")
    assert f'CLIPFeaturizer(pretrained="{tiny_clip()}"' in code
    assert "ClassPrompts(clip, templates='a photo of the {}.')" in code
    assert code == recommend(tmp_path).code


def test_a_folder_of_results_may_be_moved_and_paths_hold(digits, tmp_path, monkeypatch):
    """What was relative when the study ran is not when its page is read."""
    monkeypatch.chdir(tiny_clip().removeprefix("local-dir:") + "/..")
    table = {"folder": str(digits), "pretrained": "local-dir:tiny_clip"}
    run([table], tmp_path / "out", methods=("gda",), shots=(1,), seeds=(1,), verbose=0)
    (tmp_path / "out").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert f'pretrained="{tiny_clip()}"' in recommend(tmp_path / "moved").code


# -- results that come from someone else ------------------------------------------------


HOSTILE = ('x"); f() #', "x'); f() #", "a\nf()", "\\", '\\"); f()', "{f()}")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_literals_in_the_code(tmp_path, name):
    """Of the backbone as of the method: what is read there runs nowhere."""
    for rows in ([row("bayes", backbone=f"{name} {name}")], [row(name)]):
        code = recommend(write_results(tmp_path, rows)).code
        called = [node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        assert "f" not in {ast.unparse(function) for function in called}


def manifest_of(tmp_path, **changes):
    entry = {"model": {"model": None, "pretrained": "p"}, "text_norm": 8.0, "left_out": 0}
    method = {"estimator": "BayesAdapterClassifier", "parameters": {}, "recipe": None}
    manifest = {
        "datasets": {"ants\nprecomputed": entry | changes.get("dataset", {})},
        "methods": {"mine": method | changes.get("method", {})},
    }
    write_results(tmp_path, [row("mine")])
    (tmp_path / MANIFEST).write_text(changes.get("text", json.dumps(manifest)))
    return tmp_path


def test_a_method_of_a_manifest_is_written_out(tmp_path):
    code = recommend(manifest_of(tmp_path, method={"parameters": {"prior_precision": "f()"}})).code
    assert (
        "BayesAdapterClassifier(ClassPrompts(clip), prior_precision='f()', random_state=1)" in code
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "["},
        {"text": "[" * 100_000},
        {"text": "[]"},
        {"text": '{"datasets": {}, "methods": []}'},
        {"dataset": {"model": {"x=1, **f()": 1}}},
        {"dataset": {"model": "os"}},
        {"dataset": {"text_norm": "f()"}},
        {"method": {"parameters": {"x=f(), y": 1}}},
        {"method": {"recipe": ["f()"]}},
        {"method": {"estimator": None}},
        {"method": {"estimator": "os.abort"}},
        {"method": {"parameters": {"estimator": "f()"}}},
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, changes):
    with pytest.raises(DatasetError, match="must be|must hold|must describe"):
        recommend(manifest_of(tmp_path, **changes))
