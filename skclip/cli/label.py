"""Label the images that a classifier would learn most from, one after the other.

SOURCE is a folder of images, a text file with one path per line, or "-". The images are shown in
the order in which labels are worth most to the classifier that `skclip fit` wrote; those that OUT
has a label of are passed over, so that the command can be stopped and given again at any time.

At each image: Enter takes the first suggestion, a number another one, a name that class (or a new
one), "-" passes it over, and q ends.

OUT is a CSV file that `skclip fit` takes. With --labelled it begins with the images that there are
labels of already, so that the next fit learns from all.

Examples
  skclip label classifier.safetensors new_photos/ --labelled photos/
  skclip fit labels.csv --model ViT-B-32 --pretrained openai
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skclip.cli.shared import options
from skclip.cli.shared.image_paths import image_paths

if TYPE_CHECKING:
    from skclip.workflow import Candidate

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "label the images that a classifier would learn most from"

_SUGGESTIONS = 5
# Pixels of a picture in the terminal: two in every character cell.
_PICTURE = (40, 40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("classifier", metavar="CLASSIFIER", type=Path, help="what fit wrote")
    parser.add_argument(
        "source", metavar="SOURCE", help="folder, list of paths, CSV file, image, or -"
    )
    options.add_choice_of_images(parser)
    parser.add_argument(
        "--out", type=Path, default="labels.csv", help="file of the labels (labels.csv)"
    )
    parser.add_argument(
        "--labelled", metavar="FOLDER|CSV", help="images with labels, to begin a new OUT with"
    )
    parser.add_argument(
        "--kind",
        choices=["bald", "entropy", "margin"],
        default="bald",
        help="what makes a label worth something: what the classifier would learn (bald), how "
        "unsure it is (entropy), or how close the two best classes are (margin); default: bald",
    )
    parser.add_argument("--most", type=options.positive, default=50, help="images to show (50)")
    parser.add_argument("--no-picture", action="store_true", help="names only, no pictures")
    options.add_work(parser)
    options.add_quiet(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show, ask, write."""
    from skclip.workflow import LabelFile, images_to_label

    options.check_classifier(arguments)
    paths = [str(Path(path).expanduser().absolute()) for path in image_paths(arguments)]
    labels = LabelFile(arguments.out)
    if arguments.labelled:
        begun = labels.start_from(arguments.labelled)
        print(f"{labels.path} begins with {begun} labels" if begun else f"{labels.path} is there")
    done = labels.labels()
    candidates = images_to_label(
        arguments.classifier,
        [path for path in paths if path not in done],
        kind=arguments.kind,
        device=None if arguments.device == "auto" else arguments.device,
        batch_size=arguments.batch_size,
        cache_dir=arguments.cache_dir,
        n_jobs=-1,
        verbose=int(not arguments.quiet),
    )
    n_done = 0
    for number, candidate in enumerate(candidates[: arguments.most], start=1):
        _show(candidate, number, min(len(candidates), arguments.most), arguments)
        try:
            label = _ask(candidate)
        except EOFError:
            break
        if label is None:
            break
        if label:
            labels.add([(candidate.path, label)])
            n_done += 1
    print(f"\n{n_done} labels added; {labels.path} has {len(labels.labels())}")
    return 0


def _show(candidate: "Candidate", number: int, count: int, arguments: argparse.Namespace) -> None:
    """A picture where the terminal has colours, the name, and the suggestions."""
    print(f"\n{number} of {count}: {candidate.path}")
    if sys.stdout.isatty() and not arguments.no_picture:
        print(_picture(candidate.path))
    for place, (label, probability) in enumerate(candidate.suggestions[:_SUGGESTIONS], start=1):
        print(f"  {place}  {label} ({probability:.0%})")


def _ask(candidate: "Candidate") -> str | None:
    """The label, nothing for an image to pass over, None at the end."""
    known = [label for label, _ in candidate.suggestions]
    answer = input("label [1]: ").strip()
    if answer == "q":
        return None
    if answer == "-":
        return ""
    if not answer:
        return known[0]
    if answer.isdecimal() and answer not in known:
        if 1 <= int(answer) <= len(known):
            return known[int(answer) - 1]
        print(f"there are {len(known)} suggestions")
        return _ask(candidate)
    if answer in known or input(f"{answer!r} is a new class; y to take it: ").strip() == "y":
        return answer
    return _ask(candidate)


def _picture(path: str) -> str:
    """An image as coloured half blocks."""
    import numpy as np

    from skclip.features.image_reading import open_image

    image = open_image(path).copy()
    image.thumbnail(_PICTURE)
    pixels = np.asarray(image)
    lines = []
    for upper, lower in zip(pixels[0:-1:2], pixels[1::2], strict=True):
        cells = [
            f"\x1b[38;2;{a};{b};{c}m\x1b[48;2;{d};{e};{f}m▀"
            for (a, b, c), (d, e, f) in zip(upper.tolist(), lower.tolist(), strict=True)
        ]
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
