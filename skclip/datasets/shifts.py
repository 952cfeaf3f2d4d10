"""Photographic changes of an image that its training distribution does not contain.

Every function takes and returns a grey Pillow image (mode "L") of any size, and a
generator that only the noisy ones use. Lengths are fractions of the image's side, so that
a shift looks alike at every size.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter, ImageOps

__all__ = ["SHIFTS", "apply_shift"]


def _inverted(image: Image.Image, rng: Generator) -> Image.Image:
    """Dark ink on light ground."""
    return ImageOps.invert(image)


def _rotated(image: Image.Image, rng: Generator, degrees: float = 20) -> Image.Image:
    """Turned anticlockwise around the centre."""
    return image.rotate(degrees, Image.Resampling.BICUBIC)


def _blurred(image: Image.Image, rng: Generator, radius: float = 0.1) -> Image.Image:
    """Out of focus: a Gaussian blur of standard deviation `radius` sides."""
    return image.filter(ImageFilter.GaussianBlur(radius * image.width))


def _faded(
    image: Image.Image, rng: Generator, darkest: float = 60, lightest: float = 180
) -> Image.Image:
    """Low contrast: the grey values 0..255 are squeezed into `darkest`..`lightest`."""
    return _from_pixels(darkest + (lightest - darkest) * _to_pixels(image) / 255)


def _noisy(image: Image.Image, rng: Generator, scale: float = 0.2) -> Image.Image:
    """Sensor noise: independent Gaussian noise of `scale` times the full range per pixel."""
    pixels = _to_pixels(image)
    return _from_pixels(pixels + rng.normal(scale=255 * scale, size=pixels.shape))


def _combined(image: Image.Image, rng: Generator) -> Image.Image:
    """A poor snapshot: turned, slightly out of focus, faded and noisy, all at once."""
    image = _rotated(image, rng, degrees=15)
    image = _blurred(image, rng, radius=0.04)
    image = _faded(image, rng)
    return _noisy(image, rng, scale=0.15)


SHIFTS: dict[str, Callable[[Image.Image, Generator], Image.Image]] = {
    "inverted": _inverted,
    "rotated": _rotated,
    "blurred": _blurred,
    "faded": _faded,
    "noisy": _noisy,
    "combined": _combined,
}


def apply_shift(image: Image.Image, shift: str | None, seed: int) -> Image.Image:
    """The shifted copy of a grey image; None returns it as it is.

    `seed` is an int that belongs to the image, so that its noise does not depend on which
    other images were asked for.
    """
    if shift is None:
        return image
    return SHIFTS[shift](image, np.random.default_rng(seed))


def _to_pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))
