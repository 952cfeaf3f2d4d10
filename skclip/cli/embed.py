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
from pathlib import Path
from typing import TYPE_CHECKING

from skclip.cli.shared import options
from skclip.cli.shared.image_paths import image_paths
from skclip.utils.files import write_text

if TYPE_CHECKING:
    from skclip.features import EmbedReport

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "embed images into a folder of features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "source", metavar="SOURCE", help="folder, list of paths, CSV file, image, or -"
    )
    options.add_choice_of_images(parser)
    parser.add_argument(
        "--out", default="features", type=Path, help="folder to write into (features)"
    )

    model = options.add_model(parser)
    options.add_work(model, cache=False)
    model.add_argument("--precision", default="fp32", help="fp32, fp16, bf16, amp, ... (fp32)")
    model.add_argument(
        "--allow-random-weights",
        action="store_true",
        help="accept a model without trained weights, for tests",
    )

    output = parser.add_argument_group("output")
    output.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    output.add_argument("--no-normalize", action="store_true", help="rows keep their length")
    options.add_on_error(output, ("raise", "nan", "skip"), "raise")
    output.add_argument(
        "--max-pixels",
        type=options.positive,
        default=178_956_970,
        help="larger images are refused before they are decoded (178956970)",
    )
    output.add_argument(
        "--jpeg-draft",
        action="store_true",
        help="decode large JPEG files at a fraction of their size: faster, slightly other features",
    )
    output.add_argument(
        "--shard-size",
        type=options.positive,
        default=8192,
        help="files per shard, the most work that a kill can lose (8192)",
    )
    output.add_argument(
        "--no-resume", action="store_true", help="refuse a folder that holds embeddings"
    )
    output.add_argument("--no-merge", action="store_true", help="leave the shards as they are")

    work = parser.add_argument_group("work")
    work.add_argument("--jobs", type=int, help="shards at the same time, in processes (1)")
    work.add_argument("--threads", type=options.positive, help="threads that decode, for each job")
    work.add_argument("--rank", type=int, default=0, help="which share this call does, from 0")
    work.add_argument("--world-size", type=options.positive, default=1, help="number of shares (1)")
    options.add_quiet(work)


def run(arguments: argparse.Namespace) -> int:
    """Find the files, embed them, say what was done."""
    from skclip.features import embed_files

    options.model_is_named(arguments)
    if not 0 <= arguments.rank < arguments.world_size:
        arguments.parser.error(
            f"--rank must be at least 0 and below --world-size; got {arguments.rank} and "
            f"{arguments.world_size}"
        )
    options.check_out_folder(arguments, arguments.out)
    found = image_paths(arguments, labels_are_lost=True)
    # Absolute, so that paths.txt means the same from anywhere.
    paths = [str(Path(path).expanduser().absolute()) for path in found]
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
        jpeg_draft=arguments.jpeg_draft,
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
