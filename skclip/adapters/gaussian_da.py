"""Gaussian discriminant analysis added to the text logits."""

from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.linear.objective import logits
from skclip._core.methods.gaussian_da import GaussianClasses, choose_weight, left_out_scores
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method
from skclip.adapters.classes import in_order_of_classes
from skclip.adapters.images import group_codes, image_weight, support_images
from skclip.adapters.near_text import linear_model
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["GaussianDAClassifier"]

# Between the best weights on CLIP features at 2 to 16 images per class (0.013 to 0.046),
# for a covariance with the unbiased divisor.
_CENTRE = 0.02
_WIDTH = 0.5
# The spread of all rows stands for that within classes, which is smaller.
_ONE_SHOT = 0.01


class GaussianDAClassifier(LinearAdapterClassifier):
    r"""Linear discriminant analysis whose log-densities are added to the text logits.

    With class means :math:`\mu_c` and within-class scatter G of the n support rows,

    .. math::
        z_c(x) = \tau \langle x, t_c \rangle + \alpha \left( x^\top \Sigma^{-1} \mu_c
        - \tfrac12 \mu_c^\top \Sigma^{-1} \mu_c + \log \pi_c \right), \qquad
        \Sigma = (1 - s) \frac{G}{n} + s \frac{\mathrm{tr}\, G}{n d} I

    which is the training-free adapter of Wang et al. [1]_: their precision matrix
    :math:`d\,((n-1) S + \mathrm{tr}(S) I)^{-1}`, :math:`S = G / (n - 1)`, is a multiple of
    :math:`\Sigma^{-1}` at :math:`s = d / (n - 1 + d)`, and their :math:`\alpha` is this one
    divided by :math:`s (n - 1) / n`. Without prototypes the classifier is
    :class:`~sklearn.discriminant_analysis.LinearDiscriminantAnalysis` with
    ``solver="lsqr"``.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. None drops the text term.
    alpha : "auto" or float, default="auto"
        Weight of the Gaussian log-densities, non-negative; 1 counts an image's density in
        full, 0 is zero-shot classification. "auto" is 1 without prototypes. With them it
        minimises the log-loss of the left-out support images, with a weak prior on its
        logarithm (see Notes); where no class has two images it is 0.01.
    shrinkage : "auto" or float, default="auto"
        Share of the identity in the covariance, fraction in [0, 1]. "auto" is the published
        :math:`d / (n - 1 + d)` with n the sum of the sample weights. With 0 a singular
        covariance is pseudo-inverted.
    priors : None, "uniform", dict or array-like of shape (n_classes,), default=None
        Class priors :math:`\pi`, in the order of ``classes_`` or by label (dict, Series).
        None takes the shares of the classes in the support,
        as LinearDiscriminantAnalysis does (whose covariance changes with given priors; this
        one does not). The published code has "uniform", which is the same where all classes
        have as many images.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else 100), and
        1 without prototypes.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does with prototypes.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_features)
        Text and Gaussian part together, over the logit scale.
    coef_ : ndarray of shape (n_classes, n_features), (1, n_features) for two classes
        ``logit_scale_ * prototypes_``, so that logits are ``X @ coef_.T + intercept_``; of two
        classes the difference.
    intercept_ : ndarray of shape (n_classes,), (1,) for two classes
        Of mean zero over the classes.
    alpha_ : float
    shrinkage_ : float
    priors_ : ndarray of shape (n_classes,)
    means_ : ndarray of shape (n_classes, n_features)
    loo_log_likelihood_ : float
        Mean log-likelihood of the left-out images; only where alpha was chosen by it.
    logit_scale_ : float
    temperature_ : float
        1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    Notes
    -----
    A class without images (with labelled prototypes) stands at the mean of the class means,
    with their average prior: its Gaussian term is that of an image of no known class.

    Where no class has two different images there is no scatter within classes, and the
    covariance is isotropic, with the variance of the rows about their common mean.

    Leaving an image out is exact, by downdates of mean, scatter, trace and shrinkage. It
    leaves the own class with a noisier mean than the others, which without a correction drives
    alpha to zero at two images per class; the expected difference is given back. The prior of
    :math:`\log \alpha` is Gaussian around 0.02 (n - c) / n with standard deviation 0.5.

    :class:`skclip.PredictionSetClassifier` and :class:`skclip.OpenSetClassifier` take the models
    without each image from the same downdates, for new rows: O(n (d + c)) for each.

    The cost is one eigenproblem of size d, O(n d (d + c)) for the moments, and O(m d c) for leaving
    m images out: all of them up to m c of 67 million, which is 16 images of each of 2000 classes.
    Of more that many are drawn, the same ones every time, so that memory is bounded; they settle
    one number.

    References
    ----------
    .. [1] Z. Wang, J. Liang, L. Sheng, R. He, Z. Wang, T. Tan, "A hard-to-beat baseline for
       training-free CLIP-based adaptation", ICLR 2024.

    Examples
    --------
    >>> from skclip import GaussianDAClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, n_classes=10, random_state=0)
    >>> classifier = GaussianDAClassifier(data.prototypes).fit(data.X, data.y)
    >>> classifier.predict_proba(data.X_test).shape
    (500, 10)
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "priors": [None, StrOptions({"uniform"}), "array-like"],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        alpha: str | float = "auto",
        shrinkage: str | float = "auto",
        priors: str | ArrayLike | None = None,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        device: str | torch.device = "auto",
    ) -> None:
        self.prototypes = prototypes
        self.alpha = alpha
        self.shrinkage = shrinkage
        self.priors = priors
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.device = device

    @fit_method
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Estimate means and covariance, and choose alpha.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a weight of 2 is the row twice. None is 1, with groups 1
            over the number of rows of the group.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group are views of one image, left out together. None makes every
            row an image, but equal rows one.

        Returns
        -------
        self : GaussianDAClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `priors` has another length than there are classes, or a group several labels.
        """
        codes = None if groups is None else group_codes(groups, y)
        problem = self._check(X, y, image_weight(sample_weight, codes))
        shrinkage = None if self.shrinkage == "auto" else float(self.shrinkage)
        rows = problem.X, problem.y, problem.sample_weight
        classes = GaussianClasses.of(*rows, problem.n_classes, shrinkage)
        priors = self._priors(classes.weight.cpu().numpy())
        log_prior = torch.tensor(priors, device=problem.X.device).log()
        W, b = classes.linear(log_prior)
        alpha, fitted = self._choose_alpha(problem, classes, log_prior, codes)
        tau, dtype = problem.logit_scale, problem.X.dtype
        coef = (tau * problem.prior_mean.double() + alpha * W) / tau
        n, d = float(classes.total_weight), problem.X.shape[1]
        return self._publish(
            linear_model(problem, coef.to(dtype), (alpha * b).to(dtype)),
            priors_=priors,
            alpha_=alpha,
            shrinkage_=d / (max(n - 1.0, 0.0) + d) if shrinkage is None else shrinkage,
            means_=classes.means @ classes.axes.T + classes.origin,
            **fitted,
        )

    def _priors(self, weight: np.ndarray) -> np.ndarray:
        """(c,) positive numbers that sum to 1."""
        c = len(weight)
        if self.priors is None:
            seen = weight > 0
            priors = np.where(seen, weight, weight[seen].mean())
        elif isinstance(self.priors, str):
            priors = np.ones(c)
        else:
            priors = in_order_of_classes(self.priors, self.classes_, "priors")
            priors = np.asarray(priors, dtype=np.float64)
            if priors.shape != (c,) or not (priors > 0).all():
                raise ValueError(
                    f"priors must be {c} positive numbers, one per class in the order of "
                    f"classes_; got {self.priors!r}. Pass None for the shares in y."
                )
        return priors / priors.sum()

    def _choose_alpha(
        self,
        problem: Problem,
        classes: GaussianClasses,
        log_prior: torch.Tensor,
        codes: np.ndarray | None,
    ) -> tuple[float, dict[str, float]]:
        """The weight of the Gaussian part, and its left-out likelihood where that chose it."""
        if self.alpha != "auto":
            return float(self.alpha), {}
        if not problem.has_text:
            return 1.0, {}
        X, y, a, codes = support_images(problem, codes)
        scores, rows, share = left_out_scores(
            classes, X, y, a, codes, log_prior, empirical_prior=self.priors is None
        )
        if not len(rows):
            return _ONE_SHOT, {}
        n_images = int(codes.max()) + 1
        n_seen = len(torch.unique(y))
        no_bias = X.new_zeros(problem.n_classes)
        weight = a[rows].double() / share
        alpha, loss = choose_weight(
            logits(X[rows], problem.prior_mean, no_bias, problem.logit_scale),
            scores,
            y[rows],
            weight,
            centre=_CENTRE * (n_images - n_seen) / n_images,
            width=_WIDTH,
        )
        return alpha, {"loo_log_likelihood_": -loss / float(weight.sum())}
