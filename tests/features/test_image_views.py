"""Augmented views: reproducible by seed and image, and by nothing else."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional

from skclip import BayesAdapterClassifier, CLIPFeaturizer
from skclip.exceptions import ImageError
from skclip.features.image_views import ImageViews, draw_crop


@pytest.fixture
def featurizer(small_clip):
    return CLIPFeaturizer(pretrained=small_clip, device="cpu")


def make_views(images, n_views=3, **changes):
    given = {"size": (32, 24), "seed": 0, "scale": (0.5, 1.0), "ratio": (0.75, 4 / 3), "flip": 0.5}
    return ImageViews(images, n_views, **{**given, **changes})


def test_rows_and_groups_are_in_the_order_of_the_images(featurizer, pixels):
    noise = np.random.default_rng(0).integers(0, 256, pixels[:4].shape, dtype=np.uint8)
    features, groups = featurizer.views(noise, 3, random_state=0)
    assert features.shape == (12, 16)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(groups, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    distances = np.linalg.norm(features[:3, None] - features[:3], axis=-1)
    assert (distances[np.triu_indices(3, 1)] > 1e-3).all(), "views of an image differ"


def test_a_view_depends_on_seed_and_image_only(pixels):
    """Not on the other images, nor on the order in which views are asked for."""
    together = make_views(pixels[:6])
    alone = make_views(pixels[4:5])
    for view in (2, 0, 1):
        assert alone[view].tobytes() == together[12 + view].tobytes()
    more = make_views(pixels[4:5], n_views=7)
    assert more[2].tobytes() == alone[2].tobytes()
    assert make_views(pixels[4:5], seed=1)[0].tobytes() != alone[0].tobytes()


def test_the_same_picture_has_the_same_views_however_it_is_given(featurizer, pixels, paths):
    kinds = [paths[3], str(paths[3]), pixels[3], Image.fromarray(pixels[3])]
    features, _ = featurizer.views(kinds, 2, random_state=0)
    for other in features.reshape(4, 2, -1)[1:]:
        np.testing.assert_allclose(other, features[:2], atol=1e-6)


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 7}, {"n_jobs": 3}], ids=str)
def test_batches_and_workers_change_nothing(featurizer, pixels, changes):
    expected, _ = featurizer.views(pixels[:8], 3, random_state=5)
    features, _ = featurizer.set_params(**changes).views(pixels[:8], 3, random_state=5)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_random_state_is_reproducible_and_matters(featurizer, pixels):
    first, second, other, one_more = (
        featurizer.views(pixels[:2], 2, random_state=state)[0]
        for state in (3, 3, 4, np.random.RandomState(3))
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, one_more)
    assert np.abs(first - other).max() > 1e-3
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    featurizer.views(pixels[:2], 2, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_whole_image_unflipped_is_what_transform_embeds(small_clip):
    """A square image of the model's own size is not resampled."""
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    featurizer = CLIPFeaturizer(pretrained=small_clip, device="cpu")
    features, _ = featurizer.views(images, 1, scale=(1, 1), ratio=(1, 1), flip=0)
    np.testing.assert_allclose(features, featurizer.transform(images), atol=1e-6)


def test_a_view_is_torchvisions_crop_and_flip(pixels):
    """The same resampling as RandomResizedCrop followed by a flip."""
    views = make_views(pixels[:5], flip=1.0)
    for position in range(len(views)):
        index, view = divmod(position, 3)
        image, digest = views._decoded(index)
        rng = np.random.default_rng([0, *digest, view])
        left, top, width, height = draw_crop(image.size, views.scale, views.ratio, rng)
        theirs = functional.resized_crop(
            image, top, left, height, width, [32, 24], InterpolationMode.BICUBIC
        )
        theirs = functional.horizontal_flip(theirs)
        assert views[position].tobytes() == theirs.tobytes()


def test_crops_keep_to_their_ranges():
    """Rounding to pixels moves area and ratio by a few per cent at this size."""
    rng = np.random.default_rng(0)
    shares, ratios = [], []
    for _ in range(2000):
        left, top, width, height = draw_crop((200, 120), (0.25, 0.5), (0.8, 1.25), rng)
        assert 0 <= left <= 200 - width
        assert 0 <= top <= 120 - height
        shares.append(width * height / (200 * 120))
        ratios.append(width / height)
    assert min(shares) == pytest.approx(0.25, abs=0.01)
    assert max(shares) == pytest.approx(0.5, abs=0.01)
    assert np.mean(shares) == pytest.approx(0.375, abs=0.01)
    assert min(ratios) == pytest.approx(0.8, abs=0.02)
    assert max(ratios) == pytest.approx(1.25, abs=0.03)
    assert np.mean(np.log(ratios)) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 10), (43, 0, 13, 10)), ((10, 100), (0, 43, 10, 13)), ((1, 1), (0, 0, 1, 1))],
)
def test_an_image_too_narrow_for_any_crop_gives_its_middle(size, expected):
    rng = np.random.default_rng(0)
    assert draw_crop(size, (0.9, 1.0), (3 / 4, 4 / 3), rng) == expected


def test_half_of_the_views_are_flipped(pixels):
    left_to_right = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    views = make_views([left_to_right], n_views=400)
    flipped = sum(np.asarray(view)[0, 0, 0] > np.asarray(view)[0, -1, 0] for view in views)
    assert 160 < flipped < 240  # four standard deviations


def test_every_image_is_decoded_once(pixels, monkeypatch):
    """Ten views of a photograph must not cost ten decodings."""
    opened = []

    def count(item, max_pixels):
        opened.append(item)
        return Image.fromarray(item)

    monkeypatch.setattr("skclip.features.image_views.open_image", count)
    assert len(list(make_views(list(pixels[:9]), n_views=10))) == 90
    assert len(opened) == 9


def test_the_limit_of_pixels_holds_for_views(featurizer, pixels, tmp_path):
    """A file that `transform` would not decode is not decoded for its views either."""
    path = tmp_path / "large.png"
    Image.fromarray(pixels[0]).save(path)
    featurizer.set_params(max_pixels=pixels[0].size // 3 - 1)
    with pytest.raises(ImageError, match=r"large\.png.*more than max_pixels="):
        featurizer.views([path], 2)


def test_an_unreadable_image_gives_rows_of_nan(featurizer, pixels, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    items = [pixels[0], broken, pixels[1]]
    with pytest.raises(ImageError, match=r"broken\.png"):
        featurizer.views(items, 2)
    with pytest.warns(UserWarning, match="cannot be read and have NaN features"):
        features, _ = featurizer.set_params(on_error="nan").views(items, 2, random_state=0)
    assert np.isnan(features[2:4]).all()
    clean, _ = featurizer.views([pixels[0], pixels[1]], 2, random_state=0)
    np.testing.assert_allclose(features[[0, 1, 4, 5]], clean, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_views": 0}, "n_views must be an int of at least 1; got 0"),
        ({"n_views": 2.5}, "n_views must be an int of at least 1; got 2.5"),
        ({"scale": (0.5, 1.5)}, "scale must be a smallest and a largest positive number, neither"),
        ({"scale": (0.0, 1.0)}, "scale must be"),
        ({"ratio": (2.0, 1.0)}, "ratio must be a smallest and a largest positive number; got"),
        ({"flip": 1.5}, r"flip must be a probability in \[0, 1\]; got 1.5"),
    ],
)
def test_parameters_out_of_range_are_refused(featurizer, pixels, changes, message):
    with pytest.raises(ValueError, match=message):
        featurizer.views(pixels[:1], **{"n_views": 2, **changes})


def test_views_go_into_fit_with_groups_and_weights(featurizer, pixels, kinds):
    """Identical views weigh as much as the image once."""
    images, labels = pixels[:16], kinds[:16]
    features, groups = featurizer.views(
        images, 4, scale=(1, 1), ratio=(36 / 48, 36 / 48), flip=0, random_state=0
    )
    weight = np.full(len(groups), 1 / 4)
    # Every view is the whole image.
    np.testing.assert_allclose(features, features[::4][groups], atol=1e-6)
    by_views = BayesAdapterClassifier(prior_precision=1.0, temperature=1.0, logit_scale=10.0)
    by_views.fit(features, labels[groups], sample_weight=weight, groups=groups)
    by_images = BayesAdapterClassifier(prior_precision=1.0, temperature=1.0, logit_scale=10.0)
    by_images.fit(features[::4], labels)
    test = featurizer.transform(pixels[16:])
    np.testing.assert_allclose(
        by_views.predict_proba(test), by_images.predict_proba(test), atol=1e-4
    )


def test_views_are_cached_like_images(featurizer, pixels, tmp_path, monkeypatch):
    """The same seed draws the same pixels, which are found again; another seed is computed."""
    expected, _ = featurizer.views(pixels[:3], 2, random_state=0)
    cached = featurizer.set_params(cache_dir=tmp_path)
    first, _ = cached.views(pixels[:3], 2, random_state=0)
    np.testing.assert_allclose(first, expected, atol=1e-6)

    def no_model(self, batch):
        raise AssertionError("a cached view must not go through the model")

    monkeypatch.setattr("skclip.backbones.Backbone.encode_images", no_model)
    again, _ = cached.views(pixels[:3], 2, random_state=0)
    np.testing.assert_array_equal(again, first)
    with pytest.raises(AssertionError, match="must not go through the model"):
        cached.views(pixels[:3], 2, random_state=1)
