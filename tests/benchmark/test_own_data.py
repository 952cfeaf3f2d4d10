"""A user's own data: what is held out, and the study that is made of it."""

import numpy as np
import pytest

from skclip.benchmark import hold_out, recommend, run, study_of
from skclip.cli import main
from skclip.datasets import ImageDataset, ImageList, save_digits_images, tiny_clip
from skclip.exceptions import DatasetError


def images(*labels, **splits):
    rows = [(f"{k}.png", label) for k, label in enumerate(labels)]
    names = {label: f"class {label}" for label in sorted(set(labels))}
    return ImageDataset("mine", names, {"train": ImageList.of(rows), **splits})


def test_a_share_of_every_class_is_held_out():
    data = hold_out(images(*[0] * 10, *[1] * 4, *[2] * 2, *[3] * 3), share=0.3)
    np.testing.assert_array_equal(np.bincount(data.splits["test"].labels), [3, 1, 1, 1])
    both = [*data.train.paths, *data.splits["test"].paths]
    assert sorted(both) == sorted(f"{k}.png" for k in range(19))


def test_what_is_held_out_is_the_same_every_time():
    first, second = (hold_out(images(*[0] * 9, *[1] * 9)) for _ in range(2))
    np.testing.assert_array_equal(first.train.paths, second.train.paths)


def test_a_test_split_is_left_alone():
    data = images(0, 1, test=ImageList.of([("t.png", 0)]))
    assert hold_out(data) is data


def test_a_class_of_one_image_is_refused():
    with pytest.raises(
        DatasetError, match="Every class needs at least two images.*'class 1' in mine"
    ):
        hold_out(images(0, 0, 1))


def test_features_become_a_study_with_shots_up_to_half_of_what_there_is(feature_file):
    study = study_of(feature_file)
    assert study["datasets"] == [{"features": str(feature_file)}]
    assert study["shots"] == (1, 2, 4)  # 12 rows per class


def test_images_without_a_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Images need a CLIP model; got no pretrained weights"):
        study_of(tmp_path)


@pytest.mark.parametrize("draft", [True, False])
def test_a_study_of_embeddings_says_how_their_images_were_decoded(draft, tmp_path):
    """So that the code it recommends decodes new ones alike."""
    save_digits_images(tmp_path / "digits", n_per_class=2)
    command = ["embed", str(tmp_path / "digits"), "--pretrained", tiny_clip(), "--quiet"]
    command += ["--jpeg-draft"] * draft
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    (table,) = study_of(tmp_path / "out")["datasets"]
    assert table.get("jpeg_draft", False) == draft
    run([table], tmp_path / "study", methods=("zero-shot",), shots=(1,), seeds=(1,), verbose=0)
    assert ("jpeg_draft=True" in recommend(tmp_path / "study").code) == draft
