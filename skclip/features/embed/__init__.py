"""Embedding a large collection of files into a folder: in shards, resumable, on many machines."""

from skclip.features.embed.embedding import EmbedReport, FailedFile, embed_files
from skclip.features.embed.reading import Embeddings, is_embedded, read_embeddings

__all__ = [
    "EmbedReport",
    "Embeddings",
    "FailedFile",
    "embed_files",
    "is_embedded",
    "read_embeddings",
]
