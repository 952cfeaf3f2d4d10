"""Rows that are kept from a fit to calibrate on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.model_selection import ShuffleSplit

from skclip.exceptions import PrototypeMismatchError
from skclip.utils.messages import listing

__all__ = ["held_out_rows", "tell_of_held_out"]


def held_out_rows(X: Any, size: Any, seed: Any) -> tuple[np.ndarray, np.ndarray]:
    """Positions to fit on, and to calibrate on: at random, not by class, as new rows come."""
    train, calibration = next(ShuffleSplit(1, test_size=size, random_state=seed).split(X))
    return train, calibration


@contextmanager
def tell_of_held_out(y: np.ndarray, train: np.ndarray) -> Iterator[None]:
    """Say which classes of y (n,) calibration has taken, where prototypes fit no others."""
    try:
        yield
    except PrototypeMismatchError as exc:
        taken = np.setdiff1d(y, y[train])
        if not len(taken):
            raise
        raise PrototypeMismatchError(
            f"{exc} All rows of {listing(taken)} were held out for calibration. Pass more rows, a "
            "smaller calibration_size, or prototypes with labels."
        ) from exc
