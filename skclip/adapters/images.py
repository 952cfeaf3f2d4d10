"""Rows that are views of one image, and images that are left out."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skclip._core.problem import Problem
from skclip.utils.messages import listing

__all__ = ["Images", "group_codes", "image_weight", "support_images"]


def group_codes(groups: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Codes 0, 1, ... of the images, each of which has one label."""
    groups, y = column_or_1d(groups), column_or_1d(y)
    check_consistent_length(groups, y)
    names, codes = np.unique(groups, return_inverse=True)
    pairs = np.unique(np.stack([codes, np.unique(y, return_inverse=True)[1]]), axis=1)
    mixed = names[np.bincount(pairs[0], minlength=len(names)) > 1]
    if len(mixed):
        raise ValueError(
            "All rows of a group must have one label, as views of one image have; got several "
            f"labels in group(s) {listing(mixed)}. Pass the image of each row as groups."
        )
    return codes


class Images(NamedTuple):
    """Rows of positive weight: X (n, d), y (n,), weight (n,) and codes (n,) of their image."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    codes: torch.Tensor


def image_weight(sample_weight: ArrayLike | None, codes: np.ndarray | None) -> ArrayLike | None:
    """`sample_weight`, which by default lets the rows of one image count as one."""
    if sample_weight is not None or codes is None:
        return sample_weight
    return 1.0 / np.bincount(codes)[codes]


def support_images(problem: Problem, codes: np.ndarray | None) -> Images:
    """Images of a problem by the codes of their rows, or by their values where None.

    Equal rows of one label are one image, so that a row given twice is left out as a
    whole, like one of weight two.
    """
    keep = problem.sample_weight > 0
    X, y, weight = problem.X[keep], problem.y[keep], problem.sample_weight[keep]
    if codes is None:
        seen: dict[tuple[bytes, int], int] = {}
        pairs = zip(X.cpu().numpy(), y.tolist(), strict=True)
        codes = [seen.setdefault((row.tobytes(), label), len(seen)) for row, label in pairs]
    else:
        codes = np.unique(codes[keep.cpu().numpy()], return_inverse=True)[1]
    return Images(X, y, weight, torch.as_tensor(codes, dtype=torch.int64, device=X.device))
