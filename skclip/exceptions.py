"""Errors that skclip raises: each says what must hold, what was got and what to do.

Every class also derives from the built-in exception that scikit-learn users would
catch (usually :class:`ValueError`), so that code written against scikit-learn's
conventions keeps working.
"""

__all__ = [
    "SkclipError",
    "BackboneError",
    "ImageError",
    "PrototypeMismatchError",
]


class SkclipError(Exception):
    """Base class of the errors of this package."""


class BackboneError(SkclipError, ValueError):
    """A CLIP model cannot be loaded as asked: unknown name, missing or unsuitable weights."""


class ImageError(SkclipError, ValueError):
    """An input cannot be read as an image; the message names it and its position."""


class PrototypeMismatchError(SkclipError, ValueError):
    """Prototypes and data disagree in classes or in the number of features."""
