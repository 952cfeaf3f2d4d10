"""Rows that are views of one image."""

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skclip.utils.messages import listing

__all__ = ["group_codes"]


def group_codes(groups, y):
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
