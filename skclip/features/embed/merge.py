"""From finished shards to one array, and what could not be read on the way."""

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skclip.exceptions import EmbedError
from skclip.features.embed.job import Job
from skclip.store import Shard, ShardError, write_parts
from skclip.utils.files import TEMPORARY, replace_file
from skclip.utils.locks import is_locked

__all__ = ["failures_of", "merge_shards", "remove_shards", "write_companions"]

Failure = tuple[int, str]


def failures_of(shards: Mapping[int, Shard]) -> list[Failure]:
    """Position and reason of every file that could not be read, in order."""
    return [
        (position, reason)
        for _, shard in sorted(shards.items())
        for position, reason in shard.record["failures"]
    ]


def write_companions(
    job: Job, failures: Sequence[Failure], paths: Sequence[Any], on_error: str
) -> None:
    """failures.jsonl, with names that are not text escaped, and positions.npy of skipped rows."""
    lines = (
        {"position": position, "path": os.fspath(paths[position]), "reason": reason}
        for position, reason in failures
    )
    _write(job.out / "failures.jsonl", b"".join(json.dumps(x).encode() + b"\n" for x in lines))
    if on_error == "skip":
        kept = np.delete(np.arange(job.n_files), [position for position, _ in failures])
        buffer = io.BytesIO()
        np.save(buffer, kept)
        _write(job.out / "positions.npy", buffer.getvalue())


def merge_shards(job: Job, shards: Mapping[int, Shard], on_error: str) -> None:
    """Write features.npy; every checksum is looked at.

    Raises
    ------
    EmbedError
        If a shard is damaged, which removes it, or if not all are of one model.
    """
    if len({shard.record["weights"] for shard in shards.values()}) > 1:
        raise EmbedError(
            f"All shards must be made by one model; those in {str(job.out)!r} are not: weights or "
            "preprocessing differ between the machines. Start again in another folder."
        )
    ordered = [shards[number] for number in range(job.n_shards)]
    record = {
        "job": job.name,
        "weights": ordered[0].record["weights"],
        "on_error": on_error,
        "failures": failures_of(shards),
    }
    shape = (sum(shard.shape[0] for shard in ordered), *ordered[0].shape[1:])
    write_parts(job.features_file, _sound_rows(ordered), shape, np.dtype(job.dtype), record)


def remove_shards(job: Job, own_lock: Path) -> None:
    """Remove what features.npy holds now, and what killed processes left if nobody works here."""
    if not job.shards.is_dir():
        return
    for number in range(job.n_shards):
        job.shard_file(number).unlink(missing_ok=True)
    others = set(job.out.glob(".lock-*")) - {own_lock}
    if any(is_locked(lock) for lock in others):
        return
    for folder in (job.shards, job.out):
        for path in folder.glob(f"*{TEMPORARY}"):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds files of others
        job.shards.rmdir()


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it is so already."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    replace_file(path, lambda file: file.write(content))


def _sound_rows(shards: Sequence[Shard]) -> Iterator[np.ndarray]:
    for shard in shards:
        try:
            shard.verify()
        except ShardError as exc:
            shard.path.unlink(missing_ok=True)
            raise EmbedError(
                f"A finished shard must be as it was written; {exc}. It was removed: call again "
                "to make it anew."
            ) from exc
        yield shard.rows()
