"""JPEG files at a fraction of their size: nearly the same features, and never mixed up."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_sample_images

from skclip import CLIPFeaturizer, embed_files
from skclip.datasets import tiny_clip
from skclip.exceptions import EmbedError, ImageError
from skclip.features import image_reading
from skclip.features.image_reading import decode


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photographs():
    """Parts of the two photographs that scikit-learn has, (width, height) = (320, 320)."""
    whole = [Image.fromarray(image) for image in load_sample_images().images]
    corners = [(x, y) for x in (0, 160, 320) for y in (0, 104)]
    return [image.crop((x, y, x + 320, y + 320)) for image in whole for x, y in corners]


@pytest.fixture
def featurizer():
    return CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")  # sees 32 x 32


@pytest.mark.parametrize(
    ("size", "least_side", "expected"),
    [
        ((320, 320), 40, (40, 40)),
        ((320, 320), 41, (80, 80)),
        ((320, 240), 64, (160, 120)),
        ((320, 320), 161, (320, 320)),
        ((318, 320), 40, (159, 160)),
        ((319, 320), 40, (319, 320)),  # what does not divide a side would stretch it
        ((320, 321), 40, (320, 321)),
        ((320, 320), None, (320, 320)),
    ],
)
def test_sides_are_divided_as_far_as_they_can_be(size, least_side, expected):
    content = jpeg(Image.new("RGB", size))
    assert decode(content, 10**6, least_side).size == expected


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_colour_space_becomes_rgb(mode, photographs):
    content = jpeg(photographs[0].convert(mode))
    small, whole = decode(content, 10**6, 80), decode(content, 10**6)
    assert (small.mode, small.size) == ("RGB", (80, 80))
    difference = np.asarray(whole.reduce(4), int) - np.asarray(small, int)
    assert np.abs(difference).mean() < 2


def test_turned_photographs_are_turned(photographs):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = jpeg(photographs[0].crop((0, 0, 320, 160)), exif=exif)
    small, whole = decode(content, 10**6, 40), decode(content, 10**6)
    assert (small.size, whole.size) == ((40, 80), (160, 320))
    difference = np.asarray(whole.reduce(4), int) - np.asarray(small, int)
    assert np.abs(difference).mean() < 2


def test_other_formats_and_the_limit_of_pixels_are_as_before(photographs):
    file = io.BytesIO()
    photographs[0].save(file, "PNG")
    assert decode(file.getvalue(), 10**6, 40).size == (320, 320)
    with pytest.raises(ImageError, match="320 x 320 pixels, more than max_pixels=102399"):
        decode(jpeg(photographs[0]), 320 * 320 - 1, 40)


def test_features_are_nearly_those_of_the_whole(featurizer, photographs):
    """Sides of 80 for a model that sees 32. Neighbouring parts differ by much more."""
    files = [jpeg(image) for image in photographs]
    whole = featurizer.transform(files)
    draft = clone(featurizer).set_params(jpeg_draft=True).transform(files)
    change = 1 - (whole * draft).sum(axis=1)
    assert 0 < change.max() < 1e-4
    between = (1 - whole @ whole.T)[np.triu_indices(len(whole), 1)]
    assert change.max() < between.min() / 50


def test_the_cache_keeps_them_apart(featurizer, photographs, tmp_path):
    files = [jpeg(image) for image in photographs]
    whole = featurizer.transform(files)
    kept = clone(featurizer).set_params(cache_dir=tmp_path)
    np.testing.assert_array_equal(kept.transform(files), whole)
    draft = kept.set_params(jpeg_draft=True).transform(files)
    assert (draft != whole).any(axis=1).all()
    np.testing.assert_array_equal(kept.transform(files), draft)
    np.testing.assert_array_equal(kept.set_params(jpeg_draft=False).transform(files), whole)


def test_embedded_folders_keep_them_apart(featurizer, photographs, tmp_path):
    paths = []
    for i, image in enumerate(photographs):
        paths.append(tmp_path / f"{i}.jpg")
        paths[-1].write_bytes(jpeg(image))
    given = {"pretrained": tiny_clip(), "device": "cpu"}
    report = embed_files(paths, tmp_path / "out", jpeg_draft=True, **given)
    expected = clone(featurizer).set_params(jpeg_draft=True).transform(paths)
    np.testing.assert_allclose(report.features, expected, rtol=0, atol=5e-6)
    with pytest.raises(EmbedError, match="has jpeg_draft=True, not False"):
        embed_files(paths, tmp_path / "out", **given)


def test_views_are_of_the_whole_image(featurizer, photographs, monkeypatch):
    decoded = []

    def watch(content, max_pixels, least_side=None):
        decoded.append(least_side)
        return decode(content, max_pixels, least_side)

    monkeypatch.setattr(image_reading, "decode", watch)
    featurizer.set_params(jpeg_draft=True).views([jpeg(photographs[0])], 2, random_state=0)
    assert decoded == [None]
