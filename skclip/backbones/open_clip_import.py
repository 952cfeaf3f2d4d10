"""The import of open_clip: late, and with a readable failure."""

import importlib
from types import ModuleType

__all__ = ["import_open_clip"]


def import_open_clip() -> ModuleType:
    """Import open_clip, or say what is wrong with this installation.

    Raises
    ------
    ImportError
        If open_clip is not installed, or if torchvision was built for another torch
        than the installed one (open_clip imports torchvision).
    """
    try:
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError, AttributeError, OSError) as exc:
        if "torchvision" in str(exc):
            raise ImportError(
                "open_clip needs a torchvision that was built for the installed torch; "
                f"importing it failed with: {exc}. Install the two together from one place: "
                "pip install --upgrade --force-reinstall torch torchvision"
            ) from exc
        raise ImportError(
            f"Loading a CLIP model needs open_clip, which cannot be imported ({exc}). "
            "Install it with: pip install open_clip_torch"
        ) from exc
