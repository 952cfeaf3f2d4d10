"""What a check of images finds: every planted fault, and nothing in a clean folder."""

import csv
import sys
import time

import numpy as np
import pytest
from PIL import Image

from skclip.exceptions import DatasetError, ImageError
from skclip.workflow import KINDS, check_dataset
from skclip.workflow.image_facts import alike_rows
from tests.workflow.faults import folder, found_in, photograph, write_clean


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("faulty"), 100)


def test_nothing_is_found_where_nothing_is_wrong(tmp_path):
    check = check_dataset(write_clean(tmp_path, 60))
    assert check.findings == []
    assert not check.has_errors
    assert check.text().endswith("Nothing is wrong with it.")


def test_every_planted_fault_is_found_and_nothing_else(faulty):
    root, planted = faulty
    assert found_in(check_dataset(root, n_jobs=2)) == planted
    assert len(planted) >= 12


@pytest.mark.slow
def test_faults_among_2000_images_are_found_in_half_a_minute(tmp_path):
    """On two cores, with the decoding of every image."""
    root, planted = folder(tmp_path, 2000)
    start = time.perf_counter()
    found = found_in(check_dataset(root, n_jobs=2))
    assert time.perf_counter() - start < 30
    assert {kind: found.get(kind) for kind in planted} == planted


def test_the_text_says_what_was_found_where_and_what_is_done(faulty):
    root, planted = faulty
    check = check_dataset(root)
    text = check.text()
    for kind, items in planted.items():
        assert f"{len(items)} {KINDS[kind].what}; {KINDS[kind].action}" in text
    assert "empty.jpg: the file is empty" in text
    assert "  kind of thing a: " in text
    assert "note" not in check.summary()
    assert check.has_errors


def test_what_is_usable_has_no_copies_and_no_contradictions(faulty):
    root, planted = faulty
    check = check_dataset(root)
    with pytest.raises(ImageError, match="must be readable; 3 are not: "):
        check.usable()
    splits = check.usable("skip").splits
    kept = {check.shown(path) for images in splits.values() for path in images.paths}
    left_out = ("unreadable", "conflicting labels", "copies", "copies across splits")
    for kind in (*left_out, "similar across splits"):
        assert not planted[kind] & kept
    everything = {check.shown(path) for path in check.facts}
    assert (
        kept | set().union(*(planted[kind] for kind in left_out))
        == everything - (planted["similar across splits"])
    )


def test_images_that_look_alike_are_of_one_group(faulty):
    root, planted = faulty
    check = check_dataset(root)
    train = check.usable("skip").train
    groups = check.groups(train.paths)
    shown = [check.shown(path) for path in train.paths]
    (burst,) = planted["similar"]
    same = [shown[i] for i in (groups == groups[shown.index(burst)]).nonzero()[0]]
    assert len(same) == 2
    assert len(set(groups)) == len(groups) - 1


def test_a_folder_that_is_no_data_set_is_one_finding_and_no_exception(tmp_path):
    for name in ("train/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        photograph(len(name)).save(tmp_path / name / "1.png")
    check = check_dataset(tmp_path)
    assert [finding.kind for finding in check.findings] == ["layout"]
    assert "classes of the train split" in check.text()
    with pytest.raises(DatasetError, match="classes of the train split"):
        check.usable()
    with pytest.raises(DatasetError, match="there is no .*nowhere"):
        check_dataset(tmp_path / "nowhere")


def test_a_table_is_checked_as_a_folder_is(tmp_path):
    """A row that is there twice is a copy; with two labels it is of no class."""
    for i in range(4):
        photograph(i).save(tmp_path / f"{i}.png")
    rows = [("0.png", "cat"), ("0.png", "cat"), ("1.png", "cat"), ("2.png", "dog")]
    rows += [("3.png", "dog"), ("3.png", "cat")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    check = check_dataset(tmp_path / "list.csv")
    found = found_in(check)
    assert found["copies"] == {"train: 0.png"}
    assert found["conflicting labels"] == {"train: 3.png"}
    kept = check.usable().train
    assert [check.shown(path) for path in kept.paths] == ["0.png", "1.png", "2.png"]


def test_two_spellings_of_a_name_are_an_error(tmp_path):
    for i, name in enumerate(["sea_lion", "Sea Lion", "cat", "cat2"]):
        (tmp_path / name).mkdir()
        for k in range(2):
            photograph(10 * i + k).save(tmp_path / name / f"{k}.png")
    check = check_dataset(tmp_path)
    assert found_in(check) == {
        "equal names": {"sea_lion", "Sea Lion"},
        "names of no meaning": {"cat2"},
    }


def test_names_with_spaces_at_an_end_are_said(tmp_path):
    for i, name in enumerate(["cat ", "dog"]):
        (tmp_path / name).mkdir()
        for k in range(2):
            photograph(10 * i + k).save(tmp_path / name / f"{k}.png")
    assert found_in(check_dataset(tmp_path)) == {"spaces in names": {"cat "}}


@pytest.mark.skipif(sys.platform == "win32", reason="no such names on this system")
def test_line_breaks_in_names_are_said_before_predict_refuses_them(tmp_path):
    root = write_clean(tmp_path, 8)
    first = sorted(root.rglob("*.jpg"))[0]
    first.rename(first.with_name("a\nb.jpg"))
    (item,) = found_in(check_dataset(root))["line breaks"]
    assert item.endswith("a\nb.jpg")


def test_a_format_with_two_names_is_no_wrong_ending(tmp_path):
    """Nor is a type that the system spells otherwise."""
    (tmp_path / "cat").mkdir()
    for i, ending in enumerate(["jpg", "jpeg", "JPG", "tif", "tiff", "bmp", "webp", "jp2"]):
        photograph(i).save(tmp_path / "cat" / f"{i}.{ending}")
    photograph(20).save(
        tmp_path / "cat" / "phone.jpg", "MPO", save_all=True, append_images=[photograph(21)]
    )
    with Image.open(tmp_path / "cat" / "phone.jpg") as image:
        assert image.format == "MPO"
    assert found_in(check_dataset(tmp_path)) == {"one class": {"cat"}}


def test_frames_of_a_film_are_one_group_and_cost_no_more(tmp_path):
    """Each is like each other, some only by way of a third."""
    facts = np.repeat(np.eye(3, 768, dtype=np.float32), 2000, axis=0)
    start = time.perf_counter()
    first = {row: alike[0] for row, alike in alike_rows(facts)}
    assert [first[row] for row in (0, 1999, 2000, 5999)] == [0, 0, 2000, 4000]
    assert time.perf_counter() - start < 10
    film = tmp_path / "film"
    film.mkdir()
    whole = np.asarray(photograph(0), float)
    for i in range(4):  # each a little brighter on one side
        shade = np.linspace(0, 10 * i, whole.shape[1])[None, :, None]
        pixels = np.clip(whole * 0.7 + shade, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(film / f"{i}.png")
    check = check_dataset(tmp_path)
    small = np.stack([check.facts[str(film / f"{i}.png")].small for i in range(4)])
    correlation = small @ small.T
    assert correlation[0, 1] >= 0.9965 > correlation[0, 3]
    assert len(set(check.groups([str(film / f"{i}.png") for i in range(4)]))) == 1
