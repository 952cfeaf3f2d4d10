"""The device that work runs on, and the floating-point type that goes with it."""

import os

import torch

__all__ = ["fit_device", "prediction_dtype", "resolve_device"]

if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads that torch shares its work out to, and would wait for
    # them for ever. With one thread it asks nobody.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn a `device` parameter into a :class:`torch.device` that exists here.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. Anything else is
        passed to :class:`torch.device` ("cpu", "cuda", "cuda:1", "mps").

    Raises
    ------
    ValueError
        If the device is not a valid name or is not available on this machine.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as exc:
        raise ValueError(
            f"device must be 'auto' or a torch device such as 'cpu' or 'cuda:0'; got {device!r}."
        ) from exc
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={str(device)!r} was asked for but torch sees no CUDA GPU on this machine. "
            "Pass device='auto' or device='cpu'."
        )
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={str(device)!r} was asked for but torch sees only "
            f"{torch.cuda.device_count()} CUDA device(s). Pass a smaller index."
        )
    if resolved.type not in ("cpu", "cuda"):
        _check_computes(resolved)
    return resolved


def fit_device(device: str | torch.device = "auto") -> torch.device:
    """Where a fit with this `device` works: there, or on the CPU where it has no float64.

    Of Apple's "mps", and of some GPUs behind "xpu", single precision is all there is. Sums, bases
    and Cholesky factors of a fit need more, and the CPU has it at once; predictions do not, and
    stay on the device (:func:`prediction_dtype`).

    Parameters
    ----------
    device : str or torch.device, default="auto"
        As of :func:`resolve_device`, whose errors it raises.
    """
    resolved = resolve_device(device)
    return resolved if _has_float64(resolved) else torch.device("cpu")


def prediction_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The type to predict in for rows of `dtype`: theirs, or float32 where there is no float64."""
    return dtype if dtype is not torch.float64 or _has_float64(device) else torch.float32


def _has_float64(device: torch.device) -> bool:
    if device.type in ("cpu", "cuda"):
        return True
    try:
        torch.ones((), dtype=torch.float64, device=device)
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return True


def _check_computes(device: torch.device) -> None:
    """Refuse a device that is known by name but holds no numbers here."""
    try:
        float(torch.ones((), device=device))
    except (RuntimeError, NotImplementedError, AssertionError, ImportError) as exc:
        reason = str(exc).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"device={str(device)!r} was asked for but torch cannot compute on it here: {reason}. "
            "Pass device='auto' or device='cpu'."
        ) from exc
