"""A user's own folders and tables."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skclip.datasets import load_image_csv, load_image_folder
from skclip.exceptions import DatasetError, LeftOutWarning


def write_images(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path, format="PNG")


def test_one_folder_per_class(tmp_path):
    write_images(tmp_path / "my_pets", "tabby_cat/1.png", "tabby_cat/2.JPG", "dog/1.png")
    (tmp_path / "my_pets" / "dog" / ".DS_Store").write_text("no image")
    data = load_image_folder(tmp_path / "my_pets")
    assert data.name == "my_pets"
    assert data.class_names == {0: "dog", 1: "tabby cat"}
    assert data.train.labels.tolist() == [0, 1, 1]
    assert [Path(p).name for p in data.train.paths] == ["1.png", "1.png", "2.JPG"]


def test_folders_of_splits(tmp_path):
    write_images(tmp_path, "train/cat/1.png", "train/dog/1.png", "valid/cat/2.png")
    data = load_image_folder(tmp_path)
    assert list(data.splits) == ["train", "val"]
    assert data.val.labels.tolist() == [0]


def test_a_class_only_in_a_later_split_is_refused(tmp_path):
    write_images(tmp_path, "train/cat/1.png", "test/emu/1.png")
    message = "Every split must have classes of the train split; got 'emu' in test only"
    with pytest.raises(DatasetError, match=message):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "must be a folder with one folder per class; got no folder"),
        (lambda root: root.mkdir(), "must be a folder with one folder per class; got none in"),
        (lambda root: (root / "cat").mkdir(parents=True), "Class folders must hold images"),
    ],
)
def test_what_is_not_a_data_set_is_refused(make, message, tmp_path):
    make(tmp_path / "data")
    with pytest.raises(DatasetError, match=message):
        load_image_folder(tmp_path / "data")


def test_a_table_of_paths(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "c.png")
    table = tmp_path / "table.csv"
    table.write_text("path,label,split\na.png,dog,train\nb.png,cat,train\nc.png,dog,test\n")
    data = load_image_csv(table)
    assert data.class_names == {0: "cat", 1: "dog"}
    np.testing.assert_array_equal(data.train.labels, [1, 0])
    assert data.test.paths.tolist() == [str(tmp_path / "c.png")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na\0.png,dog\n", "must be a CSV file in UTF-8 with .*; got zero bytes"),
        ("file,label\na.png,dog\n", "columns path and label; got no column 'path', as the header"),
        ("path,label,Label\na.png,dog,cat\n", "got the column 'label' more than once; keep one"),
        (
            "path,label\na.png,dog\na.png,\n",
            r"a path and a label; got none in row\(s\) 3",
        ),
        ("path,label\na.png\n", r"must have a path and a label; got none in row\(s\) 2"),
        ("path,label\na.png,dog,cat\n", "got 3 cells in row 2, where the header has 2; put text"),
        ("path,label\n", "must have a row for each image; got the header alone"),
        ("", "got no column 'path', 'label'"),
        ("path,label,split\na.png,dog,dev\n", "split must be train, val or test; got 'dev'"),
        ("path,label\nno.png,dog\n", "Every image in .* must exist; got no file"),
    ],
)
def test_a_wrong_table_is_refused(text, message, tmp_path):
    write_images(tmp_path, "a.png")
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_image_csv(tmp_path / "table.csv")


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="A data set must be a CSV file; got no file"):
        load_image_csv(tmp_path / "none.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_as_spreadsheets_save_it(encoding, tmp_path):
    write_images(tmp_path, "ä.png")
    (tmp_path / "table.csv").write_text("path,label\r\nä.png,Bär\r\n", encoding, newline="")
    assert load_image_csv(tmp_path / "table.csv").class_names == {0: "Bär"}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_that_is_separated_otherwise(separator, tmp_path):
    """As a spreadsheet writes it where the comma is the decimal point."""
    write_images(tmp_path, "a,b.png", "c.png")
    rows = [["Path", " Label", "split"], ["a,b.png", "dog ", "Train"], ["c.png", "cat", "test"]]
    text = "\n".join(separator.join(row) for row in rows)
    (tmp_path / "table.csv").write_text(text)
    data = load_image_csv(tmp_path / "table.csv")
    assert data.class_names == {0: "cat", 1: "dog"}
    assert data.train.paths.tolist() == [str(tmp_path / "a,b.png")]


@pytest.mark.skipif(os.sep == "\\", reason="a path of Windows is one there")
def test_paths_of_windows_are_told_how_to_be_written(tmp_path):
    (tmp_path / "table.csv").write_text("path,label\na\\b.png,dog\n")
    with pytest.raises(DatasetError, match=r"or correct them. Write / for "):
        load_image_csv(tmp_path / "table.csv")


def test_a_table_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("path,label\nä.png,Bär\n", "latin-1")
    with pytest.raises(DatasetError, match="must be a CSV file in UTF-8 .*; got .* can't decode"):
        load_image_csv(tmp_path / "table.csv")


# What a user may not have meant is said


def test_what_is_no_image_is_counted(tmp_path):
    write_images(
        tmp_path, "cat/1.png", "cat/2.heic", "cat/a.txt", "cat/b.mp4", "dog/1.tif", "0.png"
    )
    write_images(tmp_path, "cat/._1.png", "cat/__MACOSX/1.png", "dog/Thumbs.db", ".git/1.png")
    with pytest.warns(LeftOutWarning) as caught:
        data = load_image_folder(tmp_path)
    assert [str(warning.message) for warning in caught] == [
        f"Not every file in {tmp_path} is an image: 1 .heic, 1 .png, 1 .tif; left out: 3 hidden, "
        "1 .mp4, 1 .txt.",
        f"1 images in {tmp_path} lie in no class folder and are left out.",
    ]
    assert data.train.labels.tolist() == [0, 0, 1]


def test_a_class_without_an_image_is_named(tmp_path):
    write_images(tmp_path, "cat/1.png")
    (tmp_path / "emu").mkdir()
    with pytest.warns(LeftOutWarning, match="Classes without an image in .*: 'emu'"):
        assert load_image_folder(tmp_path).class_names == {0: "cat", 1: "emu"}


def test_classes_within_classes_are_said(tmp_path):
    write_images(tmp_path, "animals/cat/1.png", "animals/dog/1.png", "plants/1.png")
    message = "2 images in .* have the class of the outer one: 'animals/cat', 'animals/dog'. Where"
    with pytest.warns(LeftOutWarning, match=message):
        assert load_image_folder(tmp_path).train.labels.tolist() == [0, 0, 1]


def test_masks_beside_photographs_are_said_and_can_be_left_out(tmp_path):
    write_images(tmp_path, "cat/1.jpg", "cat/1.png", "cat/2.jpg", "dog/1.jpg", "dog/1.png")
    with pytest.warns(LeftOutWarning, match="the same name but for their type: 2 .jpg, 2 .png"):
        assert len(load_image_folder(tmp_path).train) == 5
    for patterns in ({"exclude": "*.png"}, {"glob": "*.JPG"}):
        data = load_image_folder(tmp_path, **patterns)
        assert [Path(path).name for path in data.train.paths] == ["1.jpg", "2.jpg", "1.jpg"]


def test_folders_beside_those_of_splits_are_said(tmp_path):
    write_images(tmp_path, "train/cat/1.png", "val/cat/1.png", "extra/cat/1.png", "more/1.png")
    with pytest.warns(LeftOutWarning, match=r"splits 'train', 'val'.* left out: 'extra', 'more'"):
        assert list(load_image_folder(tmp_path).splits) == ["train", "val"]


def test_a_class_may_be_called_as_a_split(tmp_path):
    """A folder of images is a class; one of folders is a split."""
    write_images(tmp_path, "bus/1.png", "car/1.png", "train/1.png")
    data = load_image_folder(tmp_path)
    assert data.class_names == {0: "bus", 1: "car", 2: "train"}
    assert len(data.train) == 3


def test_two_folders_of_one_split_are_refused(tmp_path):
    write_images(tmp_path, "train/cat/1.png", "val/cat/1.png", "valid/cat/1.png")
    with pytest.raises(DatasetError, match="must have one folder; got 'val' and 'valid' for val"):
        load_image_folder(tmp_path)
