"""What each file of a data set holds, found by reading it once."""

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import joblib
import numpy as np
from PIL import Image

from skclip.exceptions import ImageError
from skclip.features.image_reading import MAX_PIXELS, decode, open_item, reasons
from skclip.utils.image_files import image_formats

__all__ = ["ImageFacts", "alike_rows", "read_facts"]

# Pixels of a side of the small copies that similar images are found by.
_SIDE = 16
# Correlation of small copies from which images are taken for one. Of scikit-learn's 1797 digits,
# which are more alike than photographs, no two reach it; JPEG of quality 60 and half the size do.
_ALIKE = 0.9965
# Pairs of small copies that are compared at once: 128 MiB.
_PAIRS_AT_ONCE = 2**25


class ImageFacts(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    reason : str
        Why it cannot be read; empty where it can, and then the others say what it is.
    digest : bytes
        Of its content: equal for copies.
    format : str
        Pillow's name, such as "JPEG", whatever the file is called.
    size : tuple of int
        Width and height in pixels, upright.
    is_animated : bool
    small : ndarray of shape (768,), float32
        The pixels of a small copy, centred and of unit norm; zeros where all are equal.
    """

    reason: str = ""
    digest: bytes = b""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    is_animated: bool = False
    small: np.ndarray = np.zeros(3 * _SIDE**2, np.float32)


def read_facts(
    paths: Sequence[str], *, n_jobs: int | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[ImageFacts]:
    """What each file holds, in order, read by threads."""
    threads = joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    return threads(joblib.delayed(_facts_of)(path, max_pixels) for path in paths)


def _facts_of(path: str, max_pixels: int) -> ImageFacts:
    try:
        with reasons():
            opened = open_item(path, max_pixels)
            assert isinstance(opened.content, bytes)
            with Image.open(io.BytesIO(opened.content), formats=image_formats()) as image:
                format_, is_animated = image.format or "", getattr(image, "is_animated", False)
            pixels = decode(opened.content, max_pixels)
            small = pixels.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    except ImageError as error:
        return ImageFacts(str(error))
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    norm = np.linalg.norm(values)
    return ImageFacts(
        digest=opened.digest,
        format=format_,
        size=pixels.size,
        is_animated=is_animated and format_ != "MPO",
        small=values / norm if norm > 0 else values,
    )


def alike_rows(small: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of small copies that have others like them, and the positions of all like it, sorted.

    Small copies that correlate: so an image is found again that was saved anew, resized or
    brightened a little, and not if it was cropped, turned or mirrored. O(n^2) for n rows.
    """
    step = max(1, _PAIRS_AT_ONCE // max(1, len(small)))
    for start in range(0, len(small), step):
        alike = small[start : start + step] @ small.T >= _ALIKE
        for row in np.flatnonzero(alike.sum(axis=1) > 1).tolist():
            yield start + row, np.flatnonzero(alike[row])
