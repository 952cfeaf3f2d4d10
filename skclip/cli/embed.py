"""Embed images into a folder of features, with a CLIP model.

SOURCE is a folder (every image below it, in sorted order; --glob and --exclude choose), a text file
with one path per line, or "-" for such lines on standard input. Row i of OUT/features.npy belongs
to line i of OUT/paths.txt.

The work is done in shards. A run that was stopped, by Ctrl-C, a full disk or the end of a job's
time, goes on where it was when the same command is given again; finished shards are not
computed twice.

Examples
  # a folder of photographs with OpenAI's weights
  skclip embed photos/ --model ViT-B-32 --pretrained openai --out features/

  # without the masks that lie beside the photographs
  skclip embed photos/ --exclude "*.png" --exclude masks --model ViT-B-32 --pretrained openai \\
      --out features/

  # a list, four processes, files that cannot be read become rows of NaN
  find /data -name "*.jpg" | skclip embed - --pretrained local-dir:/models/clip \\
      --out features/ --jobs 4 --on-error nan

  # one of eight shares, for instance in a SLURM array; merged by a last call without --rank
  skclip embed list.txt --model ViT-B-32 --pretrained openai --out features/ \\
      --rank $SLURM_ARRAY_TASK_ID --world-size 8

In Python:  X = numpy.load("features/features.npy", mmap_mode="r")
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skclip.utils.files import decode_text, write_text
from skclip.utils.image_files import FoundImages, search_images

if TYPE_CHECKING:
    from skclip.features import EmbedReport

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "embed images into a folder of features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="folder, list of paths, or -")
    for option, what in (("--glob", "only images"), ("--exclude", "no files or folders")):
        parser.add_argument(
            option,
            action="append",
            metavar="PATTERN",
            help=f"of a folder take {what} of this name, such as '*.jpg', or of this path below it "
            "if the pattern has a slash; may be given several times",
        )
    parser.add_argument("--out", required=True, type=Path, help="output folder; made if missing")

    model = parser.add_argument_group("model")
    model.add_argument(
        "--model", help="architecture of open_clip, such as ViT-B-32; or hf-hub:org/name"
    )
    model.add_argument(
        "--pretrained", help="weights: a tag (openai), a file, hf-hub:org/name or local-dir:folder"
    )
    model.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
    model.add_argument("--precision", default="fp32", help="fp32, fp16, bf16, amp, ... (fp32)")
    model.add_argument(
        "--batch-size", type=_batch_size, default="auto", help="images per call, or auto (auto)"
    )
    model.add_argument(
        "--allow-random-weights",
        action="store_true",
        help="accept a model without trained weights, for tests",
    )

    output = parser.add_argument_group("output")
    output.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    output.add_argument("--no-normalize", action="store_true", help="rows keep their length")
    output.add_argument(
        "--on-error",
        choices=["raise", "nan", "skip"],
        default="raise",
        help="what a file that cannot be read does: stop the job (default), become a row of NaN, "
        "or have no row",
    )
    output.add_argument(
        "--max-pixels",
        type=_positive,
        default=178_956_970,
        help="larger images are refused before they are decoded (178956970)",
    )
    output.add_argument(
        "--shard-size",
        type=_positive,
        default=8192,
        help="files per shard, the most work that a kill can lose (8192)",
    )
    output.add_argument(
        "--no-resume", action="store_true", help="refuse a folder that holds embeddings"
    )
    output.add_argument("--no-merge", action="store_true", help="leave the shards as they are")

    work = parser.add_argument_group("work")
    work.add_argument("--jobs", type=int, help="shards at the same time, in processes (1)")
    work.add_argument("--threads", type=_positive, help="threads that decode, for each job")
    work.add_argument("--rank", type=int, default=0, help="which share this call does, from 0")
    work.add_argument("--world-size", type=_positive, default=1, help="number of shares (1)")
    work.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def run(arguments: argparse.Namespace) -> int:
    """Find the files, embed them, say what was done."""
    from skclip.features import embed_files

    if arguments.model is None and arguments.pretrained is None:
        arguments.parser.error("a model must be named: --model and --pretrained, see --help")
    if not 0 <= arguments.rank < arguments.world_size:
        arguments.parser.error(
            f"--rank must be at least 0 and below --world-size; got {arguments.rank} and "
            f"{arguments.world_size}"
        )
    paths = _paths(arguments)
    report = embed_files(
        paths,
        arguments.out,
        model=arguments.model,
        pretrained=arguments.pretrained,
        device=arguments.device,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        normalize=not arguments.no_normalize,
        on_error=arguments.on_error,
        max_pixels=arguments.max_pixels,
        allow_random_weights=arguments.allow_random_weights,
        dtype=arguments.dtype,
        shard_size=arguments.shard_size,
        n_jobs=arguments.jobs,
        n_threads=arguments.threads,
        rank=arguments.rank,
        world_size=arguments.world_size,
        resume=not arguments.no_resume,
        merge=not arguments.no_merge,
        verbose=not arguments.quiet,
    )
    if report.complete:
        _write_paths(report, paths, skipped=arguments.on_error == "skip")
    if not arguments.quiet:
        _summarise(report)
    return 0


def _paths(arguments: argparse.Namespace) -> list[str]:
    """The files behind SOURCE, absolute, so that paths.txt means the same from anywhere."""
    source, found = Path(arguments.source).expanduser(), None
    if source.is_dir():
        found = search_images(source, arguments.glob, arguments.exclude)
        paths = [str(path) for path in found.paths]
        if not arguments.quiet:
            _show_found(found)
    elif arguments.glob or arguments.exclude:
        arguments.parser.error("--glob and --exclude choose from a folder; SOURCE is none")
    elif arguments.source == "-":
        paths = _lines(sys.stdin.buffer.read(), arguments)
    elif source.is_file() or source.is_fifo():
        paths = _lines(source.read_bytes(), arguments)
    elif source.exists():
        arguments.parser.error(f"SOURCE must be a folder, a list or -; {str(source)!r} is neither")
    else:
        arguments.parser.error(f"SOURCE must be a folder, a list or -; {str(source)!r} is missing")
    if not paths:
        left_out = f" ({found.counts})" if found else ""
        arguments.parser.error(
            f"SOURCE must name an image at least; {arguments.source!r} has none{left_out}"
        )
    wrong = [path for path in paths if "\n" in path]
    if wrong:
        arguments.parser.error(f"a file's name must not hold a line break; got {wrong[0]!r}")
    return [str(Path(path).expanduser().absolute()) for path in paths]


def _lines(content: bytes, arguments: argparse.Namespace) -> list[str]:
    """Paths, one per line; names of files are bytes that need not be UTF-8."""
    try:
        lines = decode_text(content, "surrogateescape").split("\n")
    except ValueError as error:
        arguments.parser.error(
            f"SOURCE must be a list of paths in UTF-8; {arguments.source!r} has {error}. For one "
            "image pass its folder with --glob, or its path on standard input"
        )
    lines = [line.removesuffix("\r") for line in lines]
    return [line for line in lines if line]


def _show_found(found: FoundImages) -> None:
    print(f"skclip: {found.counts}", file=sys.stderr)
    if found.same_stems:
        print(
            f"skclip: warning: images have the same name but for their type: {found.same_stems}; "
            "where some are masks, leave them out with --exclude",
            file=sys.stderr,
        )


def _write_paths(report: "EmbedReport", paths: list[str], *, skipped: bool) -> None:
    """The path of every row, in one step."""
    without = {failed.position for failed in report.failures} if skipped else set()
    rows = [path for i, path in enumerate(paths) if i not in without]
    write_text(report.out / "paths.txt", "".join(f"{path}\n" for path in rows))


def _summarise(report: "EmbedReport") -> None:
    lines = [f"{report.n_files} files, {report.n_encoded} embedded now in {report.seconds:.1f} s"]
    if report.n_encoded and report.seconds:
        lines[0] += f" ({report.n_encoded / report.seconds:.0f} images/s)"
    if report.n_resumed:
        lines.append(f"{report.n_resumed} of {report.n_shards} shards were finished before")
    if report.failures:
        lines.append(f"{len(report.failures)} files could not be read:")
        lines += [f"  {failed.path}: {failed.reason}" for failed in report.failures[:5]]
        if len(report.failures) > 5:
            lines.append("  ... the others are in failures.jsonl")
    if report.complete:
        lines.append(f"{report.n_rows} rows in {report.out}")
    else:
        lines.append(f"incomplete: other shares of {report.out} are not finished yet")
    print("\n".join(lines))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else _positive(text)
