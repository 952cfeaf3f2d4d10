"""One image, read once: from whatever users have to pixels in RGB.

What is hashed is what is decoded; the bytes of a file never mix two states of it. What a viewer
shows is what the model gets: EXIF rotation is applied, transparency is laid over white, 16-bit
grey is scaled to 8 bits by its full range, and of an animation the first frame is read. Everything
else that could only be guessed is an error.
"""

import contextlib
import hashlib
import io
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from skclip.exceptions import ImageError
from skclip.features.collection import fault_of, is_missing, is_path
from skclip.store import file_stamp

__all__ = ["MAX_PIXELS", "Opened", "check_sides", "decode", "open_image", "open_item", "reasons"]

logger = logging.getLogger(__name__)

# Above twice the size that Pillow warns about, it refuses an image as a decompression bomb.
MAX_PIXELS = 178_956_970

# A file that was changed so recently might change again within the same tick of the clock that
# its times are taken from: its stamp is not trusted yet. FAT counts in two seconds.
_SETTLED_NS = 2_000_000_000
_ATTEMPTS, _PAUSE = 4, 0.05
# The most bytes that an uncompressed pixel has, four channels of 32 bits.
_BYTES_PER_PIXEL = 16

_ORIENTATION = 0x0112  # EXIF tag
_WHITE = (255, 255, 255, 255)
# Pillow decodes a lazily opened image in place, and not safely from two threads at once.
_decode_lock = threading.Lock()


class Opened(NamedTuple):
    """An item whose content is known.

    Attributes
    ----------
    content : bytes or PIL.Image.Image
        Of a file; or the pixels of what was in memory, in RGB.
    digest : bytes
        The name of this content, 32 bytes.
    stamp : bytes or None
        :func:`skclip.store.file_stamp` of the file as it was read, if that can be trusted.
    """

    content: bytes | Image.Image
    digest: bytes
    stamp: bytes | None = None


def open_item(item: Any, max_pixels: int) -> Opened:
    """Read one item; a file is not decoded yet, and the item itself is not changed.

    Parameters
    ----------
    item : path, PIL image or uint8 array
    max_pixels : int
        A file or a lazily opened image with more pixels is refused before it is decoded.

    Raises
    ------
    ImageError
        If the item is missing, is no image, or its file is. The message says why, not where: the
        caller knows the position. What else may be raised, :func:`reasons` explains.
    """
    if is_missing(item):
        raise ImageError("there is no image")
    fault = fault_of(item)
    if fault:
        raise ImageError(fault)
    if is_path(item):
        content, stamp = _read_file(item, max_pixels)
        return Opened(content, hashlib.sha256(b"file " + content).digest(), stamp)
    if isinstance(item, np.ndarray):
        item = Image.fromarray(item[..., 0] if item.shape[2:] == (1,) else item)
    elif isinstance(item, ImageFile.ImageFile):
        _check_size(item, max_pixels)
        with _decode_lock:
            item.load()
    image = _to_rgb(item)
    pixels = np.asarray(image)
    name = hashlib.sha256(f"pixels {pixels.shape}".encode())
    name.update(np.ascontiguousarray(pixels).data)
    return Opened(image, name.digest())


def decode(content: bytes | Image.Image, max_pixels: int) -> Image.Image:
    """What was opened, as RGB pixels; whatever the decoder raises passes through."""
    if isinstance(content, Image.Image):
        return content
    with Image.open(io.BytesIO(content)) as image:
        _check_size(image, max_pixels)
        return _to_rgb(image)


def open_image(item: Any, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Both in one: an item as RGB pixels, or an ImageError that says why not."""
    with reasons():
        return decode(open_item(item, max_pixels).content, max_pixels)


def check_sides(image: Image.Image, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a narrow strip, which resizing to (height, width) `size` would make huge."""
    longer, shorter = max(image.size), min(image.size)
    if size[0] * size[1] * longer > max_pixels * shorter:
        raise ImageError(f"its sides, {image.width} x {image.height}, differ too much")


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """Whatever goes wrong inside becomes an ImageError that says why."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as exc:
        raise ImageError("the file is missing") from exc
    except OSError as exc:
        if isinstance(exc, UnidentifiedImageError):  # its text names a buffer of ours
            raise ImageError("UnidentifiedImageError: cannot identify image file") from exc
        reason = exc.strerror or str(exc)  # without the path, which the caller names
        raise ImageError(f"{type(exc).__name__}: {reason}") from exc
    except Exception as exc:  # the decoders of Pillow share no base class
        raise ImageError(f"{type(exc).__name__}: {exc}") from exc


def _read_file(path: str | os.PathLike[str], max_pixels: int) -> tuple[bytes, bytes | None]:
    """The content of a file, and its stamp if that can be trusted.

    Raises
    ------
    ImageError
        If it is missing, not a regular file, empty, or larger than any image of `max_pixels`; or
        if it keeps changing while it is read.
    OSError
        If it cannot be opened or read.
    """
    name = os.path.expanduser(path)  # noqa: PTH111
    # Without O_NONBLOCK opening a named pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(_ATTEMPTS):
        now = time.time_ns()
        descriptor = os.open(name, flags)
        try:
            before = os.fstat(descriptor)
            _check_file(before, max_pixels)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(before.st_size + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if _state(before) == _state(after) and len(content) == before.st_size:
            settled = max(after.st_ctime_ns, after.st_mtime_ns) < now - _SETTLED_NS
            return content, file_stamp(path, after) if settled else None
        time.sleep(_PAUSE)
    raise ImageError("the file keeps changing while it is read")


def _check_file(status: os.stat_result, max_pixels: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("it is not a regular file")
    if status.st_size == 0:
        raise ImageError("the file is empty")
    if status.st_size > _BYTES_PER_PIXEL * max_pixels + 2**20:
        raise ImageError(
            f"the file has {status.st_size} bytes, more than an image of max_pixels={max_pixels}"
        )


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"it has {image.width} x {image.height} pixels, more than max_pixels={max_pixels}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _upright(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16"):
        return _from_16_bit(np.asarray(image)).convert("RGB")
    if image.mode == "I":
        return _from_16_bit(_check_32_bit(image)).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if _has_transparency(image):
        # Of the premultiplied modes Pillow converts La to LA only.
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; an unreadable EXIF block is no reason to lose the image."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as exc:  # Pillow raises SyntaxError, struct.error, KeyError and others
        logger.debug("EXIF block ignored: %s", exc)
        return image
    return image if orientation == 1 else ImageOps.exif_transpose(image)


def _has_transparency(image: Image.Image) -> bool:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return True
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _from_16_bit(values: np.ndarray) -> Image.Image:
    """Scale [0, 65535] to [0, 255], rounded; Pillow's own conversion clips at 255."""
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _check_32_bit(image: Image.Image) -> np.ndarray:
    """The pixels of mode "I", which older Pillow gives for 16-bit PNG files.

    In memory the same mode may hold 8-bit values: a range that fits both is refused.
    """
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if image.format != "PNG" and low >= 0 and high <= 255:
        raise ImageError(
            "32-bit pixels in [0, 255] may be meant as 8 or as 16 bits; "
            "convert the image to mode 'L' or 'I;16'"
        )
    if low < 0 or high > 65535:
        raise ImageError(f"32-bit pixels must lie in [0, 65535]; got [{low}, {high}]")
    return values
