"""From finished shards to one array, and what could not be read on the way."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from skclip.exceptions import EmbedError
from skclip.features.embed.job import Job
from skclip.store import Shard, ShardError, write_parts
from skclip.utils.files import TEMPORARY, replace_file

__all__ = ["failures_of", "merge_shards", "read_failures", "remove_shards", "write_failures"]

Failure = tuple[int, str]


def failures_of(job: Job, shards: dict[int, Shard]) -> list[Failure]:
    """Position and reason of every file that could not be read, in order."""
    return [
        (job.span(number).start + i, reason)
        for number, shard in sorted(shards.items())
        for i, reason in shard.record["failures"]
    ]


def write_failures(job: Job, failures: Sequence[Failure], paths: Sequence[Any]) -> None:
    """One JSON object per line; names that are not text are escaped."""

    def write(file: BinaryIO) -> None:
        for position, reason in failures:
            path = os.fspath(paths[position])
            line = {"position": position, "path": path, "reason": reason}
            file.write(json.dumps(line).encode() + b"\n")

    replace_file(job.out / "failures.jsonl", write)


def read_failures(job: Job) -> list[Failure]:
    """What :func:`write_failures` wrote."""
    with (job.out / "failures.jsonl").open("rb") as file:
        lines = [json.loads(line) for line in file]
    return [(line["position"], line["reason"]) for line in lines]


def merge_shards(job: Job, shards: dict[int, Shard], on_error: str) -> None:
    """Write features.npy, and positions.npy if rows were skipped; every checksum is looked at.

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
    n_rows = sum(shard.shape[0] for shard in ordered)
    n_failures = sum(shard.record["n_failures"] for shard in ordered)
    if on_error == "skip":
        skipped = [position for position, _ in failures_of(job, shards)]
        kept = np.delete(np.arange(job.n_files), skipped)
        replace_file(job.out / "positions.npy", lambda file: np.save(file, kept))
    record = {
        "job": job.name,
        "weights": ordered[0].record["weights"],
        "on_error": on_error,
        "n_failures": n_failures,
    }
    shape = (n_rows, *ordered[0].shape[1:])
    write_parts(job.features_file, _sound_rows(ordered), shape, np.dtype(job.dtype), record)


def remove_shards(job: Job) -> None:
    """Remove what features.npy holds now, and what killed processes left."""
    if not job.shards.is_dir():
        return
    for number in range(job.n_shards):
        job.shard_file(number).unlink(missing_ok=True)
    for folder in (job.shards, job.out):
        for path in folder.glob(f"*{TEMPORARY}"):
            path.unlink(missing_ok=True)
    if not any(job.shards.iterdir()):
        job.shards.rmdir()


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
