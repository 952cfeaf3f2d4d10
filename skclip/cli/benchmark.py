"""Compare adapters on your data, or run a study from a file.

SOURCE is a folder with one folder of images per class (or such folders in train/ and test/), a CSV
file with the columns path, label and perhaps split, or features as .npz or a folder of .npy.
Without a test split half of each class is held out. It ends with a recommendation: which method,
how many labelled images, what to expect of it.

A run that was stopped goes on where it was when the same command is given again. What was made
from other images, class names, templates, weights or features is computed again, and said.

Examples
  skclip benchmark photos/ --model ViT-B-32 --pretrained openai --out results/
  skclip benchmark --config study.toml --n-jobs 4
  skclip report results/
"""

import argparse
from pathlib import Path

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compare adapters on your data, or run a study"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="folder, CSV file or features")
    parser.add_argument("--config", type=Path, help="a study as a TOML file, instead of SOURCE")
    parser.add_argument("--out", type=Path, help="folder of the results (results, or the study's)")
    model = parser.add_argument_group("model, for images")
    model.add_argument("--model", help="architecture of open_clip, such as ViT-B-32")
    model.add_argument(
        "--pretrained", help="weights: a tag (openai), a file, hf-hub:org/name or local-dir:folder"
    )
    model.add_argument("--templates", help='such as "a photo of a {}.", or the name of a set')
    model.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="what images that cannot be read do: stop (default), or be left out and counted",
    )
    study = parser.add_argument_group("study")
    study.add_argument("--methods", nargs="+", metavar="NAME", help="instead of a few good ones")
    study.add_argument("--shots", nargs="+", type=int, metavar="K", help="images per class")
    study.add_argument("--seeds", nargs="+", type=int, metavar="S", help="draws (1 2 3)")
    study.add_argument("--n-jobs", type=int, help="fits at the same time, in processes (1)")
    study.add_argument("--no-predictions", action="store_true", help="do not store predictions")
    study.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Run the study and print the recommendation."""
    from skclip import benchmark

    if (arguments.source is None) == (arguments.config is None):
        arguments.parser.error("either SOURCE or --config must be given, and not both")
    named = {name: getattr(arguments, name) for name in ("model", "pretrained", "templates")}
    if arguments.config is not None:
        given = [f"--{name}" for name in named if named[name]]
        if given:
            arguments.parser.error(f"the model is in the file of --config; got {', '.join(given)}")
        study = benchmark.read_config(arguments.config)
    elif not Path(arguments.source).expanduser().exists():
        arguments.parser.error(f"SOURCE must exist; {arguments.source!r} is missing")
    else:
        study = benchmark.study_of(arguments.source, **named)
    if arguments.on_error == "skip":
        for table in study["datasets"]:
            if "features" not in table:
                table["on_error"] = "skip"
    for name in ("out", "methods", "shots", "seeds", "n_jobs"):
        if getattr(arguments, name) is not None:
            study[name] = getattr(arguments, name)
    if arguments.no_predictions:
        study["store_predictions"] = False
    out = Path(study.pop("out", "results"))
    benchmark.run(out=out, verbose=int(not arguments.quiet), **study)
    failed = sum(row["status"] != "ok" for row in benchmark.read_results(out))
    print(benchmark.recommend(out).text())
    print(f"\nAll results are in {out}; for tables and figures: skclip report {out}")
    if failed:
        print(f"{failed} fits failed: the reasons are in {out / 'errors'}")
    return 1 if failed else 0
