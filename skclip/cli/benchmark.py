"""Compare adapters on your data, or run a study from a file.

SOURCE is a folder with one folder of images per class (or such folders in train/ and test/), a CSV
file with the columns path, label and perhaps split, a folder that `skclip embed` wrote, or features
as .npz or a folder of .npy. Images are checked first (`skclip check`): copies and contradictions
take no part. Without a test split half of each class is held out. It ends with a recommendation:
which method, how many labelled images, what to expect of it.

A run that was stopped goes on where it was when the same command is given again. What was made
from other images, class names, templates, weights or features is computed again, and said.

Examples
  skclip benchmark photos/ --model ViT-B-32 --pretrained openai --out results/
  skclip benchmark --config study.toml --n-jobs 4
  skclip report results/
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skclip.cli.shared import options

if TYPE_CHECKING:
    from skclip.datasets import ImageDataset

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compare adapters on your data, or run a study"
_OUT = "results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="folder, CSV file or features")
    parser.add_argument("--config", type=Path, help="a study as a TOML file, instead of SOURCE")
    parser.add_argument("--out", type=Path, help="folder of the results (results, or the study's)")
    options.add_choice_of_images(parser)
    options.add_on_error(parser, ("raise", "skip"), "raise")
    model = options.add_model(parser)
    model.add_argument("--templates", help='such as "a photo of a {}.", or the name of a set')
    options.add_work(model)
    study = parser.add_argument_group("study")
    study.add_argument("--methods", nargs="+", metavar="NAME", help="instead of a few good ones")
    study.add_argument("--shots", nargs="+", type=int, metavar="K", help="images per class")
    study.add_argument("--seeds", nargs="+", type=int, metavar="S", help="draws (1 2 3)")
    study.add_argument("--n-jobs", type=int, help="fits at the same time, in processes (1)")
    study.add_argument("--no-predictions", action="store_true", help="do not store predictions")
    options.add_quiet(parser, "no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Run the study and print the recommendation."""
    from skclip import benchmark

    if (arguments.source is None) == (arguments.config is None):
        arguments.parser.error("either SOURCE or --config must be given, and not both")
    named = {name: getattr(arguments, name) for name in ("model", "pretrained", "templates")}
    if arguments.config is not None:
        choice = {name: getattr(arguments, name) for name in ("glob", "exclude")}
        wrong = [f"--{name}" for name, value in (named | choice).items() if value]
        if wrong:
            arguments.parser.error(
                f"images and model are in the file of --config; got {', '.join(wrong)}"
            )
        study = benchmark.read_config(arguments.config)
    else:
        options.check_source(arguments)
        options.check_out_folder(arguments, arguments.out or Path(_OUT))
        study = benchmark.study_of(_checked(arguments), **named)
    work = {"device": "auto", "batch_size": "auto", "cache_dir": None, "on_error": "raise"}
    given = {name: getattr(arguments, name) for name in work}
    for table in study["datasets"]:
        if "features" not in table:
            table |= {name: value for name, value in given.items() if value != work[name]}
    for name in ("out", "methods", "shots", "seeds", "n_jobs"):
        if getattr(arguments, name) is not None:
            study[name] = getattr(arguments, name)
    if arguments.no_predictions:
        study["store_predictions"] = False
    out = Path(study.pop("out", _OUT))
    benchmark.run(out=out, verbose=int(not arguments.quiet), **study)
    failed = sum(row["status"] != "ok" for row in benchmark.read_results(out))
    print(benchmark.recommend(out).text())
    print(f"\nAll results are in {out}; for tables and figures: skclip report {out}")
    if failed:
        print(f"{failed} fits failed: the reasons are in {out / 'errors'}")
    return 1 if failed else 0


def _checked(arguments: argparse.Namespace) -> "str | ImageDataset":
    """The source; of images those that may be compared on, after a word on the others."""
    from skclip.features import is_embedded
    from skclip.workflow import check_dataset

    source = Path(arguments.source).expanduser()
    is_images = source.suffix.lower() == ".csv" or (
        source.is_dir() and not any(source.glob("*.npy")) and not is_embedded(source)
    )
    if not is_images:
        return str(source)
    options.model_is_named(arguments)
    check = check_dataset(
        source,
        glob=arguments.glob,
        exclude=arguments.exclude,
        n_jobs=-1,
        verbose=int(not arguments.quiet),
    )
    print(check.summary(), end="\n\n")
    return check.usable("keep", alike=False)
