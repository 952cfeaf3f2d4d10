"""The images that a command is about: those of a folder, a list, or standard input."""

import argparse
import sys
from pathlib import Path

from skclip.utils.files import decode_text
from skclip.utils.image_files import FoundImages, search_images

__all__ = ["image_paths"]


def image_paths(arguments: argparse.Namespace) -> list[str]:
    """The files behind the argument SOURCE, as it names them; what is none ends the command."""
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
    return paths


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
