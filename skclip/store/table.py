"""A table on disk from keys to rows, in shards of many rows, for any number of processes.

Every shard has a name of its own and is never changed, so that writers need no lock. The index is
rebuilt from the shards and kept in memory. What cannot be read is dropped: this is a cache, and a
lost row is computed again.
"""

import logging
import os
import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from skclip.store.index import KeyIndex
from skclip.store.keys import KEY_BYTES
from skclip.store.shards import Shard, ShardError, open_shard, write_shard

__all__ = ["Table", "is_shard"]

logger = logging.getLogger(__name__)

# Many small calls leave many small shards: so many of fewer rows become one.
_SMALL_ROWS, _MOST_SMALL = 1024, 32
# The time of last use is written down at most this often, in seconds.
_TOUCH_EVERY = 60.0


class Table:
    """Rows by key; its methods may be called from several threads.

    Parameters
    ----------
    folder : Path
        Holds the shards of this table and nothing else; made at the first write.
    width : int
        The length of a row.
    dtype : numpy.dtype

    Attributes
    ----------
    description : dict
        What the rows are, for people.
    """

    def __init__(self, folder: Path, width: int, dtype: np.dtype | type) -> None:
        self.folder = folder
        self.width = width
        self.dtype = np.dtype(dtype)
        self.description: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._shards: dict[str, Shard] = {}
        self._order: list[Shard] = []
        self._index = KeyIndex()
        self._verified: dict[str, tuple[int, int]] = {}
        self._touched: dict[str, float] = {}
        self._unreadable = False

    def __len__(self) -> int:
        return len(self._index)

    def refresh(self) -> None:
        """Take in what other processes wrote and forget what they removed.

        A folder that cannot be read counts as empty, with one warning in the log.
        """
        with self._lock:
            try:
                names = _shard_names(self.folder)
            except OSError as exc:
                if not self._unreadable:
                    logger.warning("%s cannot be read, so it counts as empty: %s", self.folder, exc)
                self._unreadable, names = True, set()
            if names == self._shards.keys():
                return
            for name in self._shards.keys() - names:
                self._forget(name)
            for name in sorted(names - self._shards.keys()):
                self._take(name)
            self._order = list(self._shards.values())
            self._index = KeyIndex([shard.keys for shard in self._order])

    def get(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the keys that are known.

        Parameters
        ----------
        keys : ndarray of shape (q, 32), uint8

        Returns
        -------
        known : ndarray of shape (q,), bool
        rows : ndarray of shape (known.sum(), width)
        """
        with self._lock:
            index, order = self._index, self._order
        shards, places = index.find(keys)
        known = shards >= 0
        values = np.empty((len(keys), self.width), self.dtype)
        for number in np.unique(shards[known]):
            wanted = np.flatnonzero(shards == number)
            rows = self._rows_of(order[number], places[wanted])
            if rows is None:
                known[wanted] = False
            else:
                values[wanted] = rows
        return known, values[known]

    def put(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Write rows as one shard; they are found after the next :meth:`refresh`.

        Parameters
        ----------
        keys : ndarray of shape (n, 32), uint8
        rows : ndarray of shape (n, width)
        """
        if not len(keys):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}.npy"
        write_shard(self.folder / name, rows.astype(self.dtype, copy=False), {}, keys)

    def compact(self) -> None:
        """Make one shard of many small ones, without repeated keys.

        A reader that finds one of them gone takes its rows for unknown, or has refreshed.
        """
        self.refresh()
        small = [s for s in self._shards.values() if s.shape[0] < _SMALL_ROWS]
        if len(small) <= _MOST_SMALL:
            return
        read = [(s, rows) for s in small if (rows := self._rows_of(s, slice(None))) is not None]
        if not read:
            return
        keys = np.concatenate([s.keys for s, _ in read])
        rows = np.concatenate([rows for _, rows in read])
        _, first = np.unique(keys.view(f"V{KEY_BYTES}").reshape(-1), return_index=True)
        self.put(keys[first], rows[first])
        for shard, _ in read:
            shard.path.unlink(missing_ok=True)
        self.refresh()

    def _rows_of(self, shard: Shard, places: np.ndarray | slice) -> np.ndarray | None:
        """Rows of a shard, or None if it is gone or damaged."""
        try:
            if not self._sound(shard):
                return None
            rows = np.array(shard.rows()[places])
        except (OSError, ValueError):  # evicted between the look and the map
            return None
        self._touch(shard)
        return rows

    def _sound(self, shard: Shard) -> bool:
        """Whether the checksum holds; looked at again only when the file has changed."""
        try:
            state = _state(shard.path)
            if self._verified.get(shard.path.name) == state:
                return True
            shard.verify()
        except ShardError as exc:
            _remove(shard.path, exc)
            return False
        except OSError as exc:  # gone, or not to be read; it may be sound
            logger.debug("%s", exc)
            return False
        self._verified[shard.path.name] = state
        return True

    def _touch(self, shard: Shard) -> None:
        """Remember that the shard was used: eviction starts with the longest unused."""
        now = time.time()
        if now - self._touched.get(shard.path.name, 0.0) < _TOUCH_EVERY:
            return
        self._touched[shard.path.name] = now
        try:
            os.utime(shard.path)
            self._verified[shard.path.name] = _state(shard.path)
        except OSError as exc:  # a cache that is read-only for this user
            logger.debug("%s", exc)

    def _take(self, name: str) -> None:
        path = self.folder / name
        try:
            shard = open_shard(path)
            if shard.shape != (len(shard.keys), self.width) or shard.dtype != self.dtype:
                raise ShardError(f"{path} has shape {shard.shape} and type {shard.dtype}")
        except ShardError as exc:
            _remove(path, exc)
            return
        except OSError as exc:
            logger.debug("%s", exc)
            return
        self._shards[name] = shard

    def _forget(self, name: str) -> None:
        del self._shards[name]
        self._verified.pop(name, None)
        self._touched.pop(name, None)


def is_shard(name: str) -> bool:
    """Whether a file has the name of a shard; another file in the folder is somebody else's."""
    return re.fullmatch(r"[0-9a-f]{32}\.npy", name) is not None


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _shard_names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if is_shard(entry.name)}
    except FileNotFoundError:
        return set()


def _remove(path: Path, reason: Exception) -> None:
    logger.warning("%s; it is removed and its rows are computed again", reason)
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        logger.debug("%s", exc)
