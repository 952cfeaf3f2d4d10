"""What was embedded once is never embedded again, and what changes features is never mistaken."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer
from skclip.backbones import Backbone
from skclip.datasets import save_digits_images, tiny_clip
from skclip.exceptions import ImageError
from skclip.features import image_reading
from skclip.features.image_reading import open_item


@pytest.fixture
def featurizer(small_clip, tmp_path):
    return CLIPFeaturizer(small_clip, device="cpu", batch_size=7, cache_dir=tmp_path / "cache")


@pytest.fixture
def copies(paths, tmp_path):
    """Files that a test may change."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return [Path(shutil.copy(path, folder / path.name)) for path in paths]


# Hits


def test_the_second_transform_encodes_nothing_and_gives_the_same_bits(featurizer, paths, encoded):
    first = featurizer.transform(paths)
    assert sum(encoded) == 40
    np.testing.assert_array_equal(clone(featurizer).transform(paths), first)
    assert sum(encoded) == 40


def test_the_first_transform_is_the_one_without_a_cache(featurizer, paths):
    without = clone(featurizer).set_params(cache_dir=None).transform(paths)
    np.testing.assert_array_equal(featurizer.transform(paths), without)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 3}, {"n_jobs": 3}, {"verbose": 1}, {"normalize": False}, {"on_error": "nan"}],
    ids=str,
)
def test_what_does_not_change_features_hits(featurizer, paths, encoded, changes):
    expected = featurizer.transform(paths)
    features = clone(featurizer).set_params(**changes).transform(paths)
    assert sum(encoded) == 40
    if not changes.get("normalize", True):
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)


def test_copies_new_names_and_parts_hit(featurizer, paths, copies, encoded):
    expected = featurizer.transform(paths)
    np.testing.assert_array_equal(featurizer.transform(copies[::-2]), expected[::-2])
    assert sum(encoded) == 40


def test_arrays_and_pil_images_hit_each_other(featurizer, pixels, encoded):
    expected = featurizer.transform(pixels)
    images = [Image.fromarray(image) for image in pixels]
    np.testing.assert_array_equal(featurizer.transform(images), expected)
    assert sum(encoded) == 40


def test_some_known_and_some_new(featurizer, paths, encoded):
    featurizer.transform(paths[:25])
    features = featurizer.transform(paths[10:])
    assert sum(encoded) == 40
    uncached = clone(featurizer).set_params(cache_dir=None).transform(paths[10:])
    np.testing.assert_allclose(features, uncached, rtol=0, atol=5e-6)


def test_repeated_images_go_through_the_model_once(featurizer, paths, encoded):
    """With or without a cache, within a batch and across batches, for any number of threads."""
    featurizer.set_params(cache_dir=None)
    expected = featurizer.transform(paths)
    repeated = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 5))
    for n_jobs in (1, 3):
        encoded.clear()
        featurizer.set_params(n_jobs=n_jobs)
        features = featurizer.transform([paths[i] for i in repeated])
        assert sum(encoded) == 40
        np.testing.assert_allclose(features, expected[repeated], rtol=0, atol=5e-6)


def test_another_model_with_the_same_weights_hits(featurizer, paths, encoded, tmp_path):
    """The weights are known by what they are, not by their folder."""
    expected = featurizer.transform(paths)
    shutil.copytree(featurizer.model.removeprefix("local-dir:"), tmp_path / "copy")
    moved = clone(featurizer).set_params(model=f"local-dir:{tmp_path / 'copy'}")
    np.testing.assert_array_equal(moved.transform(paths), expected)
    assert sum(encoded) == 40


@pytest.mark.usefixtures("settled")
def test_files_that_did_not_change_are_not_read_again(featurizer, paths, monkeypatch):
    expected = featurizer.transform(paths)

    def read(*args):
        raise AssertionError("a file was read")

    monkeypatch.setattr("skclip.features.image_reading._read_file", read)
    np.testing.assert_array_equal(featurizer.transform(paths), expected)


def test_cross_validation_embeds_each_image_once(tmp_path, encoded):
    """Four candidates, five folds, a refit: without a cache 41 transforms of up to 1000 files."""
    paths, labels = save_digits_images(tmp_path / "digits")
    for path in paths[: 1000 - len(paths)]:  # there are not so many: some darker ones
        darker = path.with_name(f"dark-{path.name}")
        Image.eval(Image.open(path), lambda value: value // 2).save(darker)
        paths = [*paths, darker]
    labels = [path.parent.name for path in paths]
    n_distinct = len({Path(path).read_bytes() for path in paths})
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", cache_dir=tmp_path / "cache")
    prompts = ClassPrompts(pretrained=tiny_clip(), templates="{}", device="cpu")
    classifier = BayesAdapterClassifier(prompts, posterior="map", temperature=1.0, device="cpu")
    grid = {"bayesadapterclassifier__prior_precision": [0.1, 1.0, 10.0, 100.0]}
    search = GridSearchCV(make_pipeline(featurizer, classifier), grid, cv=5)
    search.fit(np.array([str(path) for path in paths]), labels)
    assert len(paths) == 1000
    assert sum(encoded) == n_distinct
    assert search.best_score_ > 0.8


# Misses


@pytest.mark.usefixtures("settled")
def test_a_changed_file_gets_its_new_features(featurizer, copies, encoded):
    before = featurizer.transform(copies)
    copies[3].write_bytes(copies[4].read_bytes())
    after = featurizer.transform(copies)
    assert sum(encoded) == 40
    np.testing.assert_array_equal(after[3], before[4])
    assert not np.allclose(before[3], before[4])


@pytest.mark.usefixtures("settled")
def test_a_file_changed_behind_its_times_gets_its_new_features(featurizer, pixels, tmp_path):
    """Same name, same size, and the modification time set back: the change time tells."""
    path = tmp_path / "image.bmp"
    Image.fromarray(pixels[0]).save(path)
    status = path.stat()
    before = featurizer.transform([path])
    time.sleep(0.02)  # more than a tick of the clock that files are stamped with
    Image.fromarray(pixels[1]).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = featurizer.transform([path])
    np.testing.assert_array_equal(after, featurizer.transform(pixels[1:2]))
    assert not np.allclose(before, after)


def test_the_times_of_a_fresh_file_are_not_trusted(featurizer, copies):
    """It might change again within the same tick."""
    copies[0].write_bytes(copies[1].read_bytes())
    assert open_item(copies[0], 10**6).stamp is None
    later = copies[0].stat().st_ctime_ns + image_reading._SETTLED_NS + 1
    content, _, stamp = read_at(later, copies[0])
    assert content == copies[1].read_bytes()
    assert stamp is not None


def read_at(now, path):
    """open_item as if it were later."""
    original = image_reading.time.time_ns
    image_reading.time.time_ns = lambda: now
    try:
        return open_item(path, 10**6)
    finally:
        image_reading.time.time_ns = original


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_read_is_read_again(featurizer, copies, monkeypatch):
    """What is hashed is what is decoded, and never half of one content and half of another."""
    expected = featurizer.set_params(cache_dir=None).transform([copies[5]])
    original, changes = os.fstat, iter([True, False])

    def fstat(descriptor):
        status = original(descriptor)
        if next(changes, False):
            copies[0].write_bytes(copies[5].read_bytes())
        return status

    monkeypatch.setattr("skclip.features.image_reading.os.fstat", fstat)
    np.testing.assert_array_equal(featurizer.transform([copies[0]]), expected)


def test_a_file_that_keeps_changing_is_an_error(featurizer, copies, monkeypatch):
    original = os.fstat

    def fstat(descriptor):
        status = original(descriptor)
        with copies[0].open("ab") as file:
            file.write(b"x")
        return status

    monkeypatch.setattr("skclip.features.image_reading.os.fstat", fstat)
    with pytest.raises(ImageError, match="the file keeps changing while it is read"):
        featurizer.transform([copies[0]])


@pytest.mark.parametrize("what", ["weights", "preprocess_cfg", "model_cfg", "precision"])
def test_what_changes_features_misses(featurizer, paths, encoded, tmp_path, what):
    import json

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "changed"
    shutil.copytree(featurizer.model.removeprefix("local-dir:"), folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    changed = clone(featurizer).set_params(model=f"local-dir:{folder}")
    if what == "weights":
        weights = load_file(folder / "open_clip_model.safetensors")
        weights["visual.proj"] *= 2
        save_file(weights, folder / "open_clip_model.safetensors")
    elif what == "preprocess_cfg":
        config["preprocess_cfg"]["mean"] = [0.4] * 3
    elif what == "model_cfg":
        config["model_cfg"]["quick_gelu"] = True  # nothing in the weights shows it
    else:
        changed.set_params(precision="bf16")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    featurizer.transform(paths[:3])
    features = changed.transform(paths[:3])
    assert sum(encoded) == 6
    uncached = clone(changed).set_params(cache_dir=None).transform(paths[:3])
    np.testing.assert_array_equal(features, uncached)


def test_pixels_of_another_shape_are_another_image(featurizer, encoded):
    """The same bytes."""
    flat = np.arange(12 * 16 * 3, dtype=np.uint8)
    featurizer.transform([flat.reshape(12, 16, 3), flat.reshape(16, 12, 3)])
    assert sum(encoded) == 2


# Trouble


def test_what_was_done_before_an_error_is_kept(featurizer, paths, tmp_path, encoded):
    """A broken file at the end must not cost the work of a night."""
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    with pytest.raises(ImageError, match="item 40"):
        featurizer.transform([*paths, bad])
    assert sum(encoded) == 35  # five batches of seven; the last five images were not due yet
    featurizer.transform(paths)
    assert sum(encoded) == 40


def test_an_error_of_the_model_keeps_the_finished_batches(featurizer, paths, monkeypatch):
    calls = iter(range(100))
    original = Backbone.encode_images

    def fail(self, batch):
        if next(calls) == 3:
            raise RuntimeError("device lost")
        return original(self, batch)

    monkeypatch.setattr(Backbone, "encode_images", fail)
    with pytest.raises(RuntimeError, match="device lost"):
        featurizer.transform(paths)
    images = [s for s in skclip.cache_info(featurizer.cache_dir).spaces if s.kind == "image"]
    assert [space.n_rows for space in images] == [21]


def test_a_cache_that_cannot_be_written_costs_no_features(featurizer, paths, caplog, monkeypatch):
    def refuse(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("skclip.store.cache.Cache.put", refuse)
    features = featurizer.transform(paths)
    assert np.isfinite(features).all()
    assert caplog.text.count("No space left on device") == 1


def test_the_limit_bounds_the_folder(featurizer, pixels, tmp_path):
    """Each shard of these has a kilobyte or so."""
    featurizer.set_params(cache_limit=5000)
    for image in pixels:
        featurizer.transform(image[None])
    assert 0 < skclip.cache_info(featurizer.cache_dir).n_bytes <= 5000


def test_clearing_makes_everything_new(featurizer, paths, encoded):
    expected = featurizer.transform(paths)
    assert skclip.clear_cache(featurizer.cache_dir) > 0
    np.testing.assert_array_equal(featurizer.transform(paths), expected)
    assert sum(encoded) == 80


def test_failures_are_not_cached(featurizer, copies):
    """A file that was not complete yet may be complete tomorrow."""
    content = copies[0].read_bytes()
    copies[0].write_bytes(content[:50])
    featurizer.set_params(on_error="nan")
    with pytest.warns(UserWarning, match="1 of 40 images cannot be read"):
        assert np.isnan(featurizer.transform(copies)[0]).all()
    copies[0].write_bytes(content)
    assert np.isfinite(featurizer.transform(copies)).all()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(["flip", "cut", "other", "gone"]),
    number=st.integers(0, 9),
    place=st.floats(0, 1, exclude_max=True),
    other=st.binary(max_size=99),
)
def test_damage_of_any_file_costs_no_more_than_time(kind, number, place, other, featurizer, paths):
    """A bit, a cut, other content, or the file is gone: rows are right, and nothing is raised."""
    expected = clone(featurizer).set_params(cache_dir=None).transform(paths[:6])
    featurizer.transform(paths[:6])
    files = sorted(path for path in featurizer.cache_dir.rglob("*") if path.is_file())
    path = files[number % len(files)]
    content = bytearray(path.read_bytes() or b" ")
    place = int(place * len(content))
    if kind == "flip":
        content[place] ^= 128
    elif kind == "cut":
        del content[place:]
    elif kind == "other":
        content = other
    path.write_bytes(content)
    if kind == "gone":
        path.unlink()
    np.testing.assert_allclose(featurizer.transform(paths[:6]), expected, rtol=0, atol=5e-6)


def test_a_cache_folder_that_cannot_be_used_costs_no_features(featurizer, paths, caplog):
    """A file stands in for a folder without permission, which root would use."""
    expected = clone(featurizer).set_params(cache_dir=None).transform(paths[:4])
    featurizer.cache_dir.mkdir()
    (featurizer.cache_dir / "skclip-cache-v1").write_text("")
    np.testing.assert_array_equal(featurizer.transform(paths[:4]), expected)
    assert "cannot be read, so it counts as empty" in caplog.text
    assert "features cannot be stored in" in caplog.text


def test_texts_are_cached_too(featurizer, monkeypatch):
    texts = ["a cat", "a dog", "a cat"]
    expected = featurizer.encode_text(texts)
    np.testing.assert_array_equal(expected[0], expected[2])

    def encode(*args, **kwargs):
        raise AssertionError("a text was encoded")

    monkeypatch.setattr(Backbone, "encode_tokens", encode)
    np.testing.assert_array_equal(featurizer.encode_text(texts[1:]), expected[1:])
