"""One job of embed_files: what it is, where its shards are, and how one of them is made.

Folder::

    manifest.json        what the job is: written first, not changed once there are rows
    shards/00000000.npy  rows of files 0 to shard_size - 1, with what could not be read
    ...
    features.npy         all rows, when all shards are finished; then the shards are removed
    positions.npy        on_error="skip" only: the position in `paths` of every row
    failures.jsonl       the files that could not be read, one JSON object per line
    .lock...             held by who works here; see :mod:`skclip.utils.locks`

Rows and what is said about them have checksums, which are looked at before they are believed.
positions.npy and failures.jsonl repeat what lies in the others, and are made anew if they differ.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
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

__all__ = ["Job", "Settings", "absolute", "digest_of_paths", "embed_shard", "sound"]

_FORMAT = 3


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
        Digest of all absolute paths in order.
    model, pretrained, precision : str
    normalize : bool
    dtype : str
    jpeg_draft : bool
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
    jpeg_draft: bool

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
        """The manifest: everything but the output folder, which may be moved."""
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

    def lock_file(self, name: str = "") -> Path:
        return self.out / f".lock{name}"

    def make_folder(self) -> None:
        """The output folder, if nothing else lies where it and its features belong.

        Raises
        ------
        EmbedError
            If `out`, or a folder above it, is a file, or ``features.npy`` a folder.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as exc:
            raise EmbedError(
                f"out must be a folder, or not exist; {str(self.out)!r} is a file, or lies below "
                "one. Pass another folder."
            ) from exc
        if self.features_file.is_dir():
            raise EmbedError(
                f"{self.features_file} must be a file that embed_files wrote; it is a folder. "
                "Remove it, or pass another folder."
            )

    def claim(self, *, resume: bool) -> None:
        """Make the folder this job's, or refuse.

        A manifest without rows is that of a start that failed, and is replaced.

        Raises
        ------
        EmbedError
            If it holds rows of another job, or any while `resume` is False; or a foreign file.
        """
        found = self._manifest()
        used = self.features_file.exists() or any(self.shards.glob("*.npy"))
        if used and found is None:
            raise EmbedError(
                f"out must be a new folder or one that embed_files has made; {str(self.out)!r} "
                "holds another features.npy or other shards. Pass another folder."
            )
        if used and not resume:
            raise EmbedError(
                f"out must hold no embeddings when resume is False; {str(self.out)!r} does. Pass "
                "another folder, or remove it."
            )
        if used and found is not None and found != self.identity:
            raise self._other_job(found)
        self.shards.mkdir(parents=True, exist_ok=True)
        if found != self.identity:
            text = json.dumps(self.identity, indent=1).encode()
            replace_file(self.out / "manifest.json", lambda file: file.write(text))

    def check_claim(self) -> None:
        """Refuse if another job has taken the folder meanwhile."""
        found = self._manifest()
        if found != self.identity:
            raise self._other_job(found or {})

    def _manifest(self) -> dict[str, Any] | None:
        path = self.out / "manifest.json"
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as exc:
            found, reason = None, f": {exc}"
        else:
            reason = ""
        if not isinstance(found, dict) or found.keys() != self.identity.keys():
            raise EmbedError(
                f"{path} must be what embed_files wrote; it is not{reason}. Remove {self.out}, or "
                "pass another folder."
            )
        return found

    def _other_job(self, found: dict[str, Any]) -> EmbedError:
        names = [k for k in self.identity if found.get(k) != self.identity[k]]
        differences = [
            "other paths, or another order of them"
            if name == "paths"
            else f"{name}={found.get(name)!r}, not {self.identity[name]!r}"
            for name in names
        ]
        return EmbedError(
            f"out must be a new folder or hold the same job; that in {str(self.out)!r} has "
            f"{', '.join(differences)}. Pass another folder, or the arguments of that job."
        )

    def finished(self, on_error: str) -> dict[int, Shard]:
        """The shards that are there, of this job, and treat failures as `on_error` asks."""
        found = {}
        for number in range(self.n_shards):
            with contextlib.suppress(FileNotFoundError, ShardError):
                shard = open_shard(self.shard_file(number))
                if self.accepts(shard, on_error) and shard.record["number"] == number:
                    found[number] = shard
        return found

    def accepts(self, shard: Shard, on_error: str) -> bool:
        record = shard.record
        if record.get("job") != self.name:
            return False
        return not record["failures"] or record["on_error"] == on_error

    def merged(self, on_error: str) -> Shard | None:
        """The output if it is complete; all of it is compared with its checksum.

        Raises
        ------
        EmbedError
            If it is damaged or foreign, or was made with another `on_error` and that matters.
        """
        try:
            shard = open_shard(self.features_file)
            shard.verify()
            if shard.record.get("job") != self.name:
                raise ShardError("it holds another job")
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
                f"with {shard.record['on_error']!r} and {len(shard.record['failures'])} files "
                "could not be read. Pass that value or another folder."
            )
        return shard


def sound(shards: Mapping[int, Shard]) -> dict[int, Shard]:
    """Those of the shards of which every byte is as it was written."""
    found = {}
    for number, shard in shards.items():
        with contextlib.suppress(FileNotFoundError, ShardError):
            shard.verify()
            found[number] = shard
    return found


def embed_shard(job: Job, settings: Settings, number: int, paths: Sequence[str]) -> tuple[int, int]:
    """Embed the files of one shard and write it: its number, and images through the model.

    Raises
    ------
    ImageError
        If a file cannot be read and ``settings.on_error`` is "raise".
    EmbedError
        If the model is not the one that the other shards were made with, or another job has taken
        the folder.
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
        jpeg_draft=job.jpeg_draft,
        name="paths",
        start=job.span(number).start,
    )
    rows = scale_to_unit_norm(encoding.features) if job.normalize else encoding.features
    if settings.on_error == "skip":
        rows = np.delete(rows, list(encoding.failures), axis=0)
    start = job.span(number).start
    record = {
        "job": job.name,
        "number": number,
        "weights": weights,
        "on_error": settings.on_error,
        "failures": [[start + i, str(error)] for i, error in sorted(encoding.failures.items())],
    }
    job.check_claim()
    write_shard(job.shard_file(number), rows.astype(job.dtype, copy=False), record)
    return number, encoding.n_encoded


def identity_of(backbone: Backbone) -> str:
    """A digest of the model, its weights and its preprocessing."""
    text = json.dumps(backbone.image_identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_paths(paths: Sequence[Any]) -> str:
    """One digest of all paths in order; relative ones mean others in another folder.

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
        name = os.fsencode(absolute(paths[i]))
        digest.update(len(name).to_bytes(8, "little") + name)
    return digest.hexdigest()


def absolute(path: str | os.PathLike[str]) -> str:
    """The path for a worker, which may run in another folder."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
