"""Image files below a folder, in an order that is the same everywhere."""

from collections.abc import Iterable
from pathlib import Path

from skclip.utils.image_files import search_images

__all__ = ["find_images"]


def find_images(
    folder: str | Path,
    *,
    glob: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> list[Path]:
    """Every image file in a folder and the folders below it, sorted.

    Files are found by the endings of their names, of all formats that :class:`CLIPFeaturizer`
    reads; none is opened. Hidden names (those that begin with a dot, ``Thumbs.db``, ``__MACOSX``
    and their like) are left out, and links to folders are not followed, so that none is visited
    twice.

    Parameters
    ----------
    folder : str or Path
    glob : str or iterable of str, default=None
        Patterns of :mod:`fnmatch`, upper or lower case, one of which a file must match: with its
        name, or with its path below `folder` if the pattern has a slash. None takes every image.
    exclude : str or iterable of str, default=None
        Patterns of files and folders to leave out, for instance ``"*_mask.png"`` or ``"masks"``.

    Returns
    -------
    paths : list of n Path
        Below `folder`, sorted by their parts; empty if there are none.

    Raises
    ------
    NotADirectoryError
        If `folder` is not a folder.
    OSError
        If a folder below cannot be listed.

    Examples
    --------
    >>> import tempfile
    >>> from skclip.datasets import save_digits_images
    >>> from skclip.features import find_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_digits_images(folder, n_per_class=1)
    ...     paths = find_images(folder, exclude="seven")
    >>> len(paths), paths[0].parent.name, paths[-1].parent.name
    (9, 'eight', 'zero')
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"folder must name a folder; {str(folder)!r} is none.")
    return search_images(folder, glob, exclude).paths
