"""scikit-learn's digits as images that a CLIP model can read, in two fixed halves."""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_scalar

from skclip.datasets.shifts import SHIFTS, apply_shift

__all__ = [
    "DIGIT_NAMES",
    "DIGIT_SHIFTS",
    "load_digits_images",
    "save_digits_images",
    "split_digits",
]

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_SHIFTS = tuple(SHIFTS)
SUBSETS = ("train", "test", "all")

_DESCR = """\
Handwritten digits as {size} x {size} RGB images: scikit-learn's copy of the test part of
E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998 (1797 images of 8 x 8 pixels, light ink on dark ground, by 13 writers),
enlarged by bicubic interpolation. subset={subset!r}, shift={shift!r}: {n} images.
"""


def split_digits() -> tuple[np.ndarray, np.ndarray]:
    """The two halves of scikit-learn's digits: the tiny CLIP saw the first one only.

    The images of every class are dealt out in turn, in the order of
    :func:`sklearn.datasets.load_digits`: the split is stratified and involves no random
    numbers, so that it is the same everywhere and for good.

    Returns
    -------
    train, test : ndarray of shape (901,) and (896,)
        Sorted row indices into :func:`sklearn.datasets.load_digits`.

    Examples
    --------
    >>> from skclip.datasets import split_digits
    >>> train, test = split_digits()
    >>> len(train), len(test)
    (901, 896)
    """
    return _halves(load_digits().target)


def load_digits_images(
    *, subset: str = "test", shift: str | None = None, size: int = 32, as_pil: bool = False
) -> Bunch:
    """Real images of handwritten digits, upright or shifted, with their class names.

    Parameters
    ----------
    subset : {"test", "train", "all"}, default="test"
        Which half to return, see :func:`split_digits`. :func:`tiny_clip` was trained on
        "train", so anything measured with it should be measured on "test".
    shift : {"inverted", "rotated", "blurred", "faded", "noisy", "combined"}, \
            default=None
        A change that the tiny CLIP never saw in training:

        - "inverted": dark ink on light ground;
        - "rotated": by 20 degrees anticlockwise;
        - "blurred": Gaussian blur of standard deviation 0.1 of the side;
        - "faded": grey values squeezed from 0..255 into 60..180;
        - "noisy": Gaussian noise of standard deviation 0.2 of the range on every pixel;
        - "combined": a poor snapshot, turned by 15 degrees, blurred by 0.04, faded, and noisy
          by 0.15 of the range.

        An image's noise depends on its row alone: two calls return the same images.
    size : int, default=32
        Side of the square images in pixels, at least 8.
    as_pil : bool, default=False
        Return Pillow images instead of one array.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        - images, ndarray of shape (n, size, size, 3), uint8, or list of n RGB Pillow images;
        - target, ndarray of shape (n,): the digits 0..9;
        - labels, ndarray of shape (n,): their names, "zero", ..., "nine";
        - target_names, ndarray of shape (10,): the names in the order of the digits;
        - rows, ndarray of shape (n,): row of each image in
          :func:`sklearn.datasets.load_digits`;
        - DESCR, str: where the images come from.

    See Also
    --------
    save_digits_images : The same images as PNG files.
    tiny_clip : A model that reads them.

    Examples
    --------
    >>> from skclip.datasets import load_digits_images
    >>> data = load_digits_images(shift="rotated")
    >>> data.images.shape
    (896, 32, 32, 3)
    >>> print(data.labels[:3])
    ['zero' 'one' 'two']
    """
    _check_choice(subset, "subset", SUBSETS)
    _check_choice(shift, "shift", (None, *DIGIT_SHIFTS))
    check_scalar(size, "size", Integral, min_val=8)
    digits = load_digits()
    train, test = _halves(digits.target)
    rows = {"train": train, "test": test, "all": np.arange(len(digits.target))}[subset]
    images = [
        apply_shift(_enlarged(digits.images[row], size), shift, seed=int(row)).convert("RGB")
        for row in rows
    ]
    names = np.array(DIGIT_NAMES)
    return Bunch(
        images=images if as_pil else np.stack([np.asarray(image) for image in images]),
        target=digits.target[rows],
        labels=names[digits.target[rows]],
        target_names=names,
        rows=rows,
        DESCR=_DESCR.format(size=size, subset=subset, shift=shift, n=len(rows)),
    )


def save_digits_images(
    folder: str | Path,
    *,
    subset: str = "test",
    shift: str | None = None,
    size: int = 32,
    n_per_class: int | None = None,
) -> tuple[list[Path], np.ndarray]:
    """Write the digits as PNG files, one folder per class, as users keep their images.

    Parameters
    ----------
    folder : str or Path
        Where to write ``folder/seven/0007.png`` and so on, the number being the row of the
        image in :func:`sklearn.datasets.load_digits`. Made when missing; files of the same
        name are overwritten, others are left alone.
    subset, shift, size
        See :func:`load_digits_images`.
    n_per_class : int, default=None
        Write the first so many images of each class only; all when None.

    Returns
    -------
    paths : list of n Path
        The files, in the order of the rows.
    labels : ndarray of shape (n,)
        Their class names, "zero", ..., "nine".

    Examples
    --------
    >>> import tempfile
    >>> from skclip.datasets import save_digits_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths, labels = save_digits_images(folder, n_per_class=2)
    ...     print(len(paths), paths[7].relative_to(folder).as_posix(), labels[7])
    20 seven/0017.png seven
    """
    if n_per_class is not None:
        check_scalar(n_per_class, "n_per_class", Integral, min_val=1)
    data = load_digits_images(subset=subset, shift=shift, size=size, as_pil=True)
    chosen = _first_per_class(data.target, n_per_class)
    paths = []
    for i in chosen:
        path = Path(folder) / data.labels[i] / f"{data.rows[i]:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.images[i].save(path)
        paths.append(path)
    return paths, data.labels[chosen]


def _halves(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows at even and at odd places among the rows of their class."""
    place = np.empty(len(target), dtype=int)
    for code in np.unique(target):
        members = np.flatnonzero(target == code)
        place[members] = np.arange(len(members))
    return np.flatnonzero(place % 2 == 0), np.flatnonzero(place % 2 == 1)


def _enlarged(pixels: np.ndarray, size: int) -> Image.Image:
    """Grey values 0..16 of shape (8, 8) as a grey Pillow image of `size` pixels a side."""
    image = Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8))
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _first_per_class(target: np.ndarray, n: int | None) -> np.ndarray:
    """Positions, in order, of the first `n` members of each class; all when None."""
    if n is None:
        return np.arange(len(target))
    return np.sort(np.concatenate([np.flatnonzero(target == c)[:n] for c in np.unique(target)]))


def _check_choice(value: Any, name: str, choices: Sequence[Any]) -> None:
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {allowed}; got {value!r}.")
