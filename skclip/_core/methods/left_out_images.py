"""Which images are left out to choose a number or two."""

from __future__ import annotations

import torch
from torch import Tensor

from skclip._core.linear.leave_one_out import Groups

__all__ = ["drawn", "left_out_images"]


def drawn(n: int, most: int) -> Tensor:
    """Ascending indices, on the CPU, of `most` of n things, at least one; the same every time."""
    if n <= most:
        return torch.arange(n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[: max(1, most)].sort().values


def left_out_images(
    groups: Groups, y: Tensor, n_classes: int, most: int | None = None
) -> tuple[Tensor, float]:
    """Indices of groups whose class has another, and which share of all such groups they are.

    They are all, or `most` of them, drawn. Few numbers are chosen by them, which thousands of
    images settle.
    """
    label = y[groups.rows[:, 0]]
    n_images = torch.bincount(label, minlength=n_classes)
    images = torch.nonzero(n_images[label] > 1).squeeze(1)
    if most is None or len(images) <= most:
        return images, 1.0
    places = drawn(len(images), most).to(images.device)
    return images[places], len(places) / len(images)
