"""Text embeddings that were computed before, found by the token numbers of the texts.

The token numbers are all that a text tower sees: two texts or tokenizers that give the same ones
give the same row, and whatever changes them makes another key.
"""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from skclip.backbones.backbone import Backbone
from skclip.store import Cache, as_keys

__all__ = ["encode_texts_once"]

logger = logging.getLogger(__name__)

_FORMAT = 1
_CHUNK = 4096  # rows per shard: what a kill can lose


def encode_texts_once(
    backbone: Backbone,
    texts: Iterable[str],
    cache_dir: str | Path | None,
    limit: int | str | None = None,
    verbose: int = 0,
) -> np.ndarray:
    """What :meth:`Backbone.encode_texts` gives, computed only where `cache_dir` has no row.

    Parameters
    ----------
    backbone : Backbone
    texts : iterable of str
    cache_dir : str, Path or None
        None for no cache.
    limit : int, str or None
        As for :class:`skclip.store.Cache`.
    verbose : int

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    if cache_dir is None:
        return backbone.encode_texts(texts, verbose=verbose)
    cache = Cache(cache_dir, limit)
    identity = {"kind": "text", "format": _FORMAT, **backbone.text_identity}
    table = cache.table(identity, backbone.embedding_dim, np.float32, backbone.model_name)
    tokens = backbone.tokenize(texts)
    keys = as_keys(hashlib.sha256(row.tobytes()).digest() for row in tokens.numpy())
    table.refresh()
    known, found = table.get(keys)
    rows = np.empty((len(keys), backbone.embedding_dim), np.float32)
    rows[known] = found

    # Equal texts are encoded once.
    missing = np.flatnonzero(~known)
    _, first, inverse = np.unique(keys[missing], axis=0, return_index=True, return_inverse=True)
    new = missing[first]
    for start in range(0, len(new), _CHUNK):
        part = new[start : start + _CHUNK]
        rows[part] = backbone.encode_tokens(tokens[part], verbose=verbose)
        try:
            cache.put(table, keys[part], rows[part])
        except OSError as exc:
            logger.warning("texts cannot be stored in %s: %s", cache.root, exc)
    rows[missing] = rows[new][inverse.reshape(-1)]
    return rows
