"""The support as images, for classifiers that leave images out."""

from typing import NamedTuple

import numpy as np
import torch

__all__ = ["Images", "image_weight", "support_images"]


class Images(NamedTuple):
    """Rows of positive weight: X (n, d), y (n,), weight (n,) and codes (n,) of their image."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    codes: torch.Tensor


def image_weight(sample_weight, codes):
    """`sample_weight`, which by default lets the rows of one image count as one."""
    if sample_weight is not None or codes is None:
        return sample_weight
    return 1.0 / np.bincount(codes)[codes]


def support_images(task, codes):
    """Images of a Task by the codes of their rows, or by their values where None.

    Equal rows of one label are one image, so that a row given twice is left out as a
    whole, like one of weight two.
    """
    keep = task.sample_weight > 0
    X, y, weight = task.X[keep], task.y[keep], task.sample_weight[keep]
    if codes is None:
        seen = {}
        pairs = zip(X.cpu().numpy(), y.tolist(), strict=True)
        codes = [seen.setdefault((row.tobytes(), label), len(seen)) for row, label in pairs]
    else:
        codes = np.unique(codes[keep.cpu().numpy()], return_inverse=True)[1]
    return Images(X, y, weight, torch.as_tensor(codes, dtype=torch.int64, device=X.device))
