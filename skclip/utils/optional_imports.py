"""Imports that are paid for only when used, with an error that names the remedy."""

import importlib
from types import ModuleType

__all__ = ["import_optional"]


def import_optional(name: str, purpose: str, *, install: str | None = None) -> ModuleType:
    """Import module `name`, or raise an ImportError that says how to install it.

    Parameters
    ----------
    name : str
        Dotted module name.
    purpose : str
        What needs it, as the subject of the message ("ReliabilityDisplay.plot").
    install : str, default=None
        What to pass to ``pip install``; the top-level module name when None.
    """
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        package = install or name.partition(".")[0]
        raise ImportError(
            f"{purpose} needs the module {name!r}, which cannot be imported ({exc}). "
            f"Install it with: pip install {package}"
        ) from exc
