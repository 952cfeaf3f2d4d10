"""The few-shot data sets: their layouts, what is checked, and how shots are drawn."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer
from skclip.datasets import (
    FEW_SHOT_DATASETS,
    IMAGENET_SHIFTS,
    draw_few_shots,
    load_few_shot_dataset,
    tiny_clip,
)
from skclip.exceptions import DatasetError, LeftOutWarning
from skclip.prompts import get_templates

from .image_trees import N_CLASSES, PER_CLASS, class_names, small_spec, write_tree

WITH_SPLIT_FILE = [n for n, spec in FEW_SHOT_DATASETS.items() if spec.layout == "split-file"]


@pytest.fixture(params=list(FEW_SHOT_DATASETS))
def name(request):
    return request.param


def test_there_are_eleven_data_sets_and_four_shifts():
    assert len(FEW_SHOT_DATASETS) == 15
    assert set(IMAGENET_SHIFTS) < set(FEW_SHOT_DATASETS)


def test_every_layout_is_read(name, tmp_path):
    write_tree(name, tmp_path)
    spec = small_spec(name)
    data = load_few_shot_dataset(spec, tmp_path)
    assert set(data.splits) == set(spec.counts)
    for split, images in data.splits.items():
        np.testing.assert_array_equal(np.bincount(images.labels), [PER_CLASS[split]] * N_CLASSES)
        assert all(Path(path).is_file() for path in images.paths)
    assert get_templates(data.template_set)


def test_class_names_are_renamed_and_lose_their_underscores(name, tmp_path):
    write_tree(name, tmp_path)
    spec = small_spec(name)
    data = load_few_shot_dataset(spec, tmp_path)
    expected = [spec.renames.get(n, n).replace("_", " ") for n in class_names(spec)]
    assert list(data.class_names.values()) == expected
    kept = load_few_shot_dataset(spec, tmp_path, underscores=True)
    assert list(kept.class_names.values()) == [spec.renames.get(n, n) for n in class_names(spec)]


def test_every_data_set_runs_from_its_files_to_probabilities(name, tmp_path):
    """The whole path, through the tiny CLIP; the shifts are for testing only."""
    write_tree(name, tmp_path)
    data = load_few_shot_dataset(small_spec(name), tmp_path)
    support = data.splits.get("train", data.test)
    shots = draw_few_shots(support.labels, 2, seed=1)
    featurizer = CLIPFeaturizer(pretrained=tiny_clip())
    prompts = ClassPrompts(
        featurizer, class_names=data.class_names, templates=get_templates(data.template_set)
    )
    classifier = BayesAdapterClassifier(prompts)
    classifier.fit(featurizer.transform(support.paths[shots]), support.labels[shots])
    assert classifier.score(featurizer.transform(data.test.paths), data.test.labels) == 1.0


def test_a_missing_folder_says_where_it_must_lie(name, tmp_path):
    message = f"{name} must lie in the folder '{FEW_SHOT_DATASETS[name].folder}' of the root"
    with pytest.raises(DatasetError, match=message):
        load_few_shot_dataset(name, tmp_path)


def test_a_missing_image_is_named(name, tmp_path):
    write_tree(name, tmp_path)
    spec = small_spec(name)
    path = load_few_shot_dataset(spec, tmp_path).test.paths[0]
    Path(path).unlink()
    # Where folders are the only record, a missing image is a wrong number.
    listed = spec.layout in ("split-file", "aircraft")
    message = f"Every image that {name} names must exist" if listed else "test images; got 5"
    with pytest.raises(DatasetError, match=message):
        load_few_shot_dataset(spec, tmp_path)


def test_a_wrong_number_of_images_is_refused_unless_unchecked(name, tmp_path):
    write_tree(name, tmp_path)
    spec = FEW_SHOT_DATASETS[name]
    first = next(iter(spec.counts))
    message = rf"{name} must have {spec.counts[first]} {first} images; got"
    with pytest.raises(DatasetError, match=message):
        load_few_shot_dataset(name, tmp_path)
    assert len(load_few_shot_dataset(name, tmp_path, check=False).test)


@pytest.mark.parametrize("name", WITH_SPLIT_FILE)
def test_a_missing_split_file_is_named(name, tmp_path):
    spec = small_spec(name)
    (write_tree(name, tmp_path) / spec.split_file).unlink()
    with pytest.raises(DatasetError, match=f"{name} needs the split file {spec.split_file}"):
        load_few_shot_dataset(spec, tmp_path)


@pytest.mark.parametrize("name", sorted(set(FEW_SHOT_DATASETS) - set(WITH_SPLIT_FILE)))
def test_a_missing_list_is_named(name, tmp_path):
    file = "variants.txt" if name == "fgvc-aircraft" else "classnames.txt"
    (write_tree(name, tmp_path) / file).unlink()
    with pytest.raises(DatasetError, match=f"{name} needs the file {file}"):
        load_few_shot_dataset(small_spec(name), tmp_path)


@pytest.mark.parametrize("name", WITH_SPLIT_FILE)
def test_a_broken_split_file_is_an_incomplete_download(name, tmp_path):
    spec = small_spec(name)
    path = write_tree(name, tmp_path) / spec.split_file
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DatasetError, match=r"must be JSON; got .*The download may be incomplete"):
        load_few_shot_dataset(spec, tmp_path)


def changed_split(tmp_path, change, name="oxford-pets"):
    spec = small_spec(name)
    path = write_tree(name, tmp_path) / spec.split_file
    split = json.loads(path.read_text())
    change(split)
    path.write_text(json.dumps(split))
    return spec


def test_a_duplicate_is_named(tmp_path):
    def change(split):
        split["train"][1] = split["train"][0]

    spec = changed_split(tmp_path, change)
    with pytest.raises(DatasetError, match="An image must occur once in the train split"):
        load_few_shot_dataset(spec, tmp_path)


def test_an_image_in_two_splits_is_named(tmp_path):
    def change(split):
        split["test"][0] = split["train"][0]

    spec = changed_split(tmp_path, change)
    with pytest.raises(DatasetError, match="The splits of oxford-pets must be disjoint"):
        load_few_shot_dataset(spec, tmp_path)


def test_a_label_with_two_names_is_refused(tmp_path):
    def change(split):
        split["test"][0][2] = "another"

    spec = changed_split(tmp_path, change)
    with pytest.raises(DatasetError, match="A label must have one class name"):
        load_few_shot_dataset(spec, tmp_path)


def test_a_split_without_its_lists_is_refused(tmp_path):
    spec = changed_split(tmp_path, lambda split: split.pop("val"))
    with pytest.raises(DatasetError, match="must be a JSON object of train, val and test lists"):
        load_few_shot_dataset(spec, tmp_path)


def test_a_row_of_another_shape_is_quoted(tmp_path):
    spec = changed_split(tmp_path, lambda split: split["train"].append(["only a path"]))
    with pytest.raises(DatasetError, match=r"Rows of .* must be \[path, label, class name\]"):
        load_few_shot_dataset(spec, tmp_path)


def test_an_unknown_variant_is_quoted(tmp_path):
    folder = write_tree("fgvc-aircraft", tmp_path)
    with (folder / "images_variant_val.txt").open("a") as file:
        file.write("1 Zeppelin\n")
    with pytest.raises(DatasetError, match="must be an image and a variant of variants.txt"):
        load_few_shot_dataset(small_spec("fgvc-aircraft"), tmp_path)


def test_an_unknown_folder_is_refused(tmp_path):
    folder = write_tree("imagenet-a", tmp_path)
    (folder / "imagenet-a" / "n99999999").mkdir()
    with pytest.raises(DatasetError, match=r"must be in classnames\.txt; got 'n99999999'"):
        load_few_shot_dataset(small_spec("imagenet-a"), tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "imagenet-a", "imagenet-v2"])
def test_files_that_are_no_images_are_left_out_and_said(name, tmp_path):
    """As of any folder of images; they were images of their class, unreadable ones."""
    folder = write_tree(name, tmp_path)
    whole = load_few_shot_dataset(small_spec(name), tmp_path)
    inside = next(folder.rglob("*.[jJ]*")).parent
    for file in ("notes.txt", "boxes.xml", ".hidden.jpg"):
        (inside / file).write_text("no image")
    with pytest.warns(LeftOutWarning, match="left out: 1 .txt, 1 .xml, 1 hidden"):
        again = load_few_shot_dataset(small_spec(name), tmp_path)
    np.testing.assert_array_equal(again.test.paths, whole.test.paths)
    np.testing.assert_array_equal(again.test.labels, whole.test.labels)


def test_labels_of_a_shift_are_those_of_imagenet(tmp_path):
    """ImageNet-A lacks classes: what is learned on ImageNet must still fit."""
    folder = write_tree("imagenet-a", tmp_path)
    first = sorted((folder / "imagenet-a").glob("n*"))[0]
    for path in first.iterdir():
        path.unlink()
    first.rmdir()
    data = load_few_shot_dataset("imagenet-a", tmp_path, check=False)
    assert sorted(data.class_names) == [1, 2]


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="The few-shot data sets are caltech101, "):
        load_few_shot_dataset("mnist", tmp_path)


def test_a_split_that_is_not_there_is_not_an_attribute(tmp_path):
    write_tree("imagenet", tmp_path)
    data = load_few_shot_dataset(small_spec("imagenet"), tmp_path)
    with pytest.raises(AttributeError, match="imagenet has the splits 'train', 'test'"):
        data.val  # noqa: B018


# -- draws ------------------------------------------------------------------------------


def test_draws_are_those_of_the_fields_code():
    """Seed once, then random.sample per class in order of appearance, train before val."""
    train, val = ["b", "a", "b", "a", "a", "b", "a"] * 3, ["a", "b", "b", "a"] * 3
    random.seed(2)
    expected = []
    for labels, shots in ((train, 5), (val, 4)):
        items = {k: [i for i, v in enumerate(labels) if v == k] for k in dict.fromkeys(labels)}
        expected.append([row for rows in items.values() for row in random.sample(rows, shots)])
    ours = draw_few_shots(train, 5, 2, val_labels=val)
    assert [rows.tolist() for rows in ours] == expected


def test_a_class_with_fewer_images_gives_all():
    assert sorted(draw_few_shots([0, 1, 0, 0], 2, seed=0).tolist())[-1] in (2, 3)
    assert 1 in draw_few_shots([0, 1, 0, 0], 2, seed=0)
    assert len(draw_few_shots([0, 1, 0, 0], 2, seed=0)) == 3


def test_no_global_random_state_is_touched():
    random.seed(5)
    state = random.getstate()
    draw_few_shots([0, 0, 1, 1], 1, seed=3)
    assert random.getstate() == state


def test_zero_shots_are_refused():
    with pytest.raises(ValueError, match="n_shots == 0, must be >= 1"):
        draw_few_shots([0, 1], 0, seed=0)
