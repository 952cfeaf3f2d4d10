"""One image, read once: from whatever users have to pixels in RGB.

What is hashed is what is decoded; the bytes of a file never mix two states of it. What a viewer
shows is what the model gets: EXIF rotation is applied, transparency is laid over white, 16-bit
grey is scaled to 8 bits by its full range, and of an animation the first frame is read. Colour
profiles are not applied, as in CLIP's own preprocessing. Everything else that could only be guessed
is an error. Only the formats of :func:`skclip.utils.image_files.image_formats` are opened.
"""

import contextlib
import hashlib
import inspect
import io
import logging
import os
import stat
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from skclip.exceptions import ImageError
from skclip.features.collection import fault_of, image_of, is_file_object, is_missing, is_path
from skclip.store import file_stamp
from skclip.utils.image_files import IMAGE_FORMATS, image_formats

__all__ = ["MAX_PIXELS", "Opened", "check_sides", "decode", "open_image", "open_item", "reasons"]

logger = logging.getLogger(__name__)

# Above twice the size that Pillow warns about, it refuses an image as a decompression bomb.
MAX_PIXELS = 178_956_970

# A file that was changed so recently might change again within the same tick of the clock that
# its times are taken from: its stamp is not trusted yet. FAT counts in two seconds.
_SETTLED_NS = 2_000_000_000
_ATTEMPTS, _PAUSE = 4, 0.05
# A file may have as many bytes as an uncompressed image of `max_pixels` in four channels of 8 bits;
# a large one is read only if it begins like an image.
_BYTES_PER_PIXEL = 4
_LARGE = 2**24

_ORIENTATION, _PHOTOMETRIC, _BITS = 0x0112, 0x0106, 0x0102  # tags of EXIF and TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PILLOW_HEIF = "the package pillow-heif (pip install 'skclip[heif]')"
# What Pillow multiplies grey values of a PNG of few bits by, but not its transparent value.
_GREY_STEPS = {"L;2": 85, "L;4": 17}
_WHITE = (255, 255, 255, 255)
# Pillow decodes a lazily opened image in place, and not safely from two threads at once.
_decode_lock = threading.Lock()
# One file object may be in a list twice, and its position is one.
_object_lock = threading.Lock()


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
    item : path, bytes, file object, PIL image, uint8 array, or dict with "bytes" and "path"
        A file object is read from its beginning if it can be, and left where it was.
    max_pixels : int
        A file or a lazily opened image with more pixels is refused before it is decoded.

    Raises
    ------
    ImageError
        If the item is missing, is no image, or its file is. The message says why, not where: the
        caller knows the position. What else may be raised, :func:`reasons` explains.
    """
    item = image_of(item)
    if is_missing(item):
        raise ImageError("there is no image")
    fault = fault_of(item)
    if fault:
        raise ImageError(fault)
    if is_path(item):
        content, stamp = _read_file(item, max_pixels)
        return _opened_file(content, stamp)
    if is_file_object(item):
        item = _read_object(item, max_pixels)
    if isinstance(item, bytes | bytearray | memoryview):
        if not len(item):
            raise ImageError("there are no bytes")
        _check_bytes(len(item), max_pixels)
        return _opened_file(bytes(item))
    if isinstance(item, np.ndarray):
        item = Image.fromarray(item[..., 0] if item.shape[2:] == (1,) else item)
    elif isinstance(item, ImageFile.ImageFile):
        with _decode_lock:
            behind = _content_of(item, max_pixels)
        if behind is not None:
            return _opened_file(behind)
    image = _to_rgb(item)
    pixels = np.asarray(image)
    name = hashlib.sha256(f"pixels {pixels.shape}".encode())
    name.update(np.ascontiguousarray(pixels).data)
    return Opened(image, name.digest())


def _opened_file(content: bytes, stamp: bytes | None = None) -> Opened:
    return Opened(content, hashlib.sha256(b"file " + content).digest(), stamp)


def decode(
    content: bytes | Image.Image, max_pixels: int, least_side: int | None = None
) -> Image.Image:
    """What was opened, as RGB pixels; whatever the decoder raises passes through.

    Of a JPEG file a half, a quarter or an eighth of each side is decoded where the shorter one
    has `least_side` pixels then; None decodes all.
    """
    if isinstance(content, Image.Image):
        return content
    with _open(io.BytesIO(content)) as image:
        _check_size(image, max_pixels)
        if least_side is not None and image.format in ("JPEG", "MPO"):
            _reduce(image, least_side)
        return _to_rgb(image)


def _reduce(image: ImageFile.ImageFile, least_side: int) -> None:
    """Tell the decoder to do with fewer frequencies, if what remains is enough.

    Only by what divides both sides: libjpeg rounds up, and an image whose last column is half
    outside is stretched, which changes features far more than the lost detail.
    """
    width, height = image.size
    for factor in (8, 4, 2):
        divides = width % factor == height % factor == 0
        if divides and min(width, height) >= factor * least_side:
            image.draft(None, (width // factor, height // factor))
            return


def open_image(item: Any, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One image as the model gets it before its own preprocessing, or the reason why not.

    Parameters
    ----------
    item : path, bytes, file object, PIL image or uint8 array
        As an item of what :meth:`skclip.CLIPFeaturizer.transform` takes.
    max_pixels : int, default=178_956_970
        More are not decoded.

    Returns
    -------
    PIL.Image.Image
        In RGB: turned as EXIF says, transparency laid over white, 16 bits scaled to 8.

    Raises
    ------
    ImageError
        With the reason alone, for whoever sent the image.

    Examples
    --------
    >>> from skclip.features import open_image
    >>> open_image(b"GIF of a cat")
    Traceback (most recent call last):
        ...
    skclip.exceptions.ImageError: UnidentifiedImageError: cannot identify image file
    """
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
        raise ImageError(_named(exc, reason)) from exc
    except Exception as exc:  # the decoders of Pillow share no base class
        raise ImageError(_named(exc, str(exc))) from exc


def _named(error: Exception, text: str) -> str:
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    """Open a file in one of the formats that are read."""
    start = file.read(12)
    try:
        return Image.open(file, formats=image_formats())
    except UnidentifiedImageError as exc:
        brand = start[8:12] if start[4:8] == b"ftyp" else b""
        for brands, name, remedy in (
            ((b"avif", b"avis"), "AVIF", "Pillow 11.3 or newer"),
            ((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIF", _PILLOW_HEIF),
        ):
            if brand in brands and name not in image_formats():
                raise ImageError(f"to read {name} files, {remedy} must be installed") from exc
        raise


def _content_of(image: ImageFile.ImageFile, max_pixels: int) -> bytes | None:
    """The file behind an image that was opened but not decoded, which it stays.

    None where there are pixels already, or where only this object knows which: it may stand at
    another frame of its file, or was told to decode another size. Then it is decoded in place.
    """
    _check_size(image, max_pixels)
    file = image.fp
    if file is None or image.tell():
        try:
            image.load()
        except Exception as exc:
            if file is None:
                raise ImageError(
                    "the PIL image is closed; pass its path, or call load() before it is closed"
                ) from exc
            raise
        return None
    if image.format not in IMAGE_FORMATS:
        raise ImageError(f"{image.format} files are not read; pass image.convert('RGB')")
    place = file.tell()
    try:
        _check_bytes(file.seek(0, io.SEEK_END), max_pixels)
        file.seek(0)
        content = file.read()
    finally:
        file.seek(place)
    with _open(io.BytesIO(content)) as again:
        if (again.size, again.mode) == (image.size, image.mode):
            return content
    image.load()
    return None


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
                if before.st_size > _LARGE:
                    with _open(file) as image:
                        _check_size(image, max_pixels)
                    file.seek(0)
                content = file.read(before.st_size + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if _state(before) == _state(after) and len(content) == before.st_size:
            settled = max(after.st_ctime_ns, after.st_mtime_ns) < now - _SETTLED_NS
            return content, file_stamp(path, after) if settled else None
        time.sleep(_PAUSE)
    raise ImageError("the file keeps changing while it is read")


def _read_object(file: Any, max_pixels: int) -> bytes:
    """The content of a file object, whose position stays as it is if it can be set."""
    if getattr(file, "closed", False):
        raise ImageError("the file object is closed; read it, or pass it, before it is")
    most = _most_bytes(max_pixels) + 1
    with _object_lock:
        position = None
        # A stream cannot go back, and what is of somebody else's making may not know how.
        with contextlib.suppress(AttributeError, OSError):
            before = file.tell()
            file.seek(0)
            position = before
        try:
            content = file.read(most)
        finally:
            if position is not None:
                file.seek(position)
    if not isinstance(content, bytes | bytearray | memoryview):
        if inspect.iscoroutine(content):
            content.close()
        raise ImageError(
            f"its read() gives {type(content).__name__}, not bytes; open it with mode 'rb', or "
            "pass the file behind it"
        )
    if position is None and not content:
        raise ImageError("the file object is at its end, and cannot be read again")
    return bytes(content)


def _check_file(status: os.stat_result, max_pixels: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("it is not a regular file")
    if status.st_size == 0:
        raise ImageError("the file is empty")
    _check_bytes(status.st_size, max_pixels)


def _most_bytes(max_pixels: int) -> int:
    return _BYTES_PER_PIXEL * max_pixels + 2**20


def _check_bytes(size: int, max_pixels: int) -> None:
    if size > _most_bytes(max_pixels):
        raise ImageError(
            f"the file has {size} bytes, more than an image of max_pixels={max_pixels}"
        )


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"it has {image.width} x {image.height} pixels, more than max_pixels={max_pixels}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    steps = _grey_steps(image)
    image.load()
    colours = _colours(image, steps)
    # Pillow turns TIFF files while it decodes them, and may leave their tag.
    turn = None if image.format == "TIFF" else _TURNS.get(_orientation(image))
    return colours if turn is None else colours.transpose(turn)


def _colours(image: Image.Image, steps: int) -> Image.Image:
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and transparent is None:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image) if image.mode.startswith("I;16") else _check_32_bit(image)
        grey = _from_16_bit(_full_range(values, image))
        if isinstance(transparent, int):
            grey = np.where(values == transparent, np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if _has_transparency(image):
        # Of the premultiplied modes Pillow converts La to LA only.
        image = image.convert("LA") if image.mode == "La" else image.copy()
        if isinstance(transparent, int) and image.mode == "L":
            image.info["transparency"] = min(transparent * steps, 255)
        elif isinstance(transparent, tuple) and max(transparent) > 255:  # of a PNG of 16 bits
            image.info["transparency"] = tuple(value >> 8 for value in transparent)
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def _grey_steps(image: Image.Image) -> int:
    """By what a transparent grey value must be multiplied; known before the image is decoded."""
    raw = [tile[3] for tile in getattr(image, "tile", None) or () if image.format == "PNG"]
    return _GREY_STEPS.get(raw[0], 1) if raw and isinstance(raw[0], str) else 1


def _full_range(values: np.ndarray, image: Image.Image) -> np.ndarray:
    """Values of a TIFF file of 12 bits, or whose zero is white, as others are stored."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_BITS) == (12,):
        values = values << 4 | values >> 8
    return 65535 - values if tags.get(_PHOTOMETRIC) == 0 else values


def _orientation(image: Image.Image) -> Any:
    """The EXIF orientation; an unreadable EXIF block is no reason to lose the image.

    A block is searched for this one tag, so that no other tag matters; Pillow looks at the other
    places, such as XMP.
    """
    try:
        block = image.info["exif"].removeprefix(b"Exif\x00\x00")
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, entry)
            if tag == _ORIENTATION:
                return value
    except (KeyError, AttributeError, struct.error):
        pass
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception as exc:  # Pillow raises SyntaxError, struct.error, KeyError and others
        logger.debug("EXIF block ignored: %s", exc)
        return 1


def _has_transparency(image: Image.Image) -> bool:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return True
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    """Scale [0, 65535] to [0, 255], rounded; Pillow's own conversion clips at 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_32_bit(image: Image.Image) -> np.ndarray:
    """The pixels of mode "I", which older Pillow gives for 16-bit PNG files, as any for PGM files.

    In memory the same mode may hold 8-bit values: a range that fits both is refused.
    """
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if image.format not in ("PNG", "PPM") and low >= 0 and high <= 255:
        raise ImageError(
            "32-bit pixels in [0, 255] may be meant as 8 or as 16 bits; "
            "convert the image to mode 'L' or 'I;16'"
        )
    if low < 0 or high > 65535:
        raise ImageError(f"32-bit pixels must lie in [0, 65535]; got [{low}, {high}]")
    return values
