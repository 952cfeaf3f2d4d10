"""Real digit images: what is returned, that the halves are disjoint, that shifts repeat."""

import re

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from skclip.datasets import DIGIT_SHIFTS, load_digits_images, save_digits_images, split_digits


def test_the_two_halves_partition_the_digits():
    """A row in both halves would be training data measured as if it were not."""
    train, test = split_digits()
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))


def test_the_split_is_stratified():
    target = load_digits().target
    train, test = (np.bincount(target[rows]) for rows in split_digits())
    assert np.all((train - test >= 0) & (train - test <= 1))


def test_the_split_is_the_one_that_the_shipped_weights_were_trained_with():
    """The weights are only valid for this split; it must not move with a dependency."""
    train, test = split_digits()
    np.testing.assert_array_equal(train[[0, 9, 10, 100, -1]], [0, 9, 20, 195, 1794])
    np.testing.assert_array_equal(test[[0, 9, 10, 100, -1]], [10, 19, 30, 206, 1796])


@pytest.mark.parametrize(("subset", "n"), [("train", 901), ("test", 896), ("all", 1797)])
def test_images_are_rgb_arrays_with_a_name_each(subset, n):
    data = load_digits_images(subset=subset)
    assert data.images.shape == (n, 32, 32, 3)
    assert data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.target, load_digits().target[data.rows])
    np.testing.assert_array_equal(data.labels, data.target_names[data.target])


def test_halving_the_side_twice_gives_the_digits_back():
    """The images are scikit-learn's, enlarged: same pixels up to the interpolation."""
    data = load_digits_images(subset="all", size=32)
    small = data.images[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) * (16 / 255)
    original = load_digits().images
    assert np.corrcoef(small.ravel(), original.ravel())[0, 1] > 0.98


def test_pillow_images_have_the_pixels_of_the_array():
    array = load_digits_images(shift="combined").images
    images = load_digits_images(shift="combined", as_pil=True).images
    assert {image.mode for image in images} == {"RGB"}
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in images]), array)


@pytest.mark.parametrize("shift", DIGIT_SHIFTS)
def test_a_shift_is_the_same_on_every_call_and_for_every_subset(shift):
    """The noise belongs to the row, not to the call or to the company it is in."""
    everything = load_digits_images(subset="all", shift=shift).images
    train = load_digits_images(subset="train", shift=shift)
    np.testing.assert_array_equal(train.images, everything[train.rows])


@pytest.mark.parametrize("shift", DIGIT_SHIFTS)
def test_a_shift_changes_every_image_and_no_label(shift):
    upright, shifted = load_digits_images(), load_digits_images(shift=shift)
    changed = np.abs(shifted.images.astype(int) - upright.images).mean(axis=(1, 2, 3))
    assert changed.min() > 2
    np.testing.assert_array_equal(shifted.labels, upright.labels)


def test_inverting_is_the_negative():
    np.testing.assert_array_equal(
        load_digits_images(shift="inverted").images, 255 - load_digits_images().images
    )


def test_noise_differs_between_images():
    """One noise field for all images would be a constant that any classifier removes."""
    upright = load_digits_images().images.astype(int)
    noise = load_digits_images(shift="noisy").images - upright
    middle = (upright[:2] > 60) & (upright[:2] < 195)
    both = middle.all(axis=0)
    assert both.sum() > 50
    assert abs(np.corrcoef(noise[0][both], noise[1][both])[0, 1]) < 0.5


@pytest.mark.parametrize("shift", [None, "combined"])
def test_size_is_the_side_in_pixels(shift):
    assert load_digits_images(shift=shift, size=20).images.shape == (896, 20, 20, 3)


def test_files_hold_the_images_in_one_folder_per_class(tmp_path):
    paths, labels = save_digits_images(tmp_path / "new", shift="combined", n_per_class=3)
    assert len(paths) == len(labels) == 30
    assert [path.parent.name for path in paths] == labels.tolist()
    assert sorted(tmp_path.rglob("*.png")) == sorted(paths)
    data = load_digits_images(shift="combined")
    for path in paths:
        with Image.open(path) as image:
            [position] = np.flatnonzero(data.rows == int(path.stem))
            np.testing.assert_array_equal(np.asarray(image), data.images[position])


def test_all_files_are_written_without_a_limit(tmp_path):
    paths, labels = save_digits_images(str(tmp_path), subset="test")
    np.testing.assert_array_equal(labels, load_digits_images().labels)
    assert len(set(paths)) == 896


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"subset": "half"}, "subset must be one of 'train', 'test', 'all'; got 'half'."),
        ({"shift": "upside-down"}, "shift must be one of None, 'inverted', 'rotated'"),
    ],
)
def test_an_unknown_choice_lists_the_known_ones(parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_digits_images(**parameters)


@pytest.mark.parametrize("parameters", [{"size": 7}, {"n_per_class": 0}])
def test_numbers_out_of_range_are_refused(parameters, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(parameters))} == "):
        save_digits_images(tmp_path, **parameters)
