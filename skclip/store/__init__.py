"""Rows of features on disk, found by the content that they were made from.

A store knows nothing of images, texts or models: keys are digests, rows are arrays.
:mod:`skclip.features` and :mod:`skclip.prompts` keep their embeddings here.
"""

from skclip.store.cache import Cache
from skclip.store.keys import KEY_BYTES, as_keys, file_stamp
from skclip.store.shards import Shard, ShardError, open_shard, write_parts, write_shard
from skclip.store.table import Table
from skclip.store.usage import CacheInfo, SpaceInfo, cache_info, clear_cache

__all__ = [
    "KEY_BYTES",
    "Cache",
    "CacheInfo",
    "Shard",
    "ShardError",
    "SpaceInfo",
    "Table",
    "as_keys",
    "cache_info",
    "clear_cache",
    "file_stamp",
    "open_shard",
    "write_parts",
    "write_shard",
]
