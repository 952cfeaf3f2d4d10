"""Files that are whole or not there, and names for them."""

import codecs
import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["TEMPORARY", "decode_text", "replace_file", "slug", "write_text"]

# Ending of a file that is being written; what a kill leaves behind ends so.
TEMPORARY = ".tmp"
_LONGEST = 80


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write(file)`` on a temporary file and give it its name when it is safe on disk.

    Under `path` there is the old file or the new one, never a part, whatever happens.
    """
    partial = path.with_name(f"{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a file by one with this text, in UTF-8; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def decode_text(content: bytes, errors: str = "strict") -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark as Windows writes it.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\x00" in content:
        raise ValueError("zero bytes, which no text in UTF-8 has")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors)


def slug(*parts: object) -> str:
    """A file name for these parts: readable, of ASCII letters, digits and hyphens, and of its own.

    Names that differ in punctuation only, or behind the first 80 characters, differ in the
    digest at the end.

    >>> slug("ViT-B/32", "openai")
    'ViT-B-32-openai-885293c4'
    """
    texts = [str(part) for part in parts]
    readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in "-".join(texts))
    whole = "\n".join(texts).encode("utf-8", "surrogatepass")
    return f"{readable[:_LONGEST]}-{hashlib.sha256(whole).hexdigest()[:8]}"


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows can neither open a folder nor needs it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
