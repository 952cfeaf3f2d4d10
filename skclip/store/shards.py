"""A shard: one file with an array, what the array is about, and checksums of both.

It is a valid ``.npy`` file, which ``numpy.load(path, mmap_mode="r")`` maps; behind the array
follow a record (JSON), the keys of the rows and a footer. A shard appears under its name in one
step and is never changed: it is there completely or not at all.
"""

import io
import itertools
import json
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skclip.store.keys import KEY_BYTES
from skclip.utils.files import replace_file

__all__ = [
    "Shard",
    "ShardError",
    "open_shard",
    "write_parts",
    "write_shard",
]

_MAGIC = b"skclip\x00\x02"
# Length of the record, number of keys, CRC-32 of all but the rows, CRC-32 of everything, magic.
_FOOTER = struct.Struct("<QQII8s")


class ShardError(Exception):
    """A file is no shard, or not the one that was written: truncated, damaged, foreign."""


@dataclass(frozen=True)
class Shard:
    """An open shard; its rows are read only when they are asked for.

    Attributes
    ----------
    path : Path
    shape : tuple of int
    dtype : numpy.dtype
    offset : int
        Where the array starts, in bytes.
    record : dict
    keys : ndarray of shape (n, 32), uint8
        Empty if the rows have no keys.
    checksum : int
        CRC-32 of everything before the footer.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    record: dict[str, Any]
    keys: np.ndarray
    checksum: int

    def rows(self) -> np.ndarray:
        """The array, mapped read-only."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)

    def verify(self) -> None:
        """Read everything, also the rows, and compare with the checksum.

        Raises
        ------
        ShardError
            If they differ.
        """
        with self.path.open("rb") as file:
            left, checksum = os.fstat(file.fileno()).st_size - _FOOTER.size, 0
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                checksum = zlib.crc32(block, checksum)
                left -= len(block)
        if checksum != self.checksum:
            raise ShardError(f"{self.path} is damaged: its checksum is wrong")


def write_shard(
    path: Path, rows: np.ndarray, record: dict[str, Any], keys: np.ndarray | None = None
) -> None:
    """Write a shard in one step: after a kill or a power cut it is whole or absent.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    rows : ndarray of shape (n, ...)
    record : dict
        What JSON can express.
    keys : ndarray of shape (n, 32), uint8, default=None
    """
    write_parts(path, [rows], rows.shape, rows.dtype, record, keys)


def write_parts(
    path: Path,
    parts: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    record: dict[str, Any],
    keys: np.ndarray | None = None,
) -> None:
    """:func:`write_shard` of ``numpy.concatenate(parts)``, which need not fit into memory."""
    header = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(header, described)
    text = json.dumps(record).encode()
    keys = np.empty((0, KEY_BYTES), np.uint8) if keys is None else np.ascontiguousarray(keys)
    arrays = (np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in parts)

    def write(file: BinaryIO) -> None:
        checksum = 0
        blocks: Iterable[Any] = itertools.chain([header.getvalue()], arrays, [text, keys.data])
        for part in blocks:
            file.write(part)
            checksum = zlib.crc32(part, checksum)
        about = _checksum(header.getvalue(), text, keys)
        file.write(_FOOTER.pack(len(text), len(keys), about, checksum, _MAGIC))

    replace_file(path, write)


def open_shard(path: Path) -> Shard:
    """Read the header, the record and the keys, and check them; the rows stay on disk.

    Raises
    ------
    ShardError
        If the file is not a complete shard, or damaged outside its rows.
    OSError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except OSError:
        raise
    except Exception as exc:  # a damaged header makes NumPy raise whatever its parser does
        raise ShardError(f"{path} is not a complete shard: {exc}") from exc


def _read(path: Path, file: BinaryIO) -> Shard:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its .npy version is {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    offset = file.tell()
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - _FOOTER.size, 0))
    n_text, n_keys, about, checksum, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    expected = offset + n_bytes + n_text + n_keys * KEY_BYTES + _FOOTER.size
    if magic != _MAGIC or fortran or size != expected or n_keys not in (0, shape[0]):
        raise ValueError("its footer is missing or does not fit its size")
    file.seek(offset + n_bytes)
    text = file.read(n_text)
    keys = np.frombuffer(file.read(n_keys * KEY_BYTES), np.uint8).reshape(n_keys, KEY_BYTES)
    file.seek(0)
    if _checksum(file.read(offset), text, keys) != about:
        raise ValueError("its checksum is wrong")
    return Shard(path, tuple(shape), dtype, offset, json.loads(text), keys, checksum)


def _checksum(header: bytes, text: bytes, keys: np.ndarray) -> int:
    return zlib.crc32(keys.tobytes(), zlib.crc32(text, zlib.crc32(header)))
