"""Keys of rows: digests of 32 bytes, of content or of the state of a file."""

import hashlib
import os
import struct
import sys
from collections.abc import Iterable

import numpy as np

__all__ = ["KEY_BYTES", "as_keys", "file_stamp"]

KEY_BYTES = 32
_NUMBERS = struct.Struct("<QQqqq")
_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def as_keys(digests: Iterable[bytes]) -> np.ndarray:
    """Digests as an array of shape (n, 32), uint8."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)


def file_stamp(path: str | os.PathLike[str], status: os.stat_result) -> bytes:
    """A digest of a file's name, place, size and times, which changes whenever the file does.

    The change time makes this safe: no program can set it back, unlike the modification time,
    and every write, truncation or replacement moves it.
    """
    numbers = _NUMBERS.pack(
        status.st_dev,
        status.st_ino & 0xFFFF_FFFF_FFFF_FFFF,  # Windows has more bits
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    name = path.encode(*_NAMES) if type(path) is str else os.fsencode(path)
    return hashlib.blake2b(numbers + name, digest_size=KEY_BYTES).digest()
