"""Features that were computed before, found by the content of the images.

Two tables. One has raw features by the digest of the image, for one model in one precision. The
other has digests by the stamp of a file, so that a file that did not change since is known
without being read.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skclip.backbones import Backbone
from skclip.store import KEY_BYTES, Cache, as_keys

__all__ = ["ImageCache"]

logger = logging.getLogger(__name__)

# Raise the first when reading or preprocessing changes what features are made from.
_FORMAT, _DIGEST_FORMAT = 1, 1
# New rows are written as a shard when there are so many, or after so many seconds.
_SHARD_ROWS, _SHARD_SECONDS = 4096, 30.0


class ImageCache:
    """Raw features in a cache folder; for one call of `transform`.

    What is known is looked up from several threads, what is new is added from one.

    Parameters
    ----------
    cache_dir : str or Path
    limit : int, str or None
        As for :class:`skclip.store.Cache`.
    backbone : Backbone
    jpeg_draft : bool, default=False
        Whether features are those of JPEG files at a fraction of their size; they are kept apart.
    stamps : ndarray of shape (n, 32), uint8, default=None
        Of the files that are to be transformed; None if the items are not files.
    """

    def __init__(
        self,
        cache_dir: str | Path,
        limit: int | str | None,
        backbone: Backbone,
        jpeg_draft: bool = False,
        stamps: np.ndarray | None = None,
    ) -> None:
        self._stamps = stamps
        self._cache = Cache(cache_dir, limit)
        reading = {"jpeg_draft": True} if jpeg_draft else {}
        self._features = self._cache.table(
            {"kind": "image", "format": _FORMAT, **backbone.image_identity, **reading},
            backbone.embedding_dim,
            np.float32,
            backbone.model_name,
        )
        self._digests = self._cache.table(
            {"kind": "file", "format": _DIGEST_FORMAT}, KEY_BYTES, np.uint8
        )
        self._new_features: dict[bytes, np.ndarray] = {}
        self._new_digests: dict[bytes, np.ndarray] = {}
        self._flushed = time.monotonic()
        self._broken = ""
        self._features.refresh()
        self._digests.refresh()

    def recall(self, features: np.ndarray) -> np.ndarray:
        """Fill in the features of files that did not change since they were embedded.

        Parameters
        ----------
        features : ndarray of shape (n, d), float32
            Rows that are known are written.

        Returns
        -------
        known : ndarray of shape (n,), bool
        """
        if self._stamps is None:
            return np.zeros(len(features), dtype=bool)
        stamped, digests = self._digests.get(self._stamps)
        known, rows = self._features.get(digests)
        positions = np.flatnonzero(stamped)[known]
        features[positions] = rows
        mask = np.zeros(len(features), dtype=bool)
        mask[positions] = True
        return mask

    def find(self, digest: bytes) -> np.ndarray | None:
        """The features of an image, or None."""
        known, rows = self._features.get(as_keys([digest]))
        return rows[0] if known[0] else None

    def remember(self, stamp: bytes | None, digest: bytes) -> None:
        """Note which content a file has."""
        if stamp is not None:
            self._new_digests[stamp] = np.frombuffer(digest, np.uint8)

    def add(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Store the features of new images, soon."""
        self._new_features.update(zip(digests, rows, strict=True))
        waited = time.monotonic() - self._flushed
        if len(self._new_features) >= _SHARD_ROWS or waited > _SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is new; a folder that cannot be written is logged, not raised."""
        self._flushed = time.monotonic()
        for table, pending in (
            (self._features, self._new_features),
            (self._digests, self._new_digests),
        ):
            keys = as_keys(pending)
            rows = np.array(list(pending.values()), table.dtype).reshape(-1, table.width)
            pending.clear()
            if self._broken:
                continue
            try:
                self._cache.put(table, keys, rows)
            except OSError as exc:
                self._broken = str(exc)
                logger.warning("features cannot be stored in %s: %s", self._cache.root, exc)
