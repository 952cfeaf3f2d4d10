"""Errors and warnings of skclip: each says what must hold, what was got and what to do.

Every class also derives from the built-in exception that scikit-learn users would
catch (usually :class:`ValueError`), so that code written against scikit-learn's
conventions keeps working.
"""

__all__ = [
    "SkclipError",
    "BackboneError",
    "EmbedError",
    "ExportError",
    "DatasetError",
    "ImageError",
    "PersistenceError",
    "PrototypeMismatchError",
    "StudyError",
    "DriftWarning",
    "GuaranteeWarning",
    "StudyWarning",
    "PrototypeWarning",
    "LeftOutWarning",
]


class SkclipError(Exception):
    """Base class of the errors of this package."""


class BackboneError(SkclipError, ValueError):
    """A CLIP model cannot be loaded as asked: unknown name, missing or unsuitable weights."""


class DatasetError(SkclipError, ValueError):
    """A data set on disk is not what it must be: missing, incomplete or malformed files."""


class EmbedError(SkclipError, ValueError):
    """A folder cannot take the output of a job: it holds another job, or a foreign file."""


class ExportError(SkclipError, ValueError):
    """An estimator has no form as a torch module or as an ONNX graph."""


class ImageError(SkclipError, ValueError):
    """An input cannot be read as an image; the message names it and its position."""


class PersistenceError(SkclipError, ValueError):
    """An object cannot be stored without code, or a file cannot be loaded."""


class PrototypeMismatchError(SkclipError, ValueError):
    """Prototypes and data disagree in classes or in the number of features."""


class StudyError(SkclipError, ValueError):
    """A study cannot mean what its description says: an unknown key, method or kind of value."""


class DriftWarning(UserWarning):
    """New rows do not look like those that a guarantee was calibrated on."""


class GuaranteeWarning(UserWarning):
    """A guarantee that was asked for cannot be given with the rows at hand."""


class StudyWarning(UserWarning):
    """Results are not what was found: rows computed again, images left out, a wait for others."""


class PrototypeWarning(UserWarning):
    """Text prototypes do not seem to be those of the classes that they are given for."""


class LeftOutWarning(UserWarning):
    """Files of a folder do not take part, or take part otherwise than their place may suggest."""
