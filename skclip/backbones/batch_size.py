"""How many images go through a model at once."""

from collections.abc import Callable

import torch

__all__ = ["automatic_batch_size"]

_ON_CPU, _PROBE, _MOST = 32, 16, 1024
# Of the free memory of a GPU: the rest is for fragmentation and for other processes.
_SHARE = 0.5


def automatic_batch_size(
    encode: Callable[[torch.Tensor], object], image_size: tuple[int, int], device: torch.device
) -> int:
    """A power of two that fits the memory of the device.

    On a CPU 32: larger batches gain nothing there. On a GPU a small batch is encoded, and what it
    took is compared with what is free.
    """
    if device.type != "cuda":
        return _ON_CPU
    images = torch.zeros(_PROBE, 3, *image_size)
    encode(images)  # what libraries allocate once is not the batch's
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    encode(images)
    taken = max(torch.cuda.max_memory_allocated(device) - before, 1)
    free, _ = torch.cuda.mem_get_info(device)
    fitting = int(_SHARE * free * _PROBE / taken)
    return min(_MOST, 1 << max(fitting.bit_length() - 1, 0))
