"""Data sets of a study: every one under a name of its own, whatever the names are."""

import csv
import shutil

import numpy as np
import pytest

from skclip.benchmark import load_feature_dataset, read_results, report, run
from skclip.datasets import ImageDataset, ImageList, save_digits_images, tiny_clip
from skclip.exceptions import DatasetError, ImageError, StudyError, StudyWarning
from skclip.utils.csv_cells import one_line, safe_cell, text_of_cell

GIVEN = {"methods": ("zero-shot", "gda"), "shots": (1,), "seeds": (1,), "verbose": 0}


def names(out, *columns):
    return sorted({tuple(row[name] for name in columns) for row in read_results(out)})


@pytest.fixture
def digits(tmp_path):
    save_digits_images(tmp_path / "digits", n_per_class=4)
    return tmp_path / "digits"


def clip_in(folder):
    shutil.copytree(tiny_clip().removeprefix("local-dir:"), folder)
    return f"local-dir:{folder}"


def test_two_models_whose_folders_have_one_name_are_two(digits, tmp_path):
    models = [clip_in(tmp_path / where / "clip") for where in "ab"]
    run([{"folder": str(digits), "pretrained": m} for m in models], tmp_path / "out", **GIVEN)
    assert names(tmp_path / "out", "dataset", "backbone") == [
        ("digits", "a/clip"),
        ("digits", "b/clip"),
    ]
    assert len(read_results(tmp_path / "out")) == 4


def test_models_are_told_apart_on_different_data_sets_too(digits, tmp_path):
    """Means over the data sets of one backbone would mix them."""
    shutil.copytree(digits, tmp_path / "others")
    tables = [
        {"folder": str(folder), "pretrained": clip_in(tmp_path / where / "clip")}
        for folder, where in ((digits, "a"), (tmp_path / "others", "b"))
    ]
    run(tables, tmp_path / "out", **GIVEN)
    assert names(tmp_path / "out", "backbone") == [("a/clip",), ("b/clip",)]


def test_two_feature_files_with_one_stem_are_two(feature_file, tmp_path):
    for where in "ab":
        (tmp_path / where).mkdir()
        shutil.copy(feature_file, tmp_path / where / "mine.npz")
    with np.load(feature_file) as file:
        for name in file.files:
            (tmp_path / "mine").mkdir(exist_ok=True)
            np.save(tmp_path / "mine" / f"{name}.npy", file[name])
    paths = ("a/mine.npz", "b/mine.npz", "mine")
    run([{"features": str(tmp_path / path)} for path in paths], tmp_path / "out", **GIVEN)
    found = [name for (name,) in names(tmp_path / "out", "dataset")]
    assert found[:2] == ["a/mine.npz", "b/mine.npz"]
    assert found[2].endswith("/mine")
    assert len(read_results(tmp_path / "out")) == 6


def test_two_folders_of_images_with_one_name_are_two(digits, tmp_path):
    """Each with features of its own: they shared a file."""
    shutil.copytree(digits, tmp_path / "other" / "digits")
    shutil.rmtree(tmp_path / "other" / "digits" / "two")
    folders = (digits, tmp_path / "other" / "digits")
    tables = [{"folder": str(folder), "pretrained": tiny_clip()} for folder in folders]
    run(tables, tmp_path / "out", **GIVEN)
    assert len(list((tmp_path / "out" / "features").iterdir())) == 2
    assert {n for (n,) in names(tmp_path / "out", "n_classes")} == {"9", "10"}


def test_shots_that_most_classes_have_not_are_said(digits, tmp_path):
    """Rows of 8 shots would be those of the 2 images that half of 4 are."""
    tables = [{"folder": str(digits), "pretrained": tiny_clip()}]
    message = "at 8 shots 10 of 10 classes of digits have fewer, the largest 2, and give all"
    with pytest.warns(StudyWarning, match=message):
        run(tables, tmp_path / "out", **{**GIVEN, "shots": (1, 2, 8)})


def test_results_do_not_become_a_class(digits, tmp_path):
    tables = [{"folder": str(digits), "pretrained": tiny_clip()}]
    with pytest.raises(StudyError, match="must not lie in a folder of images"):
        run(tables, digits / "results", **GIVEN)


def test_one_class_is_refused_before_anything_is_fitted(digits, tmp_path):
    (tmp_path / "alone").mkdir()
    shutil.move(digits / "two", tmp_path / "alone")
    tables = [{"folder": str(tmp_path / "alone"), "pretrained": tiny_clip()}]
    with pytest.raises(DatasetError, match="two classes at least; got 'two' alone to learn from"):
        run(tables, tmp_path / "out", **GIVEN)


@pytest.mark.parametrize("named", [{}, {"name": "mine"}])
def test_what_is_twice_the_same_is_refused(feature_file, tmp_path, named):
    table = {"features": str(feature_file), **named}
    with pytest.raises(StudyError, match="Every data set needs a name of its own; got '.*' twice"):
        run([table, table], tmp_path, **GIVEN)


def test_templates_that_differ_need_names(digits, tmp_path):
    table = {"folder": str(digits), "pretrained": tiny_clip()}
    tables = [table, table | {"templates": "art of the {}."}]
    with pytest.raises(StudyError, match="Give each table a name"):
        run(tables, tmp_path / "out", **GIVEN)
    tables[1]["name"] = "art"
    run(tables, tmp_path / "out", **GIVEN)
    zero_shot = [row for row in read_results(tmp_path / "out") if row["method"] == "zero-shot"]
    assert zero_shot[0]["nll"] != zero_shot[1]["nll"]


STRANGE = {
    "leaves out": "../../outside",
    "absolute": "/etc/outside",
    "carriage return": "a\rb",
    "line feed": "a\nb",
    "null": "a\x00b",
    "escape sequence": "\x1b[31mred",
    "separators": "a\u2028b\u0085c",
    "right to left": "abc\u202efed",
    "lone surrogate": "a\ud800b",
    "of undecodable bytes": "a\udcffb",
    "very long": "long" * 2000,
    "formula": "=HYPERLINK(1)",
    "not a number": "nan",
    "mathtext": "$\\frac{x$",
    "colon": "imagenet:train",
    "quotes": "\"a', `b",
    "dots": "..",
    "Chinese": "熊猫",
}


@pytest.mark.parametrize("name", STRANGE.values(), ids=STRANGE)
def test_a_strange_name_is_one_data_set_wherever_it_is_written(feature_file, tmp_path, name):
    """Run twice: the rows are as many. Nothing is written outside of the folder."""
    method = {"name": name.replace("imagenet", "m"), "base": "gda"}
    table = {"features": str(feature_file), "name": name}
    given = {**GIVEN, "methods": ("zero-shot", method), "shots": (1, 2), "seeds": (1, 2)}
    for _ in range(2):
        path = run([table], tmp_path / "out", **given)
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        assert len(lines) == 9
        assert len(path.read_text(encoding="utf-8").splitlines()) == 9
    assert {row["dataset"] for row in read_results(tmp_path / "out")} == {one_line(name)}
    assert {row["status"] for row in read_results(tmp_path / "out")} == {"ok"}
    report(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_names_that_differ_in_punctuation_share_no_file(feature_file, tmp_path):
    table = {"features": str(feature_file)}
    run([table | {"name": name} for name in ("a b", "a-b", "a/b", "A b")], tmp_path, **GIVEN)
    assert len(list((tmp_path / "predictions").iterdir())) == 8
    with np.load(feature_file) as file:
        arrays = dict(file)
    for k, backbone in enumerate(("m/1", "m-1")):
        np.savez(tmp_path / f"{k}.npz", **arrays, backbone=np.array(backbone))
    run([{"features": str(tmp_path / f"{k}.npz")} for k in (0, 1)], tmp_path / "two", **GIVEN)
    tables = report(tmp_path / "two") / "tables"
    assert len(list(tables.glob("accuracy*.csv"))) == 2


# -- cells ------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "'=", "''@"])
def test_a_formula_is_text_and_comes_back(start):
    text = f"{start}1+1|cmd"
    assert safe_cell(text) == f"'{text}"
    assert text_of_cell(safe_cell(text)) == text


@pytest.mark.parametrize("start", ["\t", "\r", "\n"])
def test_white_space_before_a_formula_is_written_out(start):
    assert safe_cell(f"{start}=1+1").startswith("\\")


@pytest.mark.parametrize(
    "text", ["-1.5", "+2", "1e-05", "-3e+10", "0", "-1.9 ± 0.3", "'tis", "nan"]
)
def test_numbers_and_plain_text_stay_as_they_are(text):
    assert safe_cell(text) == text == text_of_cell(text)


# -- what is fitted is not tested -------------------------------------------------------


def test_shots_are_not_drawn_from_what_is_tested(feature_file, tmp_path):
    with pytest.raises(StudyError, match="Shots must not be drawn from the rows that methods are"):
        run([{"features": str(feature_file), "support": "test"}], tmp_path, **GIVEN)


def test_no_image_is_in_both_halves(digits, tmp_path):
    paths = sorted(digits.glob("*/*.png"))
    rows = [(path, k % 2) for k, path in enumerate(paths)]
    splits = {"train": ImageList.of(rows[:20]), "test": ImageList.of(rows[19:])}
    table = {
        "dataset": ImageDataset("mine", {0: "a", 1: "b"}, splits),
        "pretrained": tiny_clip(),
    }
    with pytest.raises(DatasetError, match="No image may be in the splits train and test; got '"):
        run([table], tmp_path / "out", **GIVEN)


def test_images_that_are_fitted_and_tested_are_counted(digits, tmp_path):
    """Copies under other names and in other folders, which no path betrays."""
    folder = tmp_path / "photos"
    for k, path in enumerate(sorted(digits.rglob("*.png"))):
        for where in ["train", "test"] if k % 10 == 7 else [["train", "test"][k % 2]]:
            target = folder / where / path.parent.name / f"{where}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    table = {"folder": str(folder), "pretrained": tiny_clip(), "batch_size": 7}
    with pytest.warns(StudyWarning, match="4 of 20 images of photos to test on are also among"):
        run([table], tmp_path / "out", **GIVEN)
    page = (report(tmp_path / "out") / "index.html").read_text(encoding="utf-8")
    assert "4 images fitted as well as tested: results are too good." in page


def test_rows_of_a_shift_that_are_fitted_are_counted(feature_file, tmp_path):
    with np.load(feature_file) as file:
        arrays = dict(file)
    arrays["test_features"][:3] = arrays["train_features"][5:8]
    np.savez(tmp_path / "shift.npz", **arrays)
    tables = [
        {"features": str(feature_file)},
        {"features": str(tmp_path / "shift.npz"), "trained_on": feature_file.stem},
    ]
    with pytest.warns(StudyWarning, match="3 of 100 images of shift .* those of small that shots"):
        run(tables, tmp_path / "out", **GIVEN)


def test_features_without_rows_to_test_on_are_refused(feature_file, tmp_path):
    with np.load(feature_file) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("test")}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DatasetError, match="Features must have rows to test on, a split test"):
        run([{"features": str(tmp_path / "mine.npz")}], tmp_path / "out", **GIVEN)


# -- images that cannot be read ---------------------------------------------------------


@pytest.fixture
def partly_broken(digits):
    """One image of each half; halves are those of a folder with train and test."""
    for half in ("train", "test"):
        for path in sorted(digits.glob("*/*.png"))[half == "test" :: 2]:
            target = digits.parent / "photos" / half / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        (digits.parent / "photos" / half / "two" / "broken.png").write_bytes(b"no image")
    return {"folder": str(digits.parent / "photos"), "pretrained": tiny_clip()}


def test_unreadable_images_of_both_halves_are_named_with_what_to_do(partly_broken, tmp_path):
    with pytest.raises(ImageError, match="2 of 42 images are not: train: .*broken.png, test: .*"):
        run([partly_broken], tmp_path / "out", **GIVEN)
    with pytest.raises(ImageError, match="on_error='skip', --on-error skip"):
        run([partly_broken], tmp_path / "out", **GIVEN)


def test_unreadable_images_may_be_left_out_and_are_counted(partly_broken, tmp_path):
    with pytest.warns(StudyWarning, match="2 of 42 images of photos cannot be read and are left"):
        run([partly_broken | {"on_error": "skip"}], tmp_path / "out", **GIVEN)
    (path,) = (tmp_path / "out" / "features").iterdir()
    data = load_feature_dataset(path)
    assert [len(data.features[half]) for half in ("train", "test")] == [20, 20]
    assert {row["n_test"] for row in read_results(tmp_path / "out")} == {"20"}
    page = (report(tmp_path / "out") / "index.html").read_text(encoding="utf-8")
    assert "2 images left out, unreadable." in page
