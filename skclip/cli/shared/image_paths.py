"""The images that a command is about: a folder's, a table's, a list's, or one."""

import argparse
import sys
from pathlib import Path

from skclip.utils.csv_tables import column_names, read_table
from skclip.utils.files import decode_text
from skclip.utils.image_files import FoundImages, is_named_as_image, search_images

__all__ = ["image_paths"]


def image_paths(arguments: argparse.Namespace, *, labels_are_lost: bool = False) -> list[str]:
    """The files behind the argument SOURCE, as it names them; what is none ends the command.

    Where `labels_are_lost` a table with the column "label" is warned of: the command keeps paths
    alone, and what reads its result takes folders for the classes.
    """
    source, found = Path(arguments.source).expanduser(), None
    if source.is_dir():
        found = search_images(source, arguments.glob, arguments.exclude)
        paths = [str(path) for path in found.paths]
        if not arguments.quiet:
            _show_found(found)
    elif arguments.glob or arguments.exclude:
        arguments.parser.error("--glob and --exclude choose from a folder; SOURCE is none")
    elif arguments.source == "-":
        paths = _listed(sys.stdin.buffer.read(), Path(), arguments, labels_are_lost)
    elif is_named_as_image(source) and source.is_file():
        paths = [str(arguments.source)]
    elif source.is_file() or source.is_fifo():
        paths = _listed(source.read_bytes(), source.parent, arguments, labels_are_lost)
    elif source.exists():
        arguments.parser.error(
            f"SOURCE must be a folder, a list, an image or -; {str(source)!r} is none"
        )
    else:
        arguments.parser.error(
            f"SOURCE must be a folder, a list, an image or -; {str(source)!r} is missing"
        )
    if not paths:
        left_out = f" ({found.counts})" if found else ""
        arguments.parser.error(
            f"SOURCE must name an image at least; {arguments.source!r} has none{left_out}"
        )
    wrong = [path for path in paths if "\n" in path]
    if wrong:
        arguments.parser.error(f"a file's name must not hold a line break; got {wrong[0]!r}")
    return paths


def _listed(
    content: bytes, folder: Path, arguments: argparse.Namespace, labels_are_lost: bool
) -> list[str]:
    """Paths, one per line; or of a table as fit takes it, those of its column "path"."""
    try:
        text = decode_text(content, "surrogateescape")  # names of files are bytes
    except ValueError as error:
        arguments.parser.error(
            f"SOURCE must be a list of paths in UTF-8; {arguments.source!r} has {error}"
        )
    if "path" in column_names(text):
        try:
            rows = read_table(content, ["path"])
        except ValueError as error:
            arguments.parser.error(
                f"SOURCE must be a list of paths, or a CSV file; {arguments.source!r} has {error}"
            )
        if labels_are_lost and "label" in column_names(text):
            print(
                "skclip: warning: labels of the table are not kept: `skclip fit` and `skclip "
                "benchmark` take the folders of embedded images for their classes. Where these "
                "are others, give the table itself to them; with --cache-dir `skclip fit` "
                "computes features once",
                file=sys.stderr,
            )
        return [str(folder / row["path"]) for row in rows if row["path"]]
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line]


def _show_found(found: FoundImages) -> None:
    print(f"skclip: {found.counts}", file=sys.stderr)
    if found.same_stems:
        print(
            f"skclip: warning: images have the same name but for their type: {found.same_stems}; "
            "where some are masks, leave them out with --exclude",
            file=sys.stderr,
        )
