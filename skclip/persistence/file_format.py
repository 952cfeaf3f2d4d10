"""The file: arrays in the safetensors format, a JSON document in its metadata.

The document holds the format's version and a SHA-256 of itself and of all arrays, so that
a damaged file is an error and never another model.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from skclip.exceptions import PersistenceError
from skclip.utils.files import replace_file

__all__ = ["FORMAT_VERSION", "digest", "is_saved", "read", "write"]

FORMAT_VERSION = 1
_KEY = "skclip"


def write(path: Path, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Replace the file in one step; arrays must be C-contiguous and little-endian."""
    document = {"format_version": FORMAT_VERSION, **document}
    document["sha256"] = digest(document, arrays)
    content = save(dict(arrays), {_KEY: json.dumps(document)})
    try:
        replace_file(path, lambda file: file.write(content))
    except OSError as exc:
        raise PersistenceError(
            f"The file must be writable; writing {str(path)!r} failed with "
            f"{type(exc).__name__}: {exc}. Check the folder and the space on the disk."
        ) from exc


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The document and the arrays, checked against version and checksum."""
    if not path.exists():
        raise FileNotFoundError(f"path must name an existing file; {str(path)!r} is missing.")
    if path.is_dir():
        raise PersistenceError(
            f"path must name a file that skclip.save wrote; {str(path)!r} is a folder. Name the "
            "file in it."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            document = _parse((file.metadata() or {}).get(_KEY), path)
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as exc:  # TypeError: a type NumPy has not
        raise PersistenceError(
            f"The file must be one that skclip.save wrote, whole; reading {str(path)!r} failed "
            f"with {type(exc).__name__}: {exc}. Copy or save it again."
        ) from exc
    if document.get("sha256") != digest(document, arrays):
        raise PersistenceError(
            f"The file must be as skclip.save wrote it; the content of {str(path)!r} does not "
            "match its checksum. Copy or save it again."
        )
    return document, arrays


def is_saved(path: Path) -> bool:
    """Whether a file says of itself that it is one of :func:`write`; its content is not checked."""
    try:
        with safe_open(path, framework="numpy") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _parse(text: str | None, path: Path) -> dict[str, Any]:
    """The document, of a version that is known."""
    if text is None:
        raise PersistenceError(
            f"The file must be one that skclip.save wrote; {str(path)!r} is a safetensors file of "
            "another kind. Weights of a CLIP model go to CLIPFeaturizer(pretrained=...)."
        )
    try:
        document: dict[str, Any] = json.loads(text)
        version, writer = document["format_version"], document["written_by"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise PersistenceError(
            f"The file must hold a document with the version; that of {str(path)!r} cannot be read "
            f"({type(exc).__name__}: {exc}). Copy or save it again."
        ) from exc
    if type(version) is not int or version != FORMAT_VERSION:
        raise PersistenceError(
            f"The format version must be {FORMAT_VERSION}; {str(path)!r} has {version!r} and was "
            f"written by skclip {writer}. Load it with that skclip."
        )
    return document


def digest(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the document without its own entry, and of the arrays by name."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    total = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
