"""Look for what is wrong with a folder or table of images, before fitting to it.

SOURCE is a folder with one folder of images per class (or such folders in train/, val/ and test/),
or a CSV file with the columns path, label and perhaps split. Every image is read: what cannot be,
copies, copies with two labels, images to measure on that are or look like one in train, masks
beside photographs, empty classes, files that are left out, and more; with what is done about each.

It ends with 1 where something stops a fit or makes its numbers wrong (an error), else with 0.

Examples
  skclip check photos/
  skclip check photos/ --exclude "*.png" --exclude masks
"""

import argparse

from skclip.cli.shared import options

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "look for what is wrong with images and labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="folder or CSV file")
    options.add_choice_of_images(parser)
    options.add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check and print."""
    from skclip.workflow import check_dataset

    options.check_source(arguments)
    check = check_dataset(
        arguments.source,
        glob=arguments.glob,
        exclude=arguments.exclude,
        n_jobs=-1,
        verbose=int(not arguments.quiet),
    )
    print(check.summary() if arguments.quiet else check.text())
    return int(check.has_errors)
