"""Bytes that are nearly an image: an image or an error that says why, in a moment."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from skclip.exceptions import ImageError
from skclip.features.image_reading import open_image

MAX_PIXELS = 10_000
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def encoded(name, mode="RGB", **options):
    if mode == "I;16":  # to which the oldest Pillow does not convert
        image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def exif():
    block = Image.Exif()
    block[0x0112], block[0x010E] = 6, "a photograph"
    return block


WHOLE = [
    encoded("PNG", exif=exif()),
    encoded("PNG", "P", transparency=3),
    encoded("PNG", "I;16"),
    encoded("JPEG", exif=exif()),
    encoded("JPEG", "CMYK"),
    encoded("TIFF", exif=exif()),
    encoded("TIFF", compression="tiff_lzw"),
    encoded("WEBP", exif=exif()),
    encoded("GIF", "P"),
    encoded("BMP"),
    encoded("ICO", sizes=[PIXELS.shape[1::-1]]),  # the oldest Pillow writes none below 16 x 16
    encoded("PPM"),
    encoded("TGA"),
]


@st.composite
def nearly_images(draw):
    """A whole file, cut, with changed or inserted bytes, or the beginning of one and the end of
    another."""
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        # Most of what a decoder decides lies in the first bytes.
        place = draw(st.integers(0, 120) | st.integers(0, len(content))) % (len(content) + 1)
        kind = draw(st.sampled_from(["cut", "flip", "word", "insert", "splice"]))
        if kind == "cut":
            del content[place:]
        elif kind == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "word":
            content[place : place + 4] = draw(
                st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\0\0\0\x01"])
            )
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=20))
        else:
            other = draw(st.sampled_from(WHOLE))
            content[place:] = other[draw(st.integers(0, len(other))) :]
    return bytes(content)


def read_or_say_why(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd tags and large sizes
        try:
            image = open_image(path, MAX_PIXELS)
        except ImageError as error:
            assert str(error)  # noqa: PT017
        else:
            assert image.mode == "RGB"
            assert 0 < image.width * image.height <= MAX_PIXELS
            assert np.asarray(image).shape == (image.height, image.width, 3)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=nearly_images())
def test_nearly_an_image_is_an_image_or_an_error(content, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    read_or_say_why(path)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=nearly_images())
def test_many_nearly_images_are_images_or_errors(content, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    read_or_say_why(path)


@pytest.mark.parametrize("content", WHOLE, ids=lambda content: repr(content[:4]))
def test_what_the_fuzzing_starts_from_are_images(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    assert set(open_image(tmp_path / "a", MAX_PIXELS).size) <= {12, 16}
