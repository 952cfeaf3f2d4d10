"""From a key to the shard and the row that hold it: 56 bytes per key, whole arrays at a time."""

from collections.abc import Sequence

import numpy as np

from skclip.store.keys import KEY_BYTES

__all__ = ["KeyIndex"]


class KeyIndex:
    """Where each key is; immutable, so that threads may share it.

    Parameters
    ----------
    keys : sequence of ndarray of shape (n_s, 32), uint8
        The keys of each shard, in the order of its rows.
    """

    def __init__(self, keys: Sequence[np.ndarray] = ()) -> None:
        lengths = [len(part) for part in keys]
        every = np.concatenate(keys) if keys else np.empty((0, KEY_BYTES), np.uint8)
        prefixes = _prefixes(every)
        order = np.argsort(prefixes, kind="stable")
        self._prefixes = prefixes[order]
        self._keys = every[order]
        starts = np.cumsum([0, *lengths])[:-1]
        self._shards = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        self._rows = (np.arange(len(every)) - np.repeat(starts, lengths)).astype(np.int32)[order]

    def __len__(self) -> int:
        return len(self._prefixes)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row of each key, -1 where it is unknown.

        Of keys that share their first eight bytes only one is found: the other counts as
        unknown and is computed again, which costs time and nothing else.

        Parameters
        ----------
        keys : ndarray of shape (q, 32), uint8

        Returns
        -------
        shards, rows : ndarray of shape (q,), int32
        """
        missing = np.full(len(keys), -1, np.int32)
        if not len(self) or not len(keys):
            return missing, missing
        at = np.searchsorted(self._prefixes, _prefixes(keys)).clip(max=len(self) - 1)
        same = (self._keys[at] == keys).all(axis=1)
        return np.where(same, self._shards[at], missing), np.where(same, self._rows[at], missing)


def _prefixes(keys: np.ndarray) -> np.ndarray:
    """The first eight bytes as one number."""
    return np.ascontiguousarray(keys[:, :8]).view("<u8").reshape(-1)
