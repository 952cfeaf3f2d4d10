"""The command ``skclip``: one file per subcommand, a thin shell over public functions.

A module of this package whose name has no underscore in front is a subcommand of that name; what
several share is in ``shared``. It has

- ``SUMMARY``, one line for ``skclip --help``; its docstring is the help of the command;
- ``add_arguments(parser)``;
- ``run(arguments) -> int``, the exit code.

Exit codes: 0 done; 1 failed, with the reason on standard error; 2 asked for wrongly, by the
arguments or by the file of a study; 130 interrupted.
"""

import argparse
import importlib
import io
import logging
import pkgutil
import sys
import warnings
from collections.abc import Sequence

from skclip.cli.shared.wording import in_options
from skclip.exceptions import SkclipError, StudyError

__all__ = ["main"]

_EPILOG = """\
From photographs in one folder per class to predictions for others
  skclip check photos/
  skclip fit photos/ --model ViT-B-32 --pretrained openai
  skclip predict classifier.safetensors new_photos/

Examples
  skclip embed photos/ --model ViT-B-32 --pretrained openai --out features/
  skclip cache info ~/.cache/skclip

Exit codes: 0 done; 1 failed; 2 asked for wrongly; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments without the program's name; those of the process when None.

    Returns
    -------
    code : int
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that it cannot encode is no failure
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="skclip: %(message)s")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _Shown(arguments)
            return int(arguments.run(arguments))
    except StudyError as error:
        print(f"skclip: error: {in_options(str(error), arguments)}", file=sys.stderr)
        return 2
    # Torch says RuntimeError of a device that fails, and pathlib of a home that nobody has.
    except (SkclipError, OSError, ValueError, ImportError, RuntimeError, MemoryError) as error:
        said = in_options(str(error), arguments) or type(error).__name__
        print(f"skclip: error: {said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("skclip: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from skclip import __version__

    parser = argparse.ArgumentParser(
        prog="skclip",
        description="Features and classifiers of frozen CLIP models from the command line.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"skclip {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg or info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        subparser = commands.add_parser(
            info.name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run, parser=subparser)
    return parser


class _Shown:
    """A warning as a user of the command reads it: once, and without lines of source."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.texts: set[str] = set()

    def __call__(self, message: Warning | str, *_: object, **__: object) -> None:
        text = in_options(str(message), self.arguments)
        if text not in self.texts:
            self.texts.add(text)
            print(f"skclip: warning: {text}", file=sys.stderr)
