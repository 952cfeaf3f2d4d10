"""One job of embed_files: what it is, where its shards are, and how one of them is made.

Folder::

    manifest.json        what the job is: written first, never changed
    shards/00000000.npy  rows of files 0 to shard_size - 1, with what could not be read
    ...
    features.npy         all rows, when all shards are finished; then the shards are removed
    positions.npy        on_error="skip" only: the position in `paths` of every row
    failures.jsonl       the files that could not be read, one JSON object per line
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skclip.backbones import Backbone, BackboneConfig, get_backbone
from skclip.exceptions import EmbedError, ImageError
from skclip.features.collection import describe, is_path
from skclip.features.image_encoding import encode_images, scale_to_unit_norm
from skclip.store import Shard, ShardError, open_shard, write_shard
from skclip.utils.files import replace_file

__all__ = ["Job", "Settings", "absolute", "digest_of_paths", "embed_shard"]

_FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """How shards are made; changes rows by rounding at most.

    Attributes
    ----------
    config : BackboneConfig
    batch_size : int or "auto"
    n_threads : int
    max_pixels : int
    on_error : {"raise", "nan", "skip"}
    weights : str or None
        The identity of the model that the finished shards were made with.
    """

    config: BackboneConfig
    batch_size: int | str
    n_threads: int
    max_pixels: int
    on_error: str
    weights: str | None = None


@dataclass(frozen=True)
class Job:
    """What decides the output beside the content of the files.

    Attributes
    ----------
    out : Path
    n_files, shard_size : int
    paths : str
        Digest of all paths in order.
    model, pretrained, precision : str
    normalize : bool
    dtype : str
    """

    out: Path
    n_files: int
    shard_size: int
    paths: str
    model: str
    pretrained: str
    precision: str
    normalize: bool
    dtype: str

    @property
    def n_shards(self) -> int:
        return -(-self.n_files // self.shard_size)

    @property
    def features_file(self) -> Path:
        return self.out / "features.npy"

    @property
    def shards(self) -> Path:
        return self.out / "shards"

    @property
    def identity(self) -> dict[str, Any]:
        """The manifest: everything but the folder, which may be moved."""
        return {"format": _FORMAT} | {k: v for k, v in asdict(self).items() if k != "out"}

    @property
    def name(self) -> str:
        """A digest of the manifest, which every shard carries."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def shard_file(self, number: int) -> Path:
        return self.shards / f"{number:08d}.npy"

    def span(self, number: int) -> range:
        """The positions of a shard's files."""
        start = number * self.shard_size
        return range(start, min(start + self.shard_size, self.n_files))

    def claim(self, *, resume: bool) -> None:
        """Make the folder this job's, or refuse.

        Raises
        ------
        EmbedError
            If it holds another job, or any while `resume` is False.
        """
        manifest = self.out / "manifest.json"
        if not manifest.exists():
            if self.features_file.exists():
                raise EmbedError(
                    f"out must be a new folder or one that embed_files has made; {str(self.out)!r} "
                    "holds another features.npy. Pass another folder."
                )
            self.shards.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.identity, indent=1).encode()
            replace_file(manifest, lambda file: file.write(text))
            return
        if not resume:
            raise EmbedError(
                f"out must hold no embeddings when resume is False; {str(self.out)!r} does. Pass "
                "another folder, or remove it."
            )
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
        except ValueError as exc:
            raise EmbedError(
                f"{manifest} must be JSON; it is not: {exc}. Remove {self.out}."
            ) from exc
        if found != self.identity:
            names = [k for k in self.identity if found.get(k) != self.identity[k]]
            listed = ", ".join(f"{k}={found.get(k)!r}, not {self.identity[k]!r}" for k in names)
            raise EmbedError(
                f"out must be a new folder or hold the same job; that in {str(self.out)!r} has "
                f"{listed}. Pass another folder, or the arguments of that job."
            )
        self.shards.mkdir(exist_ok=True)

    def finished(self, on_error: str) -> dict[int, Shard]:
        """The shards that are whole, of this job, and treat failures as `on_error` asks."""
        found = {}
        for number in range(self.n_shards):
            with contextlib.suppress(FileNotFoundError, ShardError):
                found[number] = open_shard(self.shard_file(number))
        return {number: shard for number, shard in found.items() if self.accepts(shard, on_error)}

    def accepts(self, shard: Shard, on_error: str) -> bool:
        record = shard.record
        same = not record["n_failures"] or record["on_error"] == on_error
        return record["job"] == self.name and same

    def merged(self, on_error: str) -> Shard | None:
        """The output if it is complete.

        Raises
        ------
        EmbedError
            If it was made with another `on_error`, and that matters.
        """
        try:
            shard = open_shard(self.features_file)
        except FileNotFoundError:
            return None
        except ShardError as exc:
            raise EmbedError(
                f"{self.features_file} must be what embed_files wrote; it is not: {exc}. Remove "
                "the folder and call again."
            ) from exc
        if not self.accepts(shard, on_error):
            raise EmbedError(
                f"{self.features_file} must have been made with on_error={on_error!r}; it was made "
                f"with {shard.record['on_error']!r} and {shard.record['n_failures']} files could "
                "not be read. Pass that value or another folder."
            )
        return shard


def embed_shard(job: Job, settings: Settings, number: int, paths: Sequence[str]) -> tuple[int, int]:
    """Embed the files of one shard and write it: its number, and images through the model.

    Raises
    ------
    ImageError
        If a file cannot be read and ``settings.on_error`` is "raise".
    EmbedError
        If the model is not the one that the other shards were made with.
    """
    backbone = get_backbone(settings.config)
    weights = identity_of(backbone)
    if settings.weights not in (None, weights):
        raise EmbedError(
            f"The model must be the one that the finished shards in {str(job.out)!r} were made "
            "with; its weights or its preprocessing have changed. Pass another folder."
        )
    encoding = encode_images(
        paths,
        backbone,
        batch_size=settings.batch_size,
        n_jobs=settings.n_threads,
        on_error="raise" if settings.on_error == "raise" else "nan",
        verbose=0,
        max_pixels=settings.max_pixels,
        name="paths",
        start=job.span(number).start,
    )
    rows = scale_to_unit_norm(encoding.features) if job.normalize else encoding.features
    if settings.on_error == "skip":
        rows = np.delete(rows, list(encoding.failures), axis=0)
    record = {
        "job": job.name,
        "weights": weights,
        "on_error": settings.on_error,
        "n_failures": len(encoding.failures),
        "failures": [[i, str(error)] for i, error in sorted(encoding.failures.items())],
    }
    write_shard(job.shard_file(number), rows.astype(job.dtype, copy=False), record)
    return number, encoding.n_encoded


def identity_of(backbone: Backbone) -> str:
    """A digest of the model, its weights and its preprocessing."""
    text = json.dumps(backbone.image_identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_paths(paths: Sequence[Any]) -> str:
    """One digest of all paths in order.

    Raises
    ------
    ImageError
        If an item is not a path.
    """
    digest = hashlib.sha256()
    for i in range(len(paths)):
        if not is_path(paths[i]):
            raise ImageError(
                f"Every item of paths must be a path (str or Path); item {i} is "
                f"{describe(paths[i])}. CLIPFeaturizer.transform takes other images."
            )
        name = os.fsencode(paths[i])
        digest.update(len(name).to_bytes(8, "little") + name)
    return digest.hexdigest()


def absolute(path: str | os.PathLike[str]) -> str:
    """The path for a worker, which may run in another folder."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
