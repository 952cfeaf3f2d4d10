"""A stream of images through a model: workers decode while the model runs.

At any time about two batches of preprocessed images are held, however many there are.
"""

import contextlib
import itertools
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from skclip.backbones import Backbone
from skclip.exceptions import ImageError
from skclip.features.reading import describe, open_image

__all__ = ["encode_images"]


def encode_images(
    images: Sequence,
    backbone: Backbone,
    *,
    batch_size: int,
    n_jobs: int,
    on_error: str,
    verbose: int,
) -> np.ndarray:
    """Raw image embeddings, one row per image, in order.

    Batches hold the same images whatever `n_jobs` is, so that results do not depend on it.

    Parameters
    ----------
    images : sequence of n items that :func:`open_image` takes
    backbone : Backbone
    batch_size : int
        Images per call of the model.
    n_jobs : int
        Threads that decode and preprocess; 1 does it in the calling thread, between the
        batches.
    on_error : {"raise", "nan"}
    verbose : int
        Whether to show a progress bar.

    Returns
    -------
    ndarray of shape (n, d), float32, C-contiguous

    Raises
    ------
    ImageError
        If `on_error` is "raise" and an image cannot be read: at the first batch that
        holds one, with all of that batch's.

    Warns
    -----
    UserWarning
        If `on_error` is "nan" and images could not be read.
    """
    from tqdm.auto import tqdm

    features = np.full((len(images), backbone.embedding_dim), np.nan, dtype=np.float32)
    failures: dict[int, ImageError] = {}

    def load(position: int) -> torch.Tensor | ImageError:
        try:
            return backbone.preprocess(open_image(images[position]))
        except ImageError as error:
            return error

    loaded = _ordered_map(load, len(images), n_jobs=n_jobs, ahead=batch_size + n_jobs)
    numbered = enumerate(loaded)
    progress = tqdm(total=len(images), unit="image", disable=not verbose)
    with contextlib.closing(loaded), progress as bar:  # the threads end when an error is raised
        while batch := list(itertools.islice(numbered, batch_size)):
            good = [(i, value) for i, value in batch if not isinstance(value, ImageError)]
            failures |= {i: value for i, value in batch if isinstance(value, ImageError)}
            if failures and on_error == "raise":
                raise ImageError(
                    f"Every item of X must be readable as an image; "
                    f"{_listing(failures, images)}. Remove such items, or pass on_error='nan' to "
                    "give them NaN features."
                ) from next(iter(failures.values()))
            if good:
                positions, tensors = zip(*good, strict=True)
                features[list(positions)] = backbone.encode_images(torch.stack(tensors))
            bar.update(len(batch))
    if failures:
        warnings.warn(
            f"{len(failures)} of {len(images)} images cannot be read and have NaN features: "
            f"{_listing(failures, images)}.",
            UserWarning,
            stacklevel=3,
        )
    return features


def _ordered_map(
    function: Callable[[int], Any], n: int, *, n_jobs: int, ahead: int
) -> Generator[Any]:
    """``map(function, range(n))`` in threads, at most `ahead` results before the consumer."""
    if n_jobs == 1:
        yield from map(function, range(n))
        return
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


def _listing(failures: dict[int, ImageError], images: Sequence) -> str:
    """At most five failures with their reasons, then how many more."""
    listed = [
        f"item {i} ({describe(images[i])}): {error}"
        for i, error in itertools.islice(failures.items(), 5)
    ]
    more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
    return "; ".join(listed) + more
