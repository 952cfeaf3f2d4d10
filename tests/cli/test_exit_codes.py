"""Whatever a file holds, a command ends with its exit code and a sentence."""

import contextlib
import io
import json
import random
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skclip.benchmark import METHODS, run
from skclip.cli import main
from skclip.datasets import make_clip_features, save_digits_images, tiny_clip


def ended(*arguments):
    """Exit code and standard error of the command; what is not an exit code is raised."""
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
    return code, error.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With features, images and results; the tests write beside them."""
    folder = tmp_path_factory.mktemp("study")
    data = make_clip_features(
        n_samples_per_class=3, n_classes=3, n_features=8, n_informative=4, random_state=0
    )
    np.savez(
        folder / "mine.npz",
        text_features=data.prototypes,
        train_features=data.X,
        train_labels=data.y,
        test_features=data.X_test[:60],
        test_labels=data.y_test[:60],
    )
    save_digits_images(folder / "digits", n_per_class=2)
    run(
        [{"features": str(folder / "mine.npz")}],
        folder / "results",
        methods=("zero-shot", "gda"),
        shots=(1, 2),
        seeds=(1, 2),
        verbose=0,
    )
    return folder


FEATURES = '[[datasets]]\nfeatures = "mine.npz"\n'
IMAGES = f'[[datasets]]\nfolder = "digits"\npretrained = "{tiny_clip()}"\n'
WRONG = {
    "empty": "",
    "no TOML": "shots = [1",
    "a byte order mark of another encoding": "\ufeff\ufeff",
    "deep arrays": "a = " + "[" * 50_000,
    "deep tables": "a = " + "{b = " * 50_000,
    "deep, and closed": "shots = " + "[" * 20_000 + "]" * 20_000 + "\n" + FEATURES,
    "a key twice": "shots = [1]\nshots = [2]\n" + FEATURES,
    "an unknown key": "shot = [1]\n" + FEATURES,
    "datasets of text": 'datasets = "mine.npz"',
    "datasets of a table": '[datasets]\nfeatures = "mine.npz"',
    "datasets of texts": 'datasets = ["mine.npz"]',
    "datasets of numbers": "datasets = [1, 2]",
    "backbones of text": 'backbones = "RN50"\n' + FEATURES,
    "backbones of texts": 'backbones = ["RN50"]\n' + FEATURES,
    "no source": '[[datasets]]\nname = "x"',
    "two sources": '[[datasets]]\nfolder = "x"\ncsv = "y"',
    "a source of a number": "[[datasets]]\nfeatures = 3",
    "a source of a list": '[[datasets]]\nfolder = ["digits"]',
    "a source of a table": "[[datasets]]\nfeatures = {a = 1}",
    "an empty source": '[[datasets]]\nfeatures = ""',
    "a null character": '[[datasets]]\nfeatures = "a\\u0000b"',
    "an unset variable": '[[datasets]]\nfeatures = "$NO_SUCH_VARIABLE/x.npz"',
    "an unknown home": '[[datasets]]\nfeatures = "~nobody-of-this-name/x.npz"',
    "a data set of Python": '[[datasets]]\ndataset = "digits"',
    "a few-shot data set without root": '[[datasets]]\nfew_shot = "dtd"',
    "a few-shot data set of a number": '[[datasets]]\nfew_shot = 1\nroot = "."',
    "a root of a number": '[[datasets]]\nfew_shot = "dtd"\nroot = 1',
    "a check of text": '[[datasets]]\nfew_shot = "dtd"\nroot = "."\ncheck = "no"',
    "a name of a number": FEATURES + "name = 1",
    "an empty name": FEATURES + 'name = ""',
    "a support of a list": FEATURES + 'support = ["train"]',
    "the support test": FEATURES + 'support = "test"',
    "a shift of nothing": FEATURES + 'trained_on = "imagenet"',
    "a shift of a number": FEATURES + "trained_on = 1",
    "features with a model": FEATURES + 'model = "RN50"',
    "twice the same": FEATURES + FEATURES,
    "images without a model": '[[datasets]]\nfolder = "digits"',
    "a model of a number": '[[datasets]]\nfolder = "digits"\npretrained = 1',
    "an unknown parameter": IMAGES + "colour = 1",
    "normalize of text": IMAGES + 'normalize = "yes"',
    "a batch size of zero": IMAGES + "batch_size = 0",
    "on_error of nan": IMAGES + 'on_error = "nan"',
    "templates of a number": IMAGES + "templates = 1",
    "templates of numbers": IMAGES + "templates = [1]",
    "no templates": IMAGES + "templates = []",
    "an unknown set of templates": IMAGES + 'templates = "imagenot"',
    "a template with two holes": IMAGES + 'templates = "{} {}"',
    "a template with an attribute": IMAGES + 'templates = "a {c.x}"',
    "a template that is cut off": IMAGES + 'templates = "a {"',
    "shots of text": 'shots = "1"\n' + FEATURES,
    "shots of a number": "shots = 1\n" + FEATURES,
    "no shots": "shots = []\n" + FEATURES,
    "shots of zero": "shots = [0]\n" + FEATURES,
    "shots of a fraction": "shots = [1.5]\n" + FEATURES,
    "shots of true": "shots = [true]\n" + FEATURES,
    "shots of infinity": "shots = [inf]\n" + FEATURES,
    "shots of a date": "shots = [1979-05-27]\n" + FEATURES,
    "a seed below zero": "seeds = [-1]\n" + FEATURES,
    "a seed without end": f"seeds = [{10**30}]\n" + FEATURES,
    "seeds of a table": "seeds = {a = 1}\n" + FEATURES,
    "methods of text": 'methods = "bayes"\n' + FEATURES,
    "no methods": "methods = []\n" + FEATURES,
    "methods of numbers": "methods = [1]\n" + FEATURES,
    "methods of lists": 'methods = [["bayes"]]\n' + FEATURES,
    "an unknown method": 'methods = ["bays"]\n' + FEATURES,
    "a method twice": 'methods = ["gda", "gda"]\n' + FEATURES,
    "a method without name": 'methods = [{base = "gda"}]\n' + FEATURES,
    "a method with a name of a number": 'methods = [{name = 1, base = "gda"}]\n' + FEATURES,
    "a method with a calibrator's name": 'methods = [{name = "a + b", base = "gda"}]\n' + FEATURES,
    "an unknown base": 'methods = [{name = "a", base = "gdb"}]\n' + FEATURES,
    "a base of a list": 'methods = [{name = "a", base = ["gda"]}]\n' + FEATURES,
    "an estimator of Python": 'methods = [{name = "a", estimator = "os.system"}]\n' + FEATURES,
    "no estimator": 'methods = [{name = "a"}]\n' + FEATURES,
    "parameters of text": 'methods = [{name = "a", base = "gda", parameters = "x"}]\n' + FEATURES,
    "unknown parameters": (
        'methods = [{name = "a", base = "gda", parameters = {colour = 1}}]\n' + FEATURES
    ),
    "an inner estimator of a table": (
        'methods = [{name = "a", base = "zs-lp-sals", parameters = {estimator = {b = 1}}}]\n'
        + FEATURES
    ),
    "a recipe of what has none": (
        'methods = [{name = "a", base = "gda", recipe = "paper"}]\n' + FEATURES
    ),
    "a label of a number": 'methods = [{name = "a", base = "gda", label = 1}]\n' + FEATURES,
    "an unknown calibrator": 'calibrators = ["platt"]\n' + FEATURES,
    "calibrators of text": 'calibrators = "none"\n' + FEATURES,
    "calibrators of lists": 'calibrators = [["none"]]\n' + FEATURES,
    "no calibrators": "calibrators = []\n" + FEATURES,
    "n_jobs of text": 'n_jobs = "all"\n' + FEATURES,
    "n_jobs of zero": "n_jobs = 0\n" + FEATURES,
    "predictions of text": 'store_predictions = "no"\n' + FEATURES,
    "out of a number": "out = 1\n" + FEATURES,
    "out of nobody": 'out = "~nobody-of-this-name/x"\n' + FEATURES,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_study_has_code_2_and_a_sentence(folder, tmp_path, text):
    config = folder / f"{tmp_path.name}.toml"
    config.write_text(text, encoding="utf-8")
    code, error = ended("benchmark", "--config", config, "--quiet", "--out", tmp_path / "out")
    if "out = " in text:  # the option replaces it
        code, error = ended("benchmark", "--config", config, "--quiet")
    assert code == 2, error
    assert error.startswith("skclip: error: ")
    assert "Traceback" not in error
    assert len(error) < 3000


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["no-such-folder"], 2),
        (["--config", "no-such-file.toml"], 2),
        (["--config", "."], 2),
        (["digits"], 2),  # no model
        (["mine.npz", "--methods", "bays"], 2),
        (["mine.npz", "--shots", "0"], 2),
        (["mine.npz", "--seeds", "-1"], 2),
        (["mine.npz", "--n-jobs", "0"], 2),
        (["mine.npz", "--on-error", "nan"], 2),
        (["~nobody-of-this-name/x"], 1),
        (["mine.npz", "--out", "~nobody-of-this-name/x"], 1),
        (["mine.npz", "--out", "mine.npz"], 1),
        (["digits", "--pretrained", "local-dir:nowhere"], 1),
        (["digits", "--model", "ViT-B-33", "--pretrained", "openai"], 1),
    ],
)
def test_wrong_arguments_have_a_code_and_a_sentence(folder, monkeypatch, arguments, code):
    monkeypatch.chdir(folder)
    found, error = ended("benchmark", *arguments, "--quiet")
    assert found == code, error
    assert "error: " in error
    assert "Traceback" not in error


# -- damaged and foreign files ----------------------------------------------------------


def text_features(a):
    return a["text_features"]


WRONG_ARRAYS = {
    "text of one axis": lambda a: {"text_features": text_features(a)[0]},
    "no classes": lambda a: {"text_features": text_features(a)[:0]},
    "text of words": lambda a: {"text_features": text_features(a).astype(str)},
    "infinite text": lambda a: {"text_features": text_features(a) + np.inf},
    "missing rows": lambda a: {"test_features": a["test_features"] * np.nan},
    "complex rows": lambda a: {"test_features": a["test_features"] * 1j},
    "labels of words": lambda a: {"train_labels": a["train_labels"].astype(str)},
    "labels of fractions": lambda a: {"train_labels": a["train_labels"] + 0.5},
    "labels too large": lambda a: {"train_labels": a["train_labels"] + 1},
    "labels of two axes": lambda a: {"train_labels": a["train_labels"][:, None]},
    "a scalar of labels": lambda a: {"train_labels": np.array(1)},
    "fewer labels": lambda a: {"test_labels": a["test_labels"][:-1]},
    "no test rows": lambda a: {name: a[name][:0] for name in ("test_features", "test_labels")},
    "fewer names": lambda a: {"class_names": np.array(["a", "b"])},
    "one name": lambda a: {"class_names": np.array("a")},
    "a scale of two": lambda a: {"logit_scale": np.array([1.0, 2.0])},
    "a scale of words": lambda a: {"logit_scale": np.array("a")},
    "a scale of zero": lambda a: {"logit_scale": np.array(0.0)},
    "a norm of nothing": lambda a: {"text_norm": np.array(np.nan)},
    "a pickle": lambda a: {"class_names": np.array([{}, [], ()], dtype=object)},
}


@pytest.mark.parametrize("change", WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_wrong_arrays_have_code_1_and_a_sentence(folder, tmp_path, change):
    with np.load(folder / "mine.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "mine.npz", **(arrays | change(arrays)))
    arguments = ("benchmark", tmp_path / "mine.npz", "--out", tmp_path / "out", "--quiet")
    code, error = ended(*arguments, "--methods", "zero-shot")
    assert code == 1, error
    assert str(tmp_path / "mine.npz") in error


FOREIGN = {
    "binary": b"\x89PNG\r\n\x1a\n\x00\xff\xfe\n",
    "another table": b"a,b\n1,2\n",
    "null characters": b"dataset,backbone\n\x00,\x00\n",
    "Windows' encoding": "dataset,Größe\n".encode("latin-1"),
    "old line ends": b"dataset,backbone\r1,2\r",
    "a field without end": b'dataset,"backbone' + b"x" * 200_000 + b"\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_results_have_code_1_and_stay(folder, tmp_path, content):
    (tmp_path / "results.csv").write_bytes(content)
    for arguments in (("report", tmp_path), ("benchmark", folder / "mine.npz", "--out", tmp_path)):
        code, error = ended(*arguments)
        assert code == 1, error
        assert "results.csv" in error
    assert (tmp_path / "results.csv").read_bytes() == content


WRONG_CELLS = {
    ("accuracy", "high"),
    ("accuracy", "inf"),
    ("nll", "1e300"),
    ("ece", "nan"),
    ("fit_seconds", "long"),
    ("shots", "1.5"),
    ("shots", "-1"),
    ("shots", ""),
    ("seed", "first"),
    ("n_classes", "many"),
    ("accuracy", "1.866"),
    ("brier", "2.1"),
    ("nll", "-0.5"),
    ("sample_coverage_80", "80"),
    ("n_test", "-30"),
    ("n_test", "29.5"),
    ("largest_class", "3"),
    ("predict_seconds", "-1"),
}


@pytest.mark.parametrize(("column", "cell"), sorted(WRONG_CELLS))
def test_cells_that_are_no_numbers_have_code_1(folder, tmp_path, column, cell):
    header, first, *rest = (folder / "results" / "results.csv").read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index(column)] = cell
    lines = [header, ",".join(cells), *rest]
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    code, error = ended("report", tmp_path)
    assert code == 1, error
    assert "must hold numbers in their range: " + column in error
    assert f"seed={cells[header.split(',').index('seed')]}, method={cells[5]}" in error


def test_results_of_other_columns_statuses_and_rows_have_code_1(folder, tmp_path):
    header, first, *rest = (folder / "results" / "results.csv").read_text().splitlines()
    status = header.split(",").index("status")
    cells = first.split(",")
    cells[status] = "maybe"
    changed = {
        "no accuracy": [header.replace(",accuracy,", ",Accuracy,"), first, *rest],
        "no status": [header.replace(",status,", ",state,"), first, *rest],
        "got 'maybe' in the row dataset=": [header, ",".join(cells), *rest],
        "got two of ": [header, first, first, *rest],
    }
    for message, lines in changed.items():
        (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
        code, error = ended("report", tmp_path)
        assert code == 1, error
        assert message.replace("no ", "no '") in error or message in error


def test_damaged_predictions_have_code_1_and_say_which(folder, tmp_path):
    for content in (b"", b"PK\x03\x04 no zip", b"\x93NUMPY"):
        shutil.copytree(folder / "results", tmp_path / "results", dirs_exist_ok=True)
        path = sorted((tmp_path / "results" / "predictions").iterdir())[-1]
        path.write_bytes(content)
        code, error = ended("report", tmp_path / "results")
        assert code == 1, error
        assert str(path) in error


# -- fuzzing ----------------------------------------------------------------------------

quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
names = st.sampled_from(
    [
        "name",
        "support",
        "trained_on",
        "features",
        "folder",
        "csv",
        "few_shot",
        "root",
        "dataset",
        "base",
        "estimator",
        "parameters",
        "recipe",
        "label",
        "model",
        "pretrained",
        "templates",
        "x",
    ]
)
plain = st.one_of(
    st.integers(-3, 5),
    st.booleans(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["mine.npz", "digits", "train", "gda", "zero-shot", "none", "paper", *METHODS]),
)
values = st.recursive(
    plain, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=6
)


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) else str(value)


@quick
@given(
    st.dictionaries(
        st.sampled_from(
            ["datasets", "methods", "shots", "seeds", "calibrators", "backbones", "n_jobs", "y"]
        ),
        values,
        max_size=3,
    ),
    st.booleans(),
)
@example({"methods": [{"name": "a", "base": "gda", "parameters": {"x": 1}}]}, True)
def test_any_study_ends_with_a_code(folder, content, has_features):
    """Most mean nothing. Those that mean something are fitted by the cheapest method."""
    content = {"methods": ["zero-shot"], "shots": [1], "seeds": [1]} | content
    if has_features:
        content["datasets"] = [{"features": "mine.npz"}]
    config = folder / "fuzzed.toml"
    lines = [f"{key} = {toml(value)}" for key, value in content.items()]
    config.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    shutil.rmtree(folder / "fuzzed", ignore_errors=True)
    code, error = ended(
        *("benchmark", "--config", config, "--out", folder / "fuzzed", "--quiet"),
        "--no-predictions",
    )
    assert code in (0, 1, 2)
    assert (code == 0) or "error: " in error or "fits failed" in error or code == 1


def damaged(content, seed):
    """Bytes of which some are others, missing or repeated."""
    rng = random.Random(seed)
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 20])):
        start = rng.randrange(len(content))
        end = start + rng.choice([0, 1, 1, 4, 300])
        content[start:end] = rng.choice([b"", rng.randbytes(1), rng.randbytes(4), content[:40]])
    return bytes(content)


@quick
@given(st.integers(0, 10**6))
def test_damaged_features_end_with_a_code(folder, seed):
    content = damaged((folder / "mine.npz").read_bytes(), seed)
    (folder / "damaged.npz").write_bytes(content)
    shutil.rmtree(folder / "fuzzed", ignore_errors=True)
    code, error = ended(
        *("benchmark", folder / "damaged.npz", "--out", folder / "fuzzed", "--quiet"),
        *("--methods", "zero-shot", "--shots", "1", "--seeds", "1", "--no-predictions"),
    )
    assert code in (0, 1)
    assert code == 0 or error


@settings(quick, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(["results.csv", "study.json", "predictions"]))
def test_damaged_results_end_with_a_code(folder, seed, name):
    target = folder / "damaged"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "results", target)
    path = target / name
    path = sorted(path.iterdir())[-1] if path.is_dir() else path
    path.write_bytes(damaged(path.read_bytes(), seed))
    code, error = ended("report", target, "--formats", "html")
    assert code in (0, 1)
    assert code == 0 or error.startswith("skclip: error: ")
