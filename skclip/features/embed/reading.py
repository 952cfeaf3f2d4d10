"""What embed_files and the command wrote, read back with every checksum compared."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skclip.exceptions import EmbedError
from skclip.features.embed.job import digest_of_paths
from skclip.store import ShardError, open_shard
from skclip.utils.messages import listing

__all__ = ["Embeddings", "is_embedded", "read_embeddings"]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Rows of features by path, and the model that they are of.

    Parameters
    ----------
    folder : Path
    paths : list of str
        Absolute.
    features : ndarray of shape (n, d)
        The row of each path, mapped read-only; NaN where an image could not be read.
    model, pretrained : str or None
        As :class:`skclip.CLIPFeaturizer` takes them.
    precision : str
    jpeg_draft : bool
        Whether large JPEG files were decoded at a fraction of their size, as images that are
        predicted with these features must be, too.
    digest : str
        Changes with the rows.
    """

    folder: Path
    paths: list[str]
    features: np.ndarray = field(repr=False)
    model: str | None
    pretrained: str | None
    precision: str
    jpeg_draft: bool
    digest: str = ""

    def rows_of(self, paths: Iterable[str]) -> np.ndarray:
        """Features of some of the paths, of unit norm.

        Parameters
        ----------
        paths : iterable of n str

        Returns
        -------
        ndarray of shape (n, d), float32

        Raises
        ------
        EmbedError
            If a path has no row.
        """
        position = {path: row for row, path in enumerate(self.paths)}
        wanted = [str(Path(path).absolute()) for path in paths]
        missing = [path for path in wanted if path not in position]
        if missing:
            raise EmbedError(
                f"Every image must have a row in {self.folder}; got none of {listing(missing)}. "
                "Embed them into another folder."
            )
        rows = np.asarray(self.features[[position[path] for path in wanted]], np.float32)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norm > 0, norm, 1)

    @property
    def readable(self) -> list[str]:
        """The paths that have features."""
        known = ~np.isnan(self.features).any(axis=1)
        return [path for path, is_known in zip(self.paths, known, strict=True) if is_known]


def is_embedded(folder: str | os.PathLike[str]) -> bool:
    """Whether ``skclip embed`` has written a folder."""
    folder = Path(folder)
    return all((folder / name).is_file() for name in ("manifest.json", "features.npy", "paths.txt"))


def read_embeddings(folder: str | os.PathLike[str]) -> Embeddings:
    """What ``skclip embed`` wrote into a folder.

    Parameters
    ----------
    folder : path-like
        With features.npy, manifest.json, paths.txt and, where images could not be read,
        failures.jsonl.

    Returns
    -------
    Embeddings

    Raises
    ------
    EmbedError
        If a file is missing, damaged or of another job.
    """
    folder = Path(folder).expanduser()
    if not is_embedded(folder):
        raise EmbedError(
            f"Embeddings must be a folder that skclip embed has finished; {str(folder)!r} lacks "
            "features.npy, manifest.json or paths.txt. Give the command again."
        )
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        shard = open_shard(folder / "features.npy")
        shard.verify()
        paths = os.fsdecode((folder / "paths.txt").read_bytes()).split("\n")[:-1]
        every = list(paths)
        if shard.record["on_error"] == "skip":
            for line in (folder / "failures.jsonl").read_text(encoding="utf-8").splitlines():
                failed = json.loads(line)
                every.insert(failed["position"], failed["path"])
        is_whole = len(paths) == shard.shape[0] and digest_of_paths(every) == manifest["paths"]
        named = [None if manifest[n] == "None" else manifest[n] for n in ("model", "pretrained")]
        precision, jpeg_draft = manifest["precision"], bool(manifest["jpeg_draft"])
    except (OSError, ValueError, LookupError, TypeError, ShardError) as error:
        raise EmbedError(
            f"Embeddings must be as skclip embed wrote them; {str(folder)!r} cannot be read: "
            f"{type(error).__name__}: {error}. Embed again into another folder."
        ) from error
    if not is_whole:
        raise EmbedError(
            f"paths.txt must name the image of every row; that in {str(folder)!r} is of another "
            "job or was edited. Give skclip embed again, which writes it anew."
        )
    digest = f"{shard.record['job']}-{shard.checksum:08x}"
    model, pretrained = named
    return Embeddings(folder, paths, shard.rows(), model, pretrained, precision, jpeg_draft, digest)
