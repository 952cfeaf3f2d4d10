"""Fit a classifier to a folder or table of images, and say how good it is.

SOURCE is a folder with one folder of images per class, a CSV file with the columns path, label and
perhaps split, or a folder that `skclip embed` wrote. What is wrong with the images is said first
(`skclip check` says all of it). The classifier is measured on the split test (or val), else on
images that are held out in turn: accuracy, calibration error and log-loss with intervals, and for
every class whether adapting to the images beat the prompts alone.

OUT holds everything but the weights of the CLIP model, for `skclip predict` and for skclip.load in
Python. A page beside it, of the same name with .html, shows the errors: by class, the worst
mistakes, labels that the classifier doubts.

Examples
  skclip fit photos/ --model ViT-B-32 --pretrained openai
  skclip fit photos/ --model ViT-B-32 --pretrained openai --target-risk 0.05 --on-error skip
  skclip predict classifier.safetensors new_photos/
"""

import argparse
from pathlib import Path

from skclip.cli.shared import options

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "fit a classifier to images, and measure it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("source", metavar="SOURCE", help="folder, CSV file or embedded folder")
    options.add_choice_of_images(parser)
    options.add_on_error(parser, ("raise", "skip"), "raise")
    parser.add_argument(
        "--out",
        type=Path,
        default="classifier.safetensors",
        help="file to write (classifier.safetensors)",
    )
    options.add_quiet(parser, "no progress bar")
    model = options.add_model(parser)
    model.add_argument("--templates", help='such as "a photo of a {}.", or the name of a set')
    options.add_work(model)
    decision = parser.add_argument_group("abstaining, one of").add_mutually_exclusive_group()
    for option, meaning in (
        ("--target-risk", "abstain so that at most this share of what is accepted is wrong: 0.05"),
        ("--coverage", "abstain so that this share of images is accepted: 0.9"),
        ("--threshold", "abstain below this probability: 0.8"),
    ):
        decision.add_argument(option, type=_fraction, metavar="SHARE", help=meaning)


def run(arguments: argparse.Namespace) -> int:
    """Check, fit, measure, save."""
    from skclip.features import is_embedded
    from skclip.persistence import save
    from skclip.workflow import check_dataset, fit_dataset, write_page

    options.check_source(arguments)
    _check_out(arguments)
    source = arguments.source
    verbose = int(not arguments.quiet)
    if not is_embedded(source):
        options.model_is_named(arguments)
        source = check_dataset(
            source, glob=arguments.glob, exclude=arguments.exclude, n_jobs=-1, verbose=verbose
        )
        print(source.summary(), end="\n\n")
    report = fit_dataset(
        source,
        model=arguments.model,
        pretrained=arguments.pretrained,
        templates=arguments.templates or "simple",
        target_risk=arguments.target_risk,
        coverage=arguments.coverage,
        threshold=arguments.threshold,
        on_error=arguments.on_error,
        device=arguments.device,
        batch_size=arguments.batch_size,
        cache_dir=arguments.cache_dir,
        n_jobs=-1,
        verbose=verbose,
    )
    save(report.pipeline, arguments.out)
    page = write_page(report, arguments.out.with_suffix(".html"))
    print(report.text())
    print(f"\nThe errors to look at are in {page}")
    print(f"The classifier is in {arguments.out}; next: skclip predict {arguments.out} IMAGES")
    return 0


def _check_out(arguments: argparse.Namespace) -> None:
    """End with a message, before anything is computed, where OUT cannot or must not be written."""
    from skclip.persistence.file_format import is_saved

    out = arguments.out
    if out.suffix.lower() == ".html":
        arguments.parser.error(f"OUT must not end in .html, as the page does; got {str(out)!r}")
    if out.exists() and not is_saved(out):
        arguments.parser.error(
            f"OUT must be a new file, or a classifier to replace; {str(out)!r} is something else"
        )
    out.parent.mkdir(parents=True, exist_ok=True)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1; got {text}")
    return value
