"""Were rows, which a guarantee needs to be new, used to fit the classifier?"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skclip.decisions.wrapped import unwrap
from skclip.exceptions import GuaranteeWarning
from skclip.utils.rows import row_digests

__all__ = ["check_unseen", "check_unseen_features"]

# Rows of known images may turn up twice by chance; a calibration set of them does not.
_TOLERATED_SHARE = 0.05


def check_unseen(estimator: Any, X: ArrayLike) -> float:
    """Warn if rows that are meant to calibrate a classifier were used to fit it.

    Calibration promises something about new rows, whether it is a threshold
    (:class:`skclip.SelectiveClassifier`, which calls this itself), a conformal set or a
    temperature. On rows that the classifier was adapted to it is right and confident too
    often, and the promise is void.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier of this package, frozen or last in a pipeline or not. Of other
        classifiers nothing is known, and none of the rows counts as seen.
    X : array-like or list of n_samples inputs
        Calibration rows, in the form that `estimator` predicts from.

    Returns
    -------
    float
        Share of the rows that the classifier was fitted on, to the last bit of single
        precision: augmented views and copies of an image under another encoding are not found.

    Warns
    -----
    GuaranteeWarning
        If the share is above 0.05.

    Notes
    -----
    Classifiers keep a digest of 8 bytes of every row that they learn from, not the row.

    Examples
    --------
    >>> import warnings
    >>> from skclip import BayesAdapterClassifier, check_unseen
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> classifier = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    >>> check_unseen(classifier, data.X_test)
    0.0
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     share = check_unseen(classifier, data.X)
    >>> share, caught[0].category.__name__
    (1.0, 'GuaranteeWarning')
    """
    estimator, X = unwrap(estimator, X)
    seen = getattr(estimator, "row_digests_", None)
    if seen is None:
        return 0.0
    share = float(np.isin(row_digests(X), seen).mean())
    if share > _TOLERATED_SHARE:
        warnings.warn(
            f"Calibration rows must not have been used to fit the classifier; {share:.0%} of these "
            "were. What is calibrated on them does not hold for new rows; pass other rows.",
            GuaranteeWarning,
            stacklevel=2,
        )
    return share


def check_unseen_features(estimator: Any, X: Any) -> None:
    """The same where that is cheap: images are not encoded once more."""
    if getattr(X, "ndim", 0) == 2 and np.asarray(X).dtype.kind in "fiu":
        check_unseen(estimator, X)
