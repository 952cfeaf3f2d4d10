"""Predict images with a classifier that `skclip fit` wrote, into a CSV file.

SOURCE is a folder (every image below it; --glob and --exclude choose), an image, a text file with
one path per line, a CSV file with a column path, or "-" for such lines on standard input. OUT has a
row for each image: path, class, probability, whether the classifier abstains, and the reason why an
image could not be read. Where none could be read, the command fails.

Rows are written as they are computed. A run that was stopped goes on where it was when the same
command is given again, provided that classifier and images are the same.

Examples
  skclip predict classifier.safetensors new_photos/
  find /data -name "*.jpg" | skclip predict classifier.safetensors - --out found.csv
"""

import argparse
import sys
from pathlib import Path

from skclip.cli.shared import options
from skclip.cli.shared.image_paths import image_paths

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "predict images, into a CSV file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("classifier", metavar="CLASSIFIER", type=Path, help="what fit wrote")
    parser.add_argument(
        "source", metavar="SOURCE", help="folder, list of paths, CSV file, image, or -"
    )
    options.add_choice_of_images(parser)
    options.add_on_error(parser, ("nan", "skip", "raise"), "nan")
    parser.add_argument(
        "--out", type=Path, default="predictions.csv", help="file to write (predictions.csv)"
    )
    parser.add_argument(
        "--all-classes", action="store_true", help="a column of probabilities for every class"
    )
    options.add_work(parser)
    options.add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict, and say what was done."""
    from skclip.workflow import predict_files

    options.check_classifier(arguments)
    paths = image_paths(arguments)
    report = predict_files(
        arguments.classifier,
        paths,
        arguments.out,
        on_error=arguments.on_error,
        all_classes=arguments.all_classes,
        device=None if arguments.device == "auto" else arguments.device,
        batch_size=arguments.batch_size,
        cache_dir=arguments.cache_dir,
        n_jobs=-1,
        verbose=int(not arguments.quiet),
    )
    if not arguments.quiet:
        print(f"{report.n_rows} rows in {report.out} ({report.seconds:.1f} s)")
        if report.n_resumed:
            print(f"{report.n_resumed} of them were there from a run that was stopped")
        for count, what in (
            (report.n_unreadable, "images could not be read"),
            (report.n_abstained, "times the classifier abstains"),
        ):
            if count:
                print(f"{count} {what}")
    if report.n_unreadable == report.n_files:
        print(f"skclip: error: no image could be read; reasons in {report.out}", file=sys.stderr)
        return 1
    return 0
