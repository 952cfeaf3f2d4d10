"""Embedding a large collection of files into a folder: in shards, resumable, on many machines."""

from skclip.features.embed.embedding import EmbedReport, FailedFile, embed_files

__all__ = ["EmbedReport", "FailedFile", "embed_files"]
