"""Options that several commands have, each defined once."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = [
    "add_choice_of_images",
    "add_model",
    "add_on_error",
    "add_quiet",
    "add_work",
    "check_classifier",
    "check_out_folder",
    "check_source",
    "model_is_named",
    "positive",
]


def add_choice_of_images(parser: argparse.ArgumentParser) -> None:
    """--glob and --exclude."""
    for option, what in (("--glob", "only images"), ("--exclude", "no files or folders")):
        parser.add_argument(
            option,
            action="append",
            metavar="PATTERN",
            help=f"of a folder take {what} of this name, such as '*.jpg', or of this path below it "
            "if the pattern has a slash; may be given several times",
        )


def check_source(arguments: argparse.Namespace) -> None:
    """End with a message where SOURCE is missing, or the choice is made from no folder."""
    source = Path(arguments.source).expanduser()
    if not source.exists():
        arguments.parser.error(f"SOURCE must exist; {str(arguments.source)!r} is missing")
    if (arguments.glob or arguments.exclude) and not source.is_dir():
        arguments.parser.error("--glob and --exclude choose from a folder; SOURCE is none")


def check_classifier(arguments: argparse.Namespace) -> None:
    """End with a message where CLASSIFIER is no file."""
    if not arguments.classifier.expanduser().is_file():
        name = str(arguments.classifier)
        arguments.parser.error(f"CLASSIFIER must be a file that skclip fit wrote; {name!r} is none")


def check_out_folder(arguments: argparse.Namespace, out: Path) -> None:
    """End with a message where OUT would be among the images, as a class or an image to come."""
    source = Path(arguments.source).expanduser()
    is_of_images = source.is_dir() and not any(source.glob("*.npy"))
    if is_of_images and out.expanduser().resolve().is_relative_to(source.resolve()):
        arguments.parser.error(
            f"OUT must not lie in the folder of the images, where it would count as one of their "
            f"classes; got {str(out)!r} in {str(source)!r}"
        )


def add_model(parser: argparse.ArgumentParser) -> Any:
    """--model and --pretrained, in a group that is returned."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", help="architecture of open_clip, such as ViT-B-32; or hf-hub:org/name"
    )
    group.add_argument(
        "--pretrained", help="weights: a tag (openai), a file, hf-hub:org/name or local-dir:folder"
    )
    return group


def model_is_named(arguments: argparse.Namespace) -> None:
    """End with a message where there is no model."""
    if arguments.model is None and arguments.pretrained is None:
        arguments.parser.error("a model must be named: --model and --pretrained, see --help")


def add_work(parser: Any, *, cache: bool = True) -> None:
    """--device, --batch-size and --cache-dir, of whatever has images go through a model."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
    parser.add_argument(
        "--batch-size", type=_batch_size, default="auto", help="images per call, or auto (auto)"
    )
    if cache:
        parser.add_argument(
            "--cache-dir",
            metavar="DIR",
            help="folder where features are kept for every later command; see skclip cache",
        )


_ON_ERROR = {
    "raise": "stop",
    "nan": "have a row that says so",
    "skip": "be left out and counted",
}


def add_on_error(parser: Any, choices: Iterable[str], default: str) -> None:
    """--on-error, with what each of the choices does."""
    choices = list(choices)
    meanings = ", ".join(f"{choice} ({_ON_ERROR[choice]})" for choice in choices)
    parser.add_argument(
        "--on-error",
        choices=choices,
        default=default,
        help=f"what images that cannot be read do: {meanings}; default: {default}",
    )


def add_quiet(parser: Any, what: str = "no progress bar, no summary") -> None:
    """--quiet."""
    parser.add_argument("--quiet", action="store_true", help=what)


def positive(text: str) -> int:
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else positive(text)
