"""Arrays in files that may be damaged, or someone else's."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skclip.exceptions import DatasetError

__all__ = ["read_arrays"]


def read_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of an ``.npz`` file, or of the ``.npy`` files of a folder, by name.

    Nothing in them is run. Damage shows in many ways, all of which are one error.
    """
    try:
        if path.is_dir():
            return {file.stem: np.asarray(_read(file)) for file in path.glob("*.npy")}
        loaded = _read(path)
        return loaded if isinstance(loaded, dict) else {path.stem: loaded}
    except Exception as error:
        raise DatasetError(
            f"{path} must hold arrays that NumPy reads without pickle; it cannot be read: "
            f"{type(error).__name__}: {error}. Write it again, or remove it."
        ) from error


def _read(path):
    with path.open("rb") as file:  # which NumPy leaves open where it fails
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        return {name: loaded[name] for name in loaded.files}
