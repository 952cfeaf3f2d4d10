"""Arrays from what users have: also tensors of torch, wherever and of whatever type they are."""

from typing import Any

import numpy as np

__all__ = ["as_array", "check_magnitude", "check_total", "is_tensor"]

# Whose square, times a few thousand, is a number in single precision.
_LARGEST = 1e15


def as_array(values: Any, name: str) -> np.ndarray:
    """``numpy.asarray``, also of a tensor on a GPU, one that requires a gradient, or of bfloat16.

    Raises
    ------
    ValueError
        If it is a tensor without values (on the device "meta"), rows differ in length, or
        entries are masked.
    """
    if isinstance(values, list | tuple) and any(is_tensor(item) for item in values):
        values = [as_array(item, name) for item in values]
    if is_tensor(values):
        return _from_tensor(values, name)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} must have no masked entries, as what is behind the mask would count; got "
            f"{np.ma.count_masked(values)} of them. Fill them, or drop their rows."
        )
    try:
        return np.asarray(values)
    except ValueError as exc:
        raise ValueError(f"{name} must be an array whose rows have one length; {exc}.") from exc


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch; binary files can be detached, too."""
    return hasattr(value, "detach") and hasattr(value, "device")


def check_magnitude(array: np.ndarray, name: str) -> None:
    """Refuse numbers whose squares leave the range of single precision; zeros are fine."""
    largest = float(np.abs(array).max(initial=0.0))
    if largest and not 1 / _LARGEST <= largest <= _LARGEST:
        raise ValueError(
            f"The largest entry of {name} must be between {1 / _LARGEST:g} and {_LARGEST:g}; got "
            f"{largest:g}. Scale the rows, for instance with normalize=True or StandardScaler."
        )


def check_total(weight: np.ndarray, name: str, limit: float) -> None:
    """Refuse weights whose sum is above `limit` or below one over it."""
    with np.errstate(over="ignore"):
        total = float(weight.sum(dtype=np.float64))
    if not 1 / limit <= total <= limit:
        raise ValueError(
            f"{name} must add up to at least {1 / limit:g} and at most {limit:g}; got a sum of "
            f"{total:g}. A weight says how many times a row counts; divide them by their mean."
        )


def _from_tensor(tensor: Any, name: str) -> np.ndarray:
    if tensor.device.type == "meta":
        raise ValueError(
            f"{name} must hold numbers; got a tensor on the device 'meta', which holds none. Make "
            "it on a real device."
        )
    tensor = tensor.detach().cpu().resolve_conj()
    tensor = tensor.to_dense() if tensor.is_sparse else tensor
    try:
        return tensor.numpy()
    except TypeError:  # NumPy has no bfloat16 and no float8
        return tensor.float().numpy()
