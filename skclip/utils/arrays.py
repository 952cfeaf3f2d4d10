"""Arrays from what users have: also tensors of torch, wherever and of whatever type they are."""

from typing import Any

import numpy as np

__all__ = ["as_array"]


def as_array(values: Any, name: str) -> np.ndarray:
    """``numpy.asarray``, also of a tensor on a GPU, one that requires a gradient, or of bfloat16.

    Raises
    ------
    ValueError
        If it is a tensor without values (on the device "meta"), or rows differ in length.
    """
    if isinstance(values, list | tuple) and any(hasattr(item, "detach") for item in values):
        values = [as_array(item, name) for item in values]
    if hasattr(values, "detach"):
        return _from_tensor(values, name)
    try:
        return np.asarray(values)
    except ValueError as exc:
        raise ValueError(f"{name} must be an array whose rows have one length; {exc}.") from exc


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
