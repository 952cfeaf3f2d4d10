"""Labels of a classification."""

import warnings

from numpy.typing import ArrayLike
from sklearn.utils.multiclass import check_classification_targets

__all__ = ["check_labels"]


def check_labels(y: ArrayLike) -> None:
    """scikit-learn's check, without its warning that few rows per class look like regression."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        check_classification_targets(y)
