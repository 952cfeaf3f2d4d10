"""One process at a time in a folder, by a lock of the system that ends with its process."""

import contextlib
import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["is_locked", "locked"]

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(
    path: Path, waiting: str = "", say: Callable[[str], object] = logger.warning
) -> Iterator[None]:
    """Hold a lock, which nobody else holds meanwhile; the file `path` stays afterwards.

    Parameters
    ----------
    path : Path
        Its folder must exist. Where it may not be written, there is no lock: nothing else can be
        written there either.
    waiting : str, default=""
        What to say when another process holds it.
    say : callable, default=logger.warning
        How to say it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not path.exists():  # what others hold is there
            raise OSError(
                errno.ENOENT, "no file can be made in this folder", str(path.parent)
            ) from None
        if waiting:
            say(waiting)
        lock.acquire()
    except OSError as exc:
        if exc.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        logger.debug("no lock: %s", exc)
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether another process, or another :func:`locked`, holds the lock now."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
