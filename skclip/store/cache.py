"""A cache folder: one table for each way of making rows, within a common size.

Layout: ``<cache_dir>/skclip-cache-v1/<space>/``, where a space is named by a digest of everything
that decides a row beside its key, and ``space.json`` in it says what that is.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skclip.store.table import Table, is_shard
from skclip.utils.files import TEMPORARY, replace_file

__all__ = ["Cache", "entries_of", "parse_size", "shard_files", "spaces"]

logger = logging.getLogger(__name__)

ROOT, DESCRIPTION = "skclip-cache-v1", "space.json"
_PREFIXES = ["", "k", "m", "g", "t"]
# A temporary file of this age, in seconds, belongs to a process that was killed.
_ABANDONED = 3600.0
# What a folder that another process is clearing makes of a write, and of the making of folders.
_CLEARED, _ATTEMPTS = (FileNotFoundError, FileExistsError), 5

_tables: dict[tuple[str, str], Table] = {}


class Cache:
    """The tables under one folder.

    Parameters
    ----------
    cache_dir : str or Path
        "~" is the home folder; made at the first write.
    limit : int, str or None, default=None
        The most that all tables together may take, in bytes or as "20 GB"; None for no limit.
        Beyond it the shards that were not used for longest are removed.

    Raises
    ------
    NotADirectoryError
        If `cache_dir` is a file.
    """

    def __init__(self, cache_dir: str | Path, limit: int | str | None = None) -> None:
        self.root = root_of(cache_dir)
        folder = self.root.parent
        if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112
            raise NotADirectoryError(
                f"cache_dir must be a folder; {str(folder)!r} is a file. Pass another name."
            )
        self.limit = None if limit is None else parse_size(limit)

    def table(
        self, identity: dict[str, Any], width: int, dtype: np.dtype | type, model: str = ""
    ) -> Table:
        """The table of rows that `identity` makes; the same object for the whole process.

        Parameters
        ----------
        identity : dict
            Everything beside the key that a row depends on; what JSON can express.
        width : int
        dtype : numpy.dtype
        model : str, default=""
            A name for people: the weights are known by what they are, not by it.
        """
        described = {**identity, "width": width, "dtype": np.dtype(dtype).name}
        text = json.dumps(described, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        key = (str(self.root), name)
        table = _tables.setdefault(key, Table(self.root / name, width, dtype))
        table.description = {"model": model, **described}
        return table

    def put(self, table: Table, keys: np.ndarray, rows: np.ndarray) -> None:
        """Write rows to a table of this cache, and keep within the limit."""
        if not len(keys):
            return
        for attempt in itertools.count(1):
            try:
                self._write(table, keys, rows)
                break
            except _CLEARED:
                if attempt == _ATTEMPTS:
                    raise
        with contextlib.suppress(*_CLEARED):
            table.compact()
        self.evict()

    def _write(self, table: Table, keys: np.ndarray, rows: np.ndarray) -> None:
        table.folder.mkdir(parents=True, exist_ok=True)
        description = table.folder / DESCRIPTION
        if not description.exists():
            text = json.dumps(table.description, indent=1).encode()
            replace_file(description, lambda file: file.write(text))
        table.put(keys, rows)

    def evict(self) -> None:
        """Remove the shards that were not used for longest, until the rest fits the limit."""
        if self.limit is None:
            return
        files = sorted((s.st_mtime, s.st_size, path) for path, s in shard_files(self.root))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size


def root_of(cache_dir: str | Path) -> Path:
    """The folder inside `cache_dir` that is ours alone."""
    return Path(cache_dir).expanduser().absolute() / ROOT


def parse_size(size: int | str) -> int:
    """Bytes from a number or from text such as "500 MB", "20G".

    >>> parse_size("20 GB")
    20000000000

    Raises
    ------
    ValueError
        If it is not a non-negative size.
    """
    if isinstance(size, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", size.lower())
        if found:
            base = 1024 if found[3] else 1000
            return int(float(found[1]) * base ** _PREFIXES.index(found[2]))
    elif size >= 0:
        return int(size)
    raise ValueError(f"A size must be a number of bytes or text such as '20 GB'; got {size!r}.")


def spaces(root: Path) -> Iterator[Path]:
    """The folders of the tables under `root`; nothing else is ever touched."""
    for folder in sorted(entries_of(root)):
        if folder.is_dir() and re.fullmatch("[0-9a-f]{32}", folder.name):
            yield folder


def entries_of(folder: Path) -> list[Path]:
    """What a folder holds; nothing if another process has removed it."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def shard_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every shard with its size and time of last use; abandoned temporary files are removed."""
    for folder in spaces(root):
        for path in entries_of(folder):
            try:
                status = path.stat()
                if path.suffix == TEMPORARY and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
            except FileNotFoundError:
                continue
            if is_shard(path.name):
                yield path, status
