"""A stream of images through a model: workers read and decode while the model runs.

At any time about two batches of prepared images are held, however many there are. Equal images
go through the model once.
"""

import contextlib
import itertools
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from skclip.backbones import Backbone
from skclip.exceptions import ImageError
from skclip.features.collection import check_kind, describe
from skclip.features.image_cache import ImageCache
from skclip.features.image_reading import MAX_PIXELS, check_sides, decode, open_item, reasons
from skclip.utils.messages import listing

__all__ = ["Encoding", "encode_images", "scale_to_unit_norm"]

# Sides of what the model sees that a JPEG image keeps which is decoded at a fraction of its size:
# so much is left for the model's own resizing.
_SIDES_KEPT = 2


def encode_images(
    images: Sequence[Any],
    backbone: Backbone,
    *,
    batch_size: int | str,
    n_jobs: int,
    on_error: str,
    verbose: int,
    max_pixels: int = MAX_PIXELS,
    jpeg_draft: bool = False,
    cache: ImageCache | None = None,
    name: str = "X",
    start: int = 0,
) -> "Encoding":
    """Raw image embeddings, one row per image, in order.

    Batches hold the same images whatever `n_jobs` is, so that results do not depend on it.

    Parameters
    ----------
    images : sequence of n items that :func:`open_item` takes
    backbone : Backbone
    batch_size : int or "auto"
        Images per call of the model.
    n_jobs : int
        Threads that decode and prepare the next batch while the calling one runs the model.
    on_error : {"raise", "nan"}
    verbose : int
        Whether to show a progress bar.
    max_pixels : int
    jpeg_draft : bool, default=False
        As for :class:`skclip.CLIPFeaturizer`; what `cache` has must have been made so, too.
    cache : ImageCache, default=None
        What is found there is not computed; what is new is stored there, also if an error
        ends the work.
    name, start : str and int
        What `images` are a part of, and where they start in it, for messages.

    Returns
    -------
    Encoding

    Raises
    ------
    ImageError
        If `on_error` is "raise" and an image cannot be read: within a batch's length of the
        first one, with all that were found until then. If an item is of a wrong kind, such as a
        pair of an image and its label.
    """
    from tqdm.auto import tqdm

    encoding = Encoding(len(images), backbone, batch_size, max_pixels, jpeg_draft, cache)
    todo = np.arange(len(images))
    if cache is not None:
        todo = np.flatnonzero(~cache.recall(encoding.features))
        if not len(todo) and not verbose:
            return encoding
    loaded = _ordered_map(
        lambda k: encoding.load(images[int(todo[k])], int(todo[k])),
        len(todo),
        n_jobs=n_jobs,
        ahead=encoding.batch_size + n_jobs,
    )
    numbered = zip(todo, loaded, strict=False)
    progress = tqdm(
        total=len(images), initial=len(images) - len(todo), unit="image", disable=not verbose
    )
    # The threads end, and what is done is stored, when an error is raised.
    with contextlib.closing(loaded), contextlib.closing(encoding), progress as bar:
        while window := list(itertools.islice(numbered, encoding.batch_size)):
            for position, item in window:
                encoding.take(int(position), item)
            if encoding.failures and on_error == "raise":
                raise ImageError(
                    f"Every item of {name} must be readable as an image; "
                    f"{_failed(encoding.failures, images, start)}. Remove such items, or pass "
                    "on_error='nan' to give them NaN features."
                ) from next(iter(encoding.failures.values()))
            bar.update(len(window))
        encoding.finish()
    return encoding


class Loaded(NamedTuple):
    """An item after a worker's turn.

    Attributes
    ----------
    digest : bytes
        Of its content; empty if it could not be read.
    stamp : bytes or None
        Of the file as it was read.
    error : ImageError or None
    row : ndarray of shape (d,) or None
        Its features, if the cache has them.
    prepared : ndarray, torch.Tensor or None
        What the model takes, unless there are features or an equal image came before.
    """

    digest: bytes = b""
    stamp: bytes | None = None
    error: ImageError | None = None
    row: np.ndarray | None = None
    prepared: np.ndarray | torch.Tensor | None = None


class Encoding:
    """The rows so far, and the images that wait for a full batch.

    Attributes
    ----------
    features : ndarray of shape (n, d), float32, C-contiguous
        NaN where an image could not be read.
    failures : dict
        Position -> ImageError, why the image could not be read.
    n_encoded : int
        Images that went through the model.
    """

    def __init__(
        self,
        n: int,
        backbone: Backbone,
        batch_size: int | str,
        max_pixels: int,
        jpeg_draft: bool,
        cache: ImageCache | None,
    ) -> None:
        self.features = np.full((n, backbone.embedding_dim), np.nan, dtype=np.float32)
        self.failures: dict[int, ImageError] = {}
        self.n_encoded = 0
        self.batch_size = backbone.batch_size if batch_size == "auto" else int(batch_size)
        self._backbone = backbone
        self._max_pixels = max_pixels
        self._least_side = _SIDES_KEPT * max(backbone.image_size) if jpeg_draft else None
        self._cache = cache
        self._first: dict[bytes, int] = {}  # digest -> the first position with this content
        self._repeats: list[tuple[int, int]] = []
        self._batch: list[tuple[int, Loaded]] = []

    def load(self, item: Any, position: int) -> Loaded:
        """Read an item, and decode and prepare it if it is new; called from several threads.

        Raises
        ------
        ImageError
            If it is of a kind that can never be an image. What is one and cannot be read is
            returned as an error.
        """
        check_kind(item, position)
        try:
            with reasons():
                content, digest, stamp = open_item(item, self._max_pixels)
                if digest in self._first:
                    return Loaded(digest, stamp)
                row = None if self._cache is None else self._cache.find(digest)
                if row is not None:
                    return Loaded(digest, stamp, row=row)
                image = decode(content, self._max_pixels, self._least_side)
                check_sides(image, self._backbone.image_size, self._max_pixels)
                return Loaded(digest, stamp, prepared=self._backbone.prepare(image))
        except ImageError as error:
            for raised in (error, error.__cause__):
                if raised is not None:
                    raised.__traceback__ = None  # its frames would keep the content alive
            return Loaded(error=error)

    def take(self, position: int, item: Loaded) -> None:
        """Put what was loaded where it belongs; runs the model when a batch is full."""
        if item.error is not None:
            self.failures[position] = item.error
            return
        if self._cache is not None:
            self._cache.remember(item.stamp, item.digest)
        first = self._first.setdefault(item.digest, position)
        if first != position:
            self._repeats.append((position, first))
        elif item.row is not None:
            self.features[position] = item.row
        else:
            self._batch.append((position, item))
            if len(self._batch) == self.batch_size:
                self._run()

    def finish(self) -> None:
        """Run the last batch and copy the rows of repeated images."""
        self._run()
        if self._repeats:
            repeated, first = np.array(self._repeats).T
            self.features[repeated] = self.features[first]

    def close(self) -> None:
        """Store what was computed."""
        if self._cache is not None:
            self._cache.flush()

    def warn_of_failures(self, images: Sequence[Any], stacklevel: int) -> None:
        """One warning that counts the images that could not be read."""
        if self.failures:
            warnings.warn(
                f"{len(self.failures)} of {len(images)} images cannot be read and have NaN "
                f"features: {_failed(self.failures, images)}.",
                UserWarning,
                stacklevel=stacklevel + 1,
            )

    def _run(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        stacked = self._backbone.stack([item.prepared for _, item in batch])
        rows = self._backbone.encode_images(stacked)
        self.n_encoded += len(rows)
        if self._backbone.most is not None:  # not every batch shall fail first
            self.batch_size = min(self.batch_size, self._backbone.most)
        self.features[[position for position, _ in batch]] = rows
        if self._cache is not None:
            self._cache.add([item.digest for _, item in batch], rows)


def scale_to_unit_norm(features: np.ndarray) -> np.ndarray:
    """Scale rows in place; as in open_clip a zero row stays zero, and NaN stays NaN."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    features /= np.maximum(norms, np.float32(1e-12))
    return features


def _ordered_map(
    function: Callable[[int], Any], n: int, *, n_jobs: int, ahead: int
) -> Generator[Any]:
    """``map(function, range(n))`` in threads, at most `ahead` results before the consumer."""
    pool = ThreadPoolExecutor(max_workers=n_jobs, thread_name_prefix="skclip-decode")
    try:
        pending = deque(pool.submit(function, i) for i in range(min(ahead, n)))
        for following in range(len(pending), n + len(pending)):
            result = pending.popleft().result()
            if following < n:
                pending.append(pool.submit(function, following))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _failed(failures: dict[int, ImageError], images: Sequence[Any], start: int = 0) -> str:
    """At most five failures with their reasons, then how many more."""
    return listing(
        failures.items(),
        show=lambda failure: (
            f"item {start + failure[0]} ({describe(images[failure[0]])}): {failure[1]}"
        ),
        separator="; ",
    )
