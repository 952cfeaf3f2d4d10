"""A thousand files of which every twentieth is broken, in ten ways: the others lose nothing."""

import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from skclip import CLIPFeaturizer, embed_files
from skclip.datasets import tiny_clip
from skclip.exceptions import ImageError
from skclip.features.image_reading import open_image

N, EVERY = 1000, 20


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    chunks = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def truncate(path, content):
    path.write_bytes(content[: len(content) // 2])


def empty(path, content):
    path.write_bytes(b"")


def folder(path, content):
    path.mkdir()


def loop(path, content):
    path.symlink_to(path)


def dangling(path, content):
    path.symlink_to(path.with_name("nowhere"))


def text(path, content):
    path.write_text("<html>404</html>")


def decompression_bomb(path, content):
    path.write_bytes(bomb(60_000, 60_000))


def strip(path, content):
    """Legal, but a model's resizing would blow it up to gigabytes."""
    path.write_bytes(png(np.zeros((1, 400_000), np.uint8)))


def pipe(path, content):
    """Opening one waits for its writer, for ever."""
    os.mkfifo(path)


def forbidden(path, content):
    path.write_bytes(content)
    path.chmod(0)


WAYS = {
    truncate: "OSError: .*truncated",
    empty: "the file is empty",
    folder: "it is a folder",
    loop: "OSError: Too many levels of symbolic links",
    dangling: "the file is missing",
    text: "cannot identify image file",
    decompression_bomb: "DecompressionBombError: .*exceeds limit|more than max_pixels",
    strip: "its sides, 400000 x 1, differ too much",
    pipe: "it is not a regular file",
    forbidden: "PermissionError: Permission denied",
}


@pytest.fixture
def unreadable(monkeypatch):
    """Root may open any file: refuse what the mode forbids to others."""
    original = os.open

    def refuse(path, *args, **kwargs):
        descriptor = original(path, *args, **kwargs)
        if os.fstat(descriptor).st_mode & 0o777 == 0:
            os.close(descriptor)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return descriptor

    monkeypatch.setattr("skclip.features.image_reading.os.open", refuse)


@pytest.fixture
def collection(tmp_path):
    """Paths, the positions of the broken ones, and the same files unbroken."""
    rng = np.random.default_rng(0)
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    bad = np.arange(N) % EVERY == EVERY - 1
    ways = list(WAYS)
    paths, clean = [], []
    for i in range(N):
        content = png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        clean.append(whole / f"{i}.png")
        paths.append(part / f"{i}.png")
        clean[-1].write_bytes(content)
        if bad[i]:
            ways[i // EVERY % len(ways)](paths[-1], content)
        else:
            paths[-1].write_bytes(content)
    return paths, bad, clean


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.usefixtures("unreadable")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_broken_files_become_nan_and_the_rest_is_untouched(collection, tmp_path):
    paths, bad, clean = collection
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", on_error="nan", n_jobs=2)
    expected = featurizer.transform(clean)
    featurizer.set_params(cache_dir=tmp_path / "cache")
    for _ in range(2):  # without and with a filled cache
        with pytest.warns(UserWarning, match="50 of 1000 images cannot be read"):
            features = featurizer.transform(paths)
        np.testing.assert_array_equal(np.isnan(features).all(axis=1), bad)
        np.testing.assert_array_equal(np.isnan(features).any(axis=1), bad)
        # Rounding: the batches hold other images.
        np.testing.assert_allclose(features[~bad], expected[~bad], rtol=0, atol=5e-6)

    report = embed_files(
        paths, tmp_path / "out", pretrained=tiny_clip(), device="cpu", on_error="skip"
    )
    np.testing.assert_allclose(report.features, expected[~bad], rtol=0, atol=5e-6)
    np.testing.assert_array_equal([f.position for f in report.failures], np.flatnonzero(bad))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.usefixtures("unreadable")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("way", list(WAYS), ids=lambda way: way.__name__)
def test_every_way_is_told_apart(way, tmp_path):
    path = tmp_path / "image.png"
    rng = np.random.default_rng(0)
    way(path, png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", on_error="nan")
    with pytest.warns(UserWarning, match=WAYS[way]):
        featurizer.transform([path])


def test_the_limit_of_pixels_can_be_set(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(np.zeros((40, 50, 3), np.uint8)))
    assert open_image(path, max_pixels=2000).size == (50, 40)
    with pytest.raises(ImageError, match="it has 50 x 40 pixels, more than max_pixels=1999"):
        open_image(path, max_pixels=1999)
    with (
        Image.open(path) as lazy,
        pytest.raises(ImageError, match="it has 50 x 40 pixels, more than max_pixels=1999"),
    ):
        open_image(lazy, max_pixels=1999)


def test_a_file_too_large_for_any_image_is_not_read(tmp_path):
    """A sparse file costs no disk, but reading it would cost memory."""
    path = tmp_path / "image.png"
    with path.open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(ImageError, match="the file has 17179869184 bytes, more than an image of"):
        open_image(path)


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png", "/".join(["x" * 100] * 60)])
def test_names_that_no_file_can_have_are_missing_files(name):
    """Too long for a name or a path, or with a zero: no reason to stop the others."""
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
    with pytest.raises(ImageError, match="Every path in X must name an existing file"):
        featurizer.transform([name])
    featurizer.set_params(on_error="nan")
    with pytest.warns(UserWarning, match="1 of 1 images cannot be read"):
        assert np.isnan(featurizer.transform([name])).all()
