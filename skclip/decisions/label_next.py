"""Which rows to label next, through whatever is wrapped around the classifier."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skclip.decisions.wrapped import unwrap

__all__ = ["acquisition"]


def acquisition(estimator: Any, X: ArrayLike, kind: str = "bald") -> np.ndarray:
    """How much a label of each row is worth to a fitted pipeline: larger means label sooner.

    Parameters
    ----------
    estimator : fitted classifier
        One that has a method `acquisition`, such as :class:`skclip.BayesAdapterClassifier`; or a
        pipeline, a FrozenEstimator or a :class:`skclip.SelectiveClassifier` around one.
    X : array-like or list of n_samples inputs
        Unlabelled pool, as the estimator takes it: paths, for a pipeline that reads images.
    kind : {"bald", "entropy", "margin"}, default="bald"
        As for :meth:`skclip.BayesAdapterClassifier.acquisition`.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If there is no such classifier inside, or `kind` is unknown.

    Examples
    --------
    >>> from skclip import BayesAdapterClassifier, CLIPFeaturizer
    >>> from skclip.datasets import load_digits_images, tiny_clip
    >>> from skclip.decisions import acquisition
    >>> from sklearn.pipeline import make_pipeline
    >>> data = load_digits_images()
    >>> pipeline = make_pipeline(CLIPFeaturizer(pretrained=tiny_clip()), BayesAdapterClassifier())
    >>> pipeline = pipeline.fit(data.images[:40], data.labels[:40])
    >>> acquisition(pipeline, data.images[40:60]).shape
    (20,)
    """
    inner, X = unwrap(estimator, X)
    while not hasattr(inner, "acquisition") and hasattr(inner, "estimator_"):
        inner, X = unwrap(inner.estimator_, X)
    if not hasattr(inner, "acquisition"):
        raise ValueError(
            "estimator must end in a classifier with a method acquisition, such as "
            f"BayesAdapterClassifier; got {type(inner).__name__}."
        )
    return np.asarray(inner.acquisition(X, kind))
