"""embed_files: one call, its share of the shards, and the report."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from skclip.backbones import BackboneConfig
from skclip.features.collection import check_collection
from skclip.features.embed.job import (
    Job,
    Settings,
    absolute,
    digest_of_paths,
    embed_shard,
    sound,
)
from skclip.features.embed.merge import (
    failures_of,
    merge_shards,
    remove_shards,
    write_companions,
)
from skclip.features.image_reading import MAX_PIXELS
from skclip.utils.locks import locked

__all__ = ["EmbedReport", "FailedFile", "embed_files"]


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be read as an image.

    Attributes
    ----------
    position : int
        Where it stands in `paths`, from 0.
    path : str
    reason : str
    """

    position: int
    path: str
    reason: str


@dataclass(frozen=True)
class EmbedReport:
    """What :func:`embed_files` did.

    Attributes
    ----------
    out : Path
        The output folder.
    n_files : int
        The length of `paths`.
    n_rows : int or None
        Rows of the output; None while it is incomplete.
    n_encoded : int
        Images that went through the model in this call.
    n_shards : int
        Shards of the whole job.
    n_resumed : int
        Shards of this call's share that an earlier call had finished.
    complete : bool
        Whether every shard of the job is finished and sound, also those of other ranks.
    failures : tuple of FailedFile
        Every unreadable file of the finished shards, by position.
    seconds : float
        Wall-clock time of this call.
    """

    out: Path
    n_files: int
    n_rows: int | None
    n_encoded: int
    n_shards: int
    n_resumed: int
    complete: bool
    failures: tuple[FailedFile, ...] = field(repr=False)
    seconds: float

    @property
    def features(self) -> np.ndarray:
        """The rows as a read-only memory map of shape (n_rows, d); needs ``merge=True``."""
        return np.load(self.out / "features.npy", mmap_mode="r")


def embed_files(
    paths: Sequence[Any],
    out: str | Path,
    *,
    model: str | None = None,
    pretrained: str | Path | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    batch_size: int | str = "auto",
    normalize: bool = True,
    on_error: str = "raise",
    max_pixels: int = MAX_PIXELS,
    jpeg_draft: bool = False,
    allow_random_weights: bool = False,
    dtype: str = "float32",
    shard_size: int = 8192,
    n_jobs: int | None = None,
    n_threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    resume: bool = True,
    merge: bool = True,
    verbose: int = 0,
) -> EmbedReport:
    """Embed image files into a folder, in shards that survive a kill.

    Row ``i`` of the output belongs to ``paths[i]``. Shard ``s`` holds the files from
    ``s * shard_size`` on, whatever the number of workers; it is written in one step, so that it
    is there completely or not at all. A call with the same arguments goes on where an earlier one
    was interrupted.

    Parameters
    ----------
    paths : sequence of n paths
        A list, an array, a pandas Series, or any sequence with a length.
    out : str or Path
        The output folder; made if it is missing.
    model, pretrained, device, precision
        As in :class:`skclip.CLIPFeaturizer`.
    batch_size : int or "auto", default="auto"
        As for :class:`skclip.CLIPFeaturizer`.
    normalize : bool, default=True
        Whether rows are scaled to unit length.
    on_error : {"raise", "nan", "skip"}, default="raise"
        What a file that cannot be read does: stop the job (finished shards stay), become a row
        of NaN, or have no row. The report and ``failures.jsonl`` name them all. After a stop, a
        call with "nan" or "skip" goes on.
    max_pixels : int, default=178_956_970
        Larger images are refused before they are decoded.
    jpeg_draft : bool, default=False
        Whether large JPEG files are decoded at a fraction of their size, as in
        :class:`skclip.CLIPFeaturizer`: faster, with slightly other features.
    allow_random_weights : bool, default=False
        As in :class:`skclip.CLIPFeaturizer`.
    dtype : {"float32", "float16"}, default="float32"
        Of the output.
    shard_size : int, default=8192
        Files per shard: the most work that a kill can lose, per worker.
    n_jobs : int, default=None
        Shards that are worked on at the same time, by :class:`joblib.Parallel`: processes on this
        machine, or whatever back end :obj:`joblib.parallel_config` names (Dask, Ray). Every
        process loads the model once. None means 1: this process. One is right for one GPU.
    n_threads : int, default=None
        Threads that read and decode, for each of the `n_jobs`; None shares the processors out.
    rank : int, default=0
        Which share of the shards this call does: those with ``s % world_size == rank``.
    world_size : int, default=1
        The number of calls among which the job is divided, for instance a SLURM array or
        torchrun. They share `out` and nothing else.
    resume : bool, default=True
        Whether `out` may hold finished shards of the same job. With False a folder that holds
        embeddings is an error; nothing is ever deleted.
    merge : bool, default=True
        Whether the shards become one ``features.npy`` when all are finished; needs room for the
        output twice, for a moment. Not done if `world_size` exceeds 1: call once more without
        rank when all are done.
    verbose : int, default=0
        Whether to show a progress bar.

    Returns
    -------
    EmbedReport

    Raises
    ------
    ImageError
        If `on_error` is "raise" and a file cannot be read.
    EmbedError
        If `out` holds another job, or embeddings while `resume` is False; or if what lies there is
        damaged and cannot be made anew.
    BackboneError
        If the model cannot be loaded as named.

    See Also
    --------
    skclip.CLIPFeaturizer : For what fits into memory, with a cache by content.

    Notes
    -----
    ``numpy.load(out / "features.npy", mmap_mode="r")`` maps the rows. With "skip",
    ``positions.npy`` has the position in `paths` of each. Without `merge` the shards are
    ``shards/00000000.npy`` and so on, in the same format.

    Paths are compared on resuming, relative ones by what they mean in the current folder; the
    content of files is not: a file that changes after its shard was finished keeps its row.
    Finished shards and ``features.npy`` are compared with their checksums before they are believed,
    which reads them once per call. Equal calls on one `out` take turns, by a lock that ends with
    its process. Memory is one shard and two batches per job.

    Examples
    --------
    >>> import tempfile
    >>> import skclip
    >>> from skclip.datasets import save_digits_images, tiny_clip
    >>> folder = tempfile.mkdtemp()
    >>> paths, labels = save_digits_images(folder, n_per_class=2)
    >>> report = skclip.embed_files(paths, f"{folder}/out", pretrained=tiny_clip())
    >>> report.features.shape
    (20, 64)
    """
    started = time.monotonic()
    _check(on_error, dtype, shard_size, rank, world_size)
    paths = check_collection(paths)
    job = Job(
        out=Path(out).expanduser().absolute(),
        n_files=len(paths),
        shard_size=int(shard_size),
        paths=digest_of_paths(paths),
        model=str(model),
        pretrained=str(pretrained),
        precision=precision,
        normalize=bool(normalize),
        dtype=dtype,
        jpeg_draft=bool(jpeg_draft),
    )
    n_shared = max(1, joblib.cpu_count() // joblib.effective_n_jobs(n_jobs))
    settings = Settings(
        config=BackboneConfig(
            model, pretrained, device, precision, allow_random_weights=allow_random_weights
        ),
        batch_size=batch_size,
        n_threads=n_threads or n_shared,
        max_pixels=max_pixels,
        on_error=on_error,
    )
    share = range(rank, job.n_shards, world_size)
    job.make_folder()
    # Equal calls take turns; calls of other ranks work at the same time, but for the moments in
    # which the folder is looked at and the shards are merged.
    own = job.lock_file(f"-{rank}-of-{world_size}")
    with locked(own, f"another call works on this share of {job.out}; waiting until it ends"):
        with locked(job.lock_file()):
            job.claim(resume=resume)
            output = job.merged(on_error)
            if output is not None:
                failures = failures_of({0: output})
                write_companions(job, failures, paths, on_error)
                remove_shards(job, own)
                return _report(job, paths, failures, output.shape[0], 0, len(share), started)
            there = job.finished(on_error)
            done = sound({number: there[number] for number in share if number in there})
        weights = next((shard.record["weights"] for shard in there.values()), None)
        todo = [number for number in share if number not in done]
        n_encoded = _work(job, replace(settings, weights=weights), todo, paths, n_jobs, verbose)
        with locked(job.lock_file()):
            shards = job.finished(on_error)
            others = {number: shards[number] for number in shards.keys() - set(share)}
            complete = len(shards) == job.n_shards and len(sound(others)) == len(others)
            failures = failures_of(shards)
            if complete:
                write_companions(job, failures, paths, on_error)
            if complete and merge and world_size == 1:
                merge_shards(job, shards, on_error)
                remove_shards(job, own)
    n_rows = sum(shard.shape[0] for shard in shards.values()) if complete else None
    return _report(job, paths, failures, n_rows, n_encoded, len(done), started)


def _work(
    job: Job,
    settings: Settings,
    todo: Sequence[int],
    paths: Sequence[Any],
    n_jobs: int | None,
    verbose: int,
) -> int:
    """Make the shards, through joblib; the images that went through the model."""
    from tqdm.auto import tqdm

    tasks = (
        joblib.delayed(embed_shard)(
            job, settings, number, [absolute(paths[i]) for i in job.span(number)]
        )
        for number in todo
    )
    try:
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    except ValueError:  # the back end gives results only when all are there
        parallel = joblib.Parallel(n_jobs=n_jobs)
    total = sum(len(job.span(number)) for number in todo)
    n_encoded = 0
    with tqdm(total=total, unit="image", disable=not verbose) as bar:
        for number, n_new in parallel(tasks):
            n_encoded += n_new
            bar.update(len(job.span(number)))
    return n_encoded


def _report(
    job: Job,
    paths: Sequence[Any],
    failures: Sequence[tuple[int, str]],
    n_rows: int | None,
    n_encoded: int,
    n_resumed: int,
    started: float,
) -> EmbedReport:
    return EmbedReport(
        out=job.out,
        n_files=job.n_files,
        n_rows=n_rows,
        n_encoded=n_encoded,
        n_shards=job.n_shards,
        n_resumed=n_resumed,
        complete=n_rows is not None,
        failures=tuple(FailedFile(i, os.fspath(paths[i]), reason) for i, reason in failures),
        seconds=time.monotonic() - started,
    )


def _check(on_error: str, dtype: str, shard_size: int, rank: int, world_size: int) -> None:
    for name, value, allowed in (
        ("on_error", on_error, ("raise", "nan", "skip")),
        ("dtype", dtype, ("float32", "float16")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")
    if shard_size < 1:
        raise ValueError(f"shard_size must be at least 1; got {shard_size!r}.")
    if not 0 <= rank < world_size:
        raise ValueError(
            f"rank must be at least 0 and below world_size; got rank={rank!r} and "
            f"world_size={world_size!r}."
        )
