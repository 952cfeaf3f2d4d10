"""Which files are images: one list of formats and endings, one rule of what is hidden."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

__all__ = [
    "IMAGE_FORMATS",
    "FoundImages",
    "image_formats",
    "is_hidden",
    "is_named_as_image",
    "search_images",
]

# Rasters that decode in this process. Pillow knows more, among them documents that another program
# draws (PostScript by Ghostscript) and scientific containers.
IMAGE_FORMATS = {
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG"),
    *("PPM", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
}
# Photographs, also where they cannot be decoded: the reason says what to install.
_PHOTOGRAPHS = {".avif", ".heic", ".heif", ".hif"}
# What systems leave beside images; "._a.jpg" of macOS begins with a dot.
_HIDDEN = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"}


class FoundImages(NamedTuple):
    """What :func:`search_images` found.

    Attributes
    ----------
    paths : list of n Path
        Sorted by their parts.
    left_out : Counter
        How many files of each ending, "hidden", "excluded" and "links to folders" are not among
        them.
    places : dict of str to list of Path
        The files and folders that `left_out` counts.
    """

    paths: list[Path]
    left_out: Counter[str]
    places: Mapping[str, list[Path]] = MappingProxyType({})

    @classmethod
    def of(cls, paths: Iterable[Path], places: Mapping[str, list[Path]]) -> "FoundImages":
        """What was found, in order, and what was left out."""
        counts = Counter({why: len(where) for why, where in places.items()})
        return cls(sorted(paths, key=lambda path: path.parts), counts, places)

    @property
    def counts(self) -> str:
        """Images by type, and what was left out: "30 .jpg; left out: 2 .txt, 1 hidden"."""
        types = Counter(path.suffix.lower() for path in self.paths)
        found = _listed(types) or "no image"
        return f"{found}; left out: {_listed(self.left_out)}" if self.left_out else found

    @property
    def same_stems(self) -> str:
        """Types that stand beside another image of the same name, as masks do; empty if none."""
        return _listed(Counter(path.suffix.lower() for path in self.beside_others))

    @property
    def beside_others(self) -> list[Path]:
        """Images that have one of the same name and another type beside them."""
        types: dict[Path, set[str]] = {}
        for path in self.paths:
            types.setdefault(path.with_suffix(""), set()).add(path.suffix.lower())
        return [path for path in self.paths if len(types[path.with_suffix("")]) > 1]


@cache
def image_formats() -> tuple[str, ...]:
    """Names of the formats that are read, for ``PIL.Image.open(..., formats=...)``."""
    from PIL import Image

    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:  # the extra "heif"
        pass
    Image.init()
    return tuple(sorted(IMAGE_FORMATS & Image.OPEN.keys()))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is the system's and not the user's."""
    return name.startswith(".") or name.lower() in _HIDDEN


def is_named_as_image(path: Path) -> bool:
    """Whether a file has the ending of a photograph or another image."""
    return path.suffix.lower() in _endings()


def search_images(
    folder: str | Path,
    glob: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> FoundImages:
    """Every image file in a folder and the folders below it, and a count of what is none.

    Files are found by their names; none is opened. Links to folders are not followed.

    Parameters
    ----------
    folder : str or Path
    glob, exclude : str, iterable of str or None
        Patterns as for :func:`skclip.features.find_images`.

    Raises
    ------
    OSError
        If a folder cannot be listed.
    """
    wanted, unwanted = _patterns(glob), _patterns(exclude)
    endings, found = _endings(), []
    left_out: defaultdict[str, list[Path]] = defaultdict(list)
    for root, folders, names in os.walk(folder, onerror=_raise):
        place = Path(root).relative_to(folder).parts
        kept = []
        for name in folders:
            if is_hidden(name):
                left_out["hidden"].append(Path(root, name))
            elif _matches((*place, name), unwanted):
                left_out["excluded"].append(Path(root, name))
            elif Path(root, name).is_symlink():
                left_out["links to folders"].append(Path(root, name))
            else:
                kept.append(name)
        folders[:] = kept
        for name in names:
            ending = os.path.splitext(name)[1].lower()  # noqa: PTH122
            parts = (*place, name)
            if is_hidden(name):
                left_out["hidden"].append(Path(root, name))
            elif ending not in endings:
                left_out[ending or "without an ending"].append(Path(root, name))
            elif _matches(parts, unwanted) or (wanted and not _matches(parts, wanted)):
                left_out["excluded"].append(Path(root, name))
            else:
                found.append(Path(root, name))
    return FoundImages.of(found, left_out)


@cache
def _endings() -> frozenset[str]:
    from PIL import Image

    image_formats()  # loads the plugins
    known = Image.registered_extensions().items()
    return frozenset({ending for ending, name in known if name in IMAGE_FORMATS} | _PHOTOGRAPHS)


def _listed(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ordered)


def _patterns(given: str | Iterable[str] | None) -> list[str]:
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def _matches(parts: Sequence[str], patterns: Iterable[str]) -> bool:
    """A pattern with a slash is about the path below the folder, another about the name."""
    whole = "/".join(parts).lower()
    return any(fnmatch(whole if "/" in p else parts[-1].lower(), p.lower()) for p in patterns)


def _raise(error: OSError) -> None:
    raise error
