"""CLIP's zero-shot classifier."""

from typing import Any, Self

import torch
from numpy.typing import ArrayLike

from skclip.adapters.base import LinearAdapterClassifier, fit_method
from skclip.adapters.near_text import linear_model

__all__ = ["ZeroShotClassifier"]


class ZeroShotClassifier(LinearAdapterClassifier):
    r"""CLIP's zero-shot classifier: the text prototypes are the weights.

    .. math::
        p(y = c \mid x) = \mathrm{softmax}_c(\tau \langle x, t_c \rangle)

    with unit-norm x and t (Radford et al. [1]_). `fit` learns nothing from the images; it
    checks the input and encodes the class names. It is the prior mean of
    :class:`BayesAdapterClassifier`, and the baseline that any adapter has to beat.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. The rows of an array belong to the sorted labels of `y`.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from cosine to logit. "auto" takes it from the prototypes'
        model, else 100.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_features)
        The text prototypes, scaled as X.
    coef_ : ndarray of shape (n_classes, n_features), (1, n_features) for two classes
        ``logit_scale_ * prototypes_``; of two classes the difference.
    intercept_ : ndarray of shape (n_classes,), (1,) for two classes
        Zeros.
    logit_scale_ : float
    temperature_ : float
        1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    References
    ----------
    .. [1] A. Radford et al., "Learning transferable visual models from natural language
       supervision", ICML 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip import ZeroShotClassifier
    >>> text = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> classifier = ZeroShotClassifier(text).fit([[0.9, 0.1], [0.2, 0.8]], ["cat", "dog"])
    >>> classifier.predict([[0.8, 0.3]])
    array(['cat'], dtype='<U3')
    """

    _learns_from_rows = False

    _parameter_constraints: dict = {**LinearAdapterClassifier._parameter_constraints}

    def __init__(
        self,
        prototypes: Any = None,
        *,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        device: str | torch.device = "auto",
    ) -> None:
        self.prototypes = prototypes
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.device = device

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Check the input and encode the class names.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features; only their width is used.
        y : array-like of shape (n_samples,)
            Labels; only their set is used.
        sample_weight : array-like of shape (n_samples,), default=None
            Checked, but nothing is learned from it.

        Returns
        -------
        self : ZeroShotClassifier

        Raises
        ------
        ValueError
            If `prototypes` is None.
        """
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        return self._publish(linear_model(problem, problem.prior_mean))
