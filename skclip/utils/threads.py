"""As many threads of torch as the work deserves, for as long as a call lasts.

torch shares an operation out to OpenMP threads, which wait for each other actively. On a machine
where something else runs they wait for a whole time slice, thousands of times in a fit. So small
work is for one thread, and none gets more than the process may use: a quota of a container is known
to joblib, not to torch.

``torch.set_num_threads`` would also set what every thread starts with that uses torch for the first
time meanwhile, and keeps. What is set here is the calling thread's own: OpenMP's number, through
threadpoolctl, and MKL's, which counts for more where the user has set a number of threads.
"""

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import torch
from threadpoolctl import ThreadpoolController

__all__ = ["deserve", "few_threads"]

# Multiplications of one large product of the work, below which it is for one thread.
_WORK_OF_ONE_THREAD = 1e9
_local = threading.local()


@contextlib.contextmanager
def few_threads() -> Iterator[None]:
    """One thread of torch, until :func:`deserve` asks for more; afterwards as many as before.

    Within another such block it does nothing: the outer one has the say.
    """
    # The first question of a thread makes torch set its number, which must come before ours.
    before = torch.get_num_threads()
    if before == 1 or getattr(_local, "limit", None) is not None:
        yield
        return
    _local.limit = limit = _Limit(before)
    try:
        limit.set(1)
        yield
    finally:
        _local.limit = None
        limit.restore()


def deserve(work: float) -> None:
    """Give the block of :func:`few_threads` that we are in the threads that its work deserves.

    Parameters
    ----------
    work : float
        Multiplications in one large product.
    """
    limit = getattr(_local, "limit", None)
    if limit is not None:
        limit.set(1 if work < _WORK_OF_ONE_THREAD else min(limit.before, joblib.cpu_count()))


class _Limit:
    """The calling thread's numbers of threads, and what they were before."""

    def __init__(self, before: int) -> None:
        self.before = before
        self._openmp = _openmp()
        self._numbers = [library.num_threads for library in self._openmp]
        self._mkl: int | None = None

    def set(self, number: int) -> None:
        for library in self._openmp:
            library.set_num_threads(number)
        if _mkl() is not None:
            before = _mkl()(number)
            self._mkl = before if self._mkl is None else self._mkl

    def restore(self) -> None:
        for library, number in zip(self._openmp, self._numbers, strict=True):
            library.set_num_threads(number)
        if self._mkl is not None:
            _mkl()(self._mkl)


@cache
def _openmp() -> list[Any]:
    """The OpenMP libraries of the process; torch has brought its own when it was imported."""
    return ThreadpoolController().select(user_api="openmp").lib_controllers


@cache
def _mkl() -> Any:
    """Sets the calling thread's number in the MKL inside torch; returns the one before, or 0."""
    name = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(
        sys.platform, "libtorch_cpu.so"
    )
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
        return library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):  # no MKL, or one that keeps its names
        return None
