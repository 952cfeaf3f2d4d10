"""Random crops and flips of images, drawn for each image by its own content."""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from PIL import Image

from skclip.exceptions import ImageError
from skclip.features.image_reading import MAX_PIXELS, open_image

__all__ = ["ImageViews", "check_view_parameters", "draw_crop"]

_ATTEMPTS = 10  # as in torchvision
_HELD = 4  # decoded images that are kept, for their other views


class ImageViews(Sequence[Any]):
    """Every image `n_views` times in a row, each time cropped and flipped differently.

    What is drawn depends on the seed, the pixels of the image and the number of the view, and on
    nothing else: neither on the other images nor on the order in which views are asked for. An
    item that cannot be read stays as it is, for the reader to complain about.

    Parameters
    ----------
    images : sequence of n items that :func:`open_image` takes
    n_views : int
    size : tuple of int
        Height and width of a view.
    seed : int
        Non-negative.
    scale : tuple of float
        Smallest and largest share of the image's area, in (0, 1].
    ratio : tuple of float
        Smallest and largest width over height.
    flip : float
        Probability of a horizontal flip.
    max_pixels : int
        As for :class:`skclip.CLIPFeaturizer`.
    """

    def __init__(
        self,
        images: Sequence[Any],
        n_views: int,
        *,
        size: tuple[int, int],
        seed: int,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        flip: float,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.images, self.n_views, self.size, self.seed = images, n_views, size, seed
        self.scale, self.ratio, self.flip = scale, ratio, flip
        self.max_pixels = max_pixels
        self._held: OrderedDict[int, tuple[Image.Image, list[int]]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.images) * self.n_views

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < len(self):
            raise IndexError(position)
        index, view = divmod(position, self.n_views)
        try:
            image, digest = self._decoded(index)
        except ImageError:
            return self.images[index]
        rng = np.random.default_rng([self.seed, *digest, view])
        left, top, width, height = draw_crop(image.size, self.scale, self.ratio, rng)
        image = image.crop((left, top, left + width, top + height))
        image = image.resize(self.size[::-1], Image.Resampling.BICUBIC)
        if rng.random() < self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image

    def _decoded(self, index: int) -> tuple[Image.Image, list[int]]:
        """The image and 256 bits of its content; the last few are held."""
        with self._lock:
            if index in self._held:
                return self._held[index]
        image = open_image(self.images[index], self.max_pixels)
        digest = hashlib.sha256(f"{image.size} ".encode() + image.tobytes()).digest()
        entry = image, np.frombuffer(digest, dtype="<u4").tolist()
        with self._lock:
            self._held[index] = entry
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return entry


def draw_crop(
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Left, top, width and height of a random part of an image of (width, height) `size`.

    The distribution of torchvision's RandomResizedCrop: the area is uniform in `scale`, the
    logarithm of width over height in that of `ratio`; after ten draws that do not fit, the
    largest central part of a permitted ratio.
    """
    full_width, full_height = size
    for _ in range(_ATTEMPTS):
        area = full_width * full_height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= full_width and 0 < height <= full_height:
            left = int(rng.integers(full_width - width + 1))
            top = int(rng.integers(full_height - height + 1))
            return left, top, width, height
    aspect = min(max(full_width / full_height, ratio[0]), ratio[1])
    width = min(full_width, max(1, round(full_height * aspect)))
    height = min(full_height, max(1, round(full_width / aspect)))
    return (full_width - width) // 2, (full_height - height) // 2, width, height


def check_view_parameters(
    n_views: int, scale: tuple[float, float], ratio: tuple[float, float], flip: float
) -> None:
    """Refuse what is out of range, with a ValueError that says what the range is."""
    if not isinstance(n_views, Integral) or isinstance(n_views, bool) or n_views < 1:
        raise ValueError(f"n_views must be an int of at least 1; got {n_views!r}.")
    for name, pair, most in (("scale", scale, 1), ("ratio", ratio, math.inf)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
            limit = ", neither above 1" if most == 1 else ""
            raise ValueError(
                f"{name} must be a smallest and a largest positive number{limit}; got {pair!r}."
            )
    if not 0 <= flip <= 1:
        raise ValueError(f"flip must be a probability in [0, 1]; got {flip!r}.")
