"""A row is reused only if everything that it was made from is the same."""

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from skclip import CLIPFeaturizer
from skclip.benchmark import (
    Method,
    embed_dataset,
    evaluation,
    load_feature_dataset,
    read_results,
    run,
)
from skclip.benchmark.evaluation import KEY
from skclip.benchmark.runner import prediction_path
from skclip.datasets import load_image_folder, save_digits_images, tiny_clip
from skclip.exceptions import StudyWarning

METHODS = ("zero-shot", "gda")


def study(table, out, **changes):
    given = {"methods": METHODS, "shots": (1, 2), "seeds": (1,), "verbose": 0}
    run([table], out, **{**given, **changes})
    return {tuple(row[name] for name in KEY): row for row in read_results(out)}


def changed(path, target, **arrays):
    """The features in `path`, some of them others, in `target`."""
    with np.load(path) as file:
        np.savez(target, **(dict(file) | arrays))


def measured(rows):
    """What two runs of the same fit share, by key."""
    shared = set(evaluation.VALUES) - set(evaluation.MEASURED)
    return {key: {name: row[name] for name in shared} for key, row in rows.items()}


@pytest.fixture
def mine(feature_file, tmp_path):
    path = tmp_path / "mine.npz"
    shutil.copy(feature_file, path)
    return path


def test_what_is_equal_is_not_computed_again(mine, tmp_path, monkeypatch):
    first = study({"features": str(mine)}, tmp_path / "out")
    os.utime(mine)  # another time, the same content
    monkeypatch.setattr(Method, "make", lambda *_: pytest.fail("fitted again"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert study({"features": str(mine)}, tmp_path / "out") == first


@pytest.mark.parametrize("name", ["test_features", "train_features", "text_features", "text_norm"])
def test_other_features_are_computed_again_and_said(mine, tmp_path, name):
    """The rows are those of a fresh folder; before, they were the old ones."""
    table = {"features": str(mine)}
    before = study(table, tmp_path / "out")
    with np.load(mine) as file:
        changed(mine, mine, **{name: file[name][::-1] if name in file else np.array(5.0)})
    with pytest.warns(StudyWarning, match=r"4 of 4 rows of .* 4 of mine \(other features\)"):
        after = study(table, tmp_path / "out")
    assert measured(after) == measured(study(table, tmp_path / "fresh"))
    assert all(after[key]["weights"] != before[key]["weights"] for key in before)


def test_other_labels_are_computed_again(mine, tmp_path):
    table = {"features": str(mine)}
    study(table, tmp_path / "out")
    with np.load(mine) as file:
        changed(mine, mine, test_labels=np.roll(file["test_labels"], 7))
    with pytest.warns(StudyWarning, match="4 are computed again, 0 that are not asked"):
        after = study(table, tmp_path / "out")
    assert measured(after) == measured(study(table, tmp_path / "fresh"))


def test_rows_that_are_not_asked_for_do_not_stay_beside_new_ones(mine, tmp_path):
    """Of a method, of shots, and of other parameters under one name."""
    table = {"features": str(mine)}
    study(table, tmp_path / "out")
    with np.load(mine) as file:
        changed(mine, mine, test_labels=np.roll(file["test_labels"], 7))
    with pytest.warns(StudyWarning, match="1 are computed again, 3 that are not asked"):
        rows = study(table, tmp_path / "out", methods=("gda",), shots=(1,))
    assert len(rows) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"prior_precision": 3.0}},
        {"parameters": {"prior_precision": 300.0, "posterior": None}},
        {"base": "linear-probe", "parameters": {}},
        {"recipe": "paper", "parameters": {"max_iter": 2}},
    ],
)
def test_another_configuration_of_a_method_is_computed_again(mine, tmp_path, other):
    table = {"features": str(mine)}
    first = {"name": "m", "base": "bayes", "parameters": {"prior_precision": 300.0}}
    study(table, tmp_path / "out", methods=(first, "gda"), shots=(1,))
    method = first | other
    with pytest.warns(StudyWarning, match=r"1 of 2 rows of .*: 1 of mine \(other parameters of m"):
        after = study(table, tmp_path / "out", methods=(method, "gda"), shots=(1,))
    fresh = study(table, tmp_path / "fresh", methods=(method, "gda"), shots=(1,))
    assert measured(after) == measured(fresh)


def test_other_versions_are_computed_again_and_stay_where_not_asked_for(
    mine, tmp_path, monkeypatch
):
    table = {"features": str(mine)}
    study(table, tmp_path / "out")
    monkeypatch.setattr(evaluation, "version", lambda name: "99")
    with pytest.warns(StudyWarning, match="2 are computed again, 0 that are not asked"):
        rows = study(table, tmp_path / "out", shots=(1,))
    assert sorted("=99" in row["versions"] for row in rows.values()) == [False, False, True, True]


def test_a_table_of_an_older_version_is_computed_again(mine, tmp_path):
    table = {"features": str(mine)}
    before = study(table, tmp_path / "out")
    path = tmp_path / "out" / "results.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    column = lines[0].index("configuration")
    path.write_text("".join(",".join(x[:column] + x[column + 1 :]) + "\n" for x in lines))
    with pytest.warns(StudyWarning, match="4 are computed again"):
        after = study(table, tmp_path / "out")
    assert measured(after) == measured(before)


def test_predictions_of_old_rows_do_not_stay(mine, tmp_path):
    """Figures are drawn from them."""
    table = {"features": str(mine)}
    rows = study(table, tmp_path / "out")
    paths = [prediction_path(tmp_path / "out", key) for key in rows]
    assert all(path.exists() for path in paths)
    with np.load(mine) as file:
        changed(mine, mine, test_labels=np.roll(file["test_labels"], 7))
    with pytest.warns(StudyWarning):
        study(table, tmp_path / "out", store_predictions=False)
    assert not any(path.exists() for path in paths)


def test_a_shift_that_changed_is_computed_again_and_no_other(mine, feature_file, tmp_path):
    tables = [
        {"features": str(feature_file), "name": "base"},
        {"features": str(mine), "name": "shift", "trained_on": "base"},
    ]
    given = {"methods": METHODS, "shots": (1,), "seeds": (1,), "verbose": 0}
    run(tables, tmp_path / "out", **given)
    with np.load(mine) as file:
        changed(mine, mine, test_labels=np.roll(file["test_labels"], 7))
    with pytest.warns(StudyWarning, match=r"2 of 4 rows of .*: 2 of shift \(other features\)"):
        run(tables, tmp_path / "out", **given)


# -- images -----------------------------------------------------------------------------


@pytest.fixture
def digits(tmp_path):
    save_digits_images(tmp_path / "digits", n_per_class=4)
    model = tmp_path / "clip"
    shutil.copytree(tiny_clip().removeprefix("local-dir:"), model)
    return {"folder": str(tmp_path / "digits"), "pretrained": f"local-dir:{model}"}


def swap_two_images(table, tmp_path):
    """Of equal names, sizes and times."""
    paths = sorted((tmp_path / "digits" / "two").iterdir())
    status = paths[0].stat()
    with Image.open(paths[0]) as image:
        inverted = image.convert("L").point(lambda v: 255 - v)
    inverted.save(paths[0], format="PNG")
    os.utime(paths[0], ns=(status.st_atime_ns, status.st_mtime_ns))


def rename_a_class(table, tmp_path):
    (tmp_path / "digits" / "two").rename(tmp_path / "digits" / "elephant")


def other_templates(table, tmp_path):
    table["templates"] = ["a bad photo of a {}.", "art of the {}."]


def other_weights(table, tmp_path):
    from safetensors.torch import load_file, save_file

    (path,) = (tmp_path / "clip").glob("*.safetensors")
    tensors = load_file(path)
    name = next(n for n, t in tensors.items() if n.startswith("visual") and t.ndim == 2)
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, path)


def raw_norms(table, tmp_path):
    table["normalize"] = False


@pytest.mark.parametrize(
    "change", [swap_two_images, rename_a_class, other_templates, other_weights, raw_norms]
)
def test_whatever_images_are_embedded_with_decides(digits, tmp_path, change):
    study(digits, tmp_path / "out", methods=("gda",), shots=(1,))
    change(digits, tmp_path)
    with pytest.warns(StudyWarning, match=r"1 of 1 rows .* 1 of digits \(other features\)"):
        after = study(digits, tmp_path / "out", methods=("gda",), shots=(1,))
    fresh = study(digits, tmp_path / "fresh", methods=("gda",), shots=(1,))
    assert measured(after) == measured(fresh)


@pytest.mark.parametrize("other", [{"normalize": False}, {"templates": "art of the {}."}])
def test_one_file_of_features_is_made_again_for_other_parameters(digits, tmp_path, other):
    """The stamp has them; in a study they are in the file's name, too."""
    data, model = load_image_folder(digits["folder"]), digits["pretrained"]
    embed_dataset(data, tmp_path / "f.npz", pretrained=model)
    first = load_feature_dataset(tmp_path / "f.npz").fingerprint
    embed_dataset(data, tmp_path / "f.npz", pretrained=model, **other)
    assert load_feature_dataset(tmp_path / "f.npz").fingerprint != first


def test_damaged_features_are_made_again(digits, tmp_path):
    before = study(digits, tmp_path / "out", shots=(1,))
    (path,) = (tmp_path / "out" / "features").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert study(digits, tmp_path / "out", shots=(1,)) == before


def test_what_does_not_decide_is_not_embedded_again(digits, tmp_path, monkeypatch):
    study(digits, tmp_path / "out", shots=(1,))
    monkeypatch.setattr(CLIPFeaturizer, "transform", lambda *_: pytest.fail("embedded again"))
    digits |= {"batch_size": 3, "n_jobs": 1, "on_error": "skip"}
    study(digits, tmp_path / "out", shots=(1,))


# -- two runs on one folder -------------------------------------------------------------

SCRIPT = """
import sys, warnings
from skclip.benchmark import run
warnings.simplefilter("always")
run([{"features": sys.argv[1], "name": "small"}], sys.argv[2], methods=("zero-shot", "gda"),
    shots=(1, 2, 4), seeds=tuple(range(1, 9)), verbose=0)
"""


def test_of_two_runs_on_one_folder_one_waits(feature_file, tmp_path):
    """Both end well, with the rows of one."""
    command = [sys.executable, "-c", SCRIPT, str(feature_file)]
    started = [
        subprocess.Popen([*command, str(tmp_path / "two")], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    subprocess.run([*command, str(tmp_path / "one")], check=True)
    rows = [
        [
            {k: v for k, v in row.items() if k not in evaluation.MEASURED}
            for row in read_results(out)
        ]
        for out in (tmp_path / "one", tmp_path / "two")
    ]
    assert rows[0] == rows[1]
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_a_run_says_that_it_waits(feature_file, tmp_path, monkeypatch):
    """While another holds the folder; here it is let go when the warning is heard."""
    from filelock import FileLock

    lock = FileLock(tmp_path / ".lock")
    lock.acquire()
    heard = []

    def hear(message, *_, **__):
        heard.append(str(message))
        lock.release()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", hear)
        rows = study({"features": str(feature_file)}, tmp_path, methods=("zero-shot",))
    assert len(rows) == 2
    assert [text.split(" writes to ")[0] for text in heard] == ["Another run"]
