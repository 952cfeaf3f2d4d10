"""What a cache folder holds, and emptying it."""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skclip.store.cache import DESCRIPTION, entries_of, root_of, shard_files, spaces
from skclip.store.shards import ShardError, open_shard
from skclip.store.table import is_shard

__all__ = ["CacheInfo", "SpaceInfo", "cache_info", "clear_cache"]


@dataclass(frozen=True)
class SpaceInfo:
    """The rows of one kind and model.

    Attributes
    ----------
    kind : str
        "image", "text", or "file" for the digests of files.
    model : str
        Empty for the digests of files.
    precision : str
    n_rows : int
        Rows on disk; a row that two processes computed at the same time counts twice.
    n_shards : int
    n_bytes : int
    folder : Path
    """

    kind: str
    model: str
    precision: str
    n_rows: int
    n_shards: int
    n_bytes: int
    folder: Path


@dataclass(frozen=True)
class CacheInfo:
    """What :func:`cache_info` found.

    Attributes
    ----------
    cache_dir : Path
    n_bytes : int
        Size of all shards.
    spaces : tuple of SpaceInfo
        One for each kind and model.
    """

    cache_dir: Path
    n_bytes: int
    spaces: tuple[SpaceInfo, ...] = field(default=())


def cache_info(cache_dir: str | Path) -> CacheInfo:
    """What a `cache_dir` of :class:`skclip.CLIPFeaturizer` or ClassPrompts holds.

    Parameters
    ----------
    cache_dir : str or Path
        A folder that does not exist counts as empty.

    Returns
    -------
    CacheInfo

    Examples
    --------
    >>> import skclip
    >>> skclip.cache_info("/a/folder/that/is/not/there").n_bytes
    0
    """
    root = root_of(cache_dir)
    found = tuple(_space_info(folder) for folder in spaces(root))
    return CacheInfo(root.parent, sum(space.n_bytes for space in found), found)


def clear_cache(cache_dir: str | Path) -> int:
    """Remove everything that skclip has stored in a folder, and nothing else.

    A process that is using the cache goes on; it computes again what it no longer finds.

    Parameters
    ----------
    cache_dir : str or Path

    Returns
    -------
    int
        Bytes that were freed.
    """
    root = root_of(cache_dir)
    freed = 0
    ours = [path for path, _ in shard_files(root)]
    ours += [folder / DESCRIPTION for folder in spaces(root)]
    for path in ours:
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            size = path.stat().st_size
            path.unlink()
            freed += size
    for folder in spaces(root):
        with contextlib.suppress(OSError):  # it holds files of others, or one that is written now
            folder.rmdir()
    with contextlib.suppress(OSError):
        root.rmdir()
    return freed


def _space_info(folder: Path) -> SpaceInfo:
    described = _description(folder)
    n_rows = n_shards = n_bytes = 0
    for path in entries_of(folder):  # which may be cleared meanwhile
        try:
            if not is_shard(path.name):
                continue
            shard, size = open_shard(path), path.stat().st_size
        except (ShardError, OSError):
            continue
        n_rows, n_shards, n_bytes = n_rows + shard.shape[0], n_shards + 1, n_bytes + size
    return SpaceInfo(
        kind=described.get("kind", "unknown"),
        model=described.get("model", ""),
        precision=described.get("precision", ""),
        n_rows=n_rows,
        n_shards=n_shards,
        n_bytes=n_bytes,
        folder=folder,
    )


def _description(folder: Path) -> dict[str, Any]:
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}
