"""Kernel ridge regression of what the text leaves unexplained."""

import warnings
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.methods.kernel_ridge import half_spread
from skclip._core.methods.proker import (
    ExactRegression,
    KernelChoice,
    KernelGrid,
    KernelModel,
    KernelRegression,
    Support,
    select,
)
from skclip._core.methods.proker_landmarks import LandmarkRegression
from skclip.adapters.base import BaseAdapterClassifier, fit_method
from skclip.adapters.images import group_codes, image_weight, support_images
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["ProKeRClassifier"]

# In units of one over half the mean squared distance of two rows; the first is the default.
_BETAS = (0.5, 0.25, 1.0, 2.0, 4.0)
_RIDGES = (0.1, 0.01, 0.03, 0.3, 1.0)
_WIDTH = 1.0
# Residual weight, whose square is the ridge that fits it.
_LARGEST = 1e6
# CLIP's own temperature fits the published scores well; without text nothing is known.
_TEMPERATURE_WIDTH, _TEMPERATURE_WIDTH_WITHOUT_TEXT = 0.3, 2.0
# Residuals without text are of the order of 1.
_LOGIT_SCALE_WITHOUT_TEXT = 10.0
# Rows up to which all are keys (16 of each of 1000 classes: 1 GB a matrix), and keys of more.
_MOST_ROWS, _N_LANDMARKS = 2**14, 2**12


class ProKeRClassifier(BaseAdapterClassifier):
    r"""Kernel ridge regression on the residual of the zero-shot classifier.

    With the kernel :math:`k(x, x') = \exp(-\beta (1 - \langle x, x' \rangle))` of unit rows,
    one-hot labels Y and the cosines :math:`X T^\top` of the n support rows,

    .. math::
        p(y \mid x) = \mathrm{softmax}\left( \frac{\tau}{\vartheta} \left( x T^\top
        + \omega\, k(x, X) (K + \lambda I)^{-1} (Y - X T^\top) \right) \right)

    At :math:`\omega = 1` the scores minimise, in the kernel's Hilbert space, the squared error
    plus :math:`\lambda` times the squared distance to zero-shot: the proximal problem of Bendou
    et al. [1]_. Their published code has :math:`k(x, X) (K / \lambda + I)^{-1} (Y - X T^\top)`,
    which is :math:`\omega = \lambda`, and the default here.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. With None the cosines are zero: kernel ridge regression on Y.
    beta : "auto" or float, default="auto"
        Inverse width of the kernel, positive. Of rows that are not scaled to unit norm,
        :math:`1 - \langle x, x' \rangle` is half the squared distance. "auto" chooses among
        1/4 to 4 times the inverse of its mean over the support.
    ridge : "auto" or float, default="auto"
        :math:`\lambda`, positive. "auto" chooses among 0.01 to 1, with prototypes and a given
        :math:`\omega` times :math:`100\, \omega^2`.
    temperature : "auto" or float, default="auto"
        :math:`\vartheta`, positive. "auto" minimises the log-loss of the left-out images.
    residual_weight : "auto" or float, default="auto"
        :math:`\omega`, from 0 to 1e6; 0 is zero-shot classification. "auto" is the ridge, as in
        the published code, and 1 without prototypes.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau`. "auto" is the prototypes' (else 100), and 10 without prototypes.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does with prototypes.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    dual_coef_ : ndarray of shape (n_support, n_classes)
        :math:`\omega (K + \lambda I)^{-1} (Y - X T^\top)`, in the order of ``X_fit_``.
    X_fit_ : ndarray of shape (n_support, n_features)
        Support rows of positive weight; of more than 16,384 of them 4096, see Notes.
    prototypes_ : ndarray of shape (n_classes, n_features) or None
        The text prototypes, scaled as X.
    beta_, ridge_, temperature_, residual_weight_ : float
    loo_log_likelihood_ : float
        Mean log-likelihood of the left-out images less the penalties; only where something
        was chosen by it.
    logit_scale_ : float
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    Notes
    -----
    Values that are "auto" have the lowest left-out log-loss, whose residuals are known in closed
    form, plus weak Gaussian priors on their logarithms: beta and ridge around 1/2 (over the mean
    half squared distance) and 0.1 with standard deviation 1, the temperature around 1 with 0.3
    (without prototypes 2). Where no class has two images, nothing can be left out and the centres
    are taken.

    The ridge is chosen first, downhill from its centre, then beta. Where all images of some
    classes, at least 64 classes and about 1024 rows, are at most half of the rows, these classes
    choose the best pair of the grid, the same ones every time; the temperature and
    ``loo_log_likelihood_`` are always those of the regression on all rows, at up to 4096 images
    that are left out.

    :class:`skclip.PredictionSetClassifier` and :class:`skclip.OpenSetClassifier` take the models
    without each image from the inverse kernel, and the former, with ``method="full"``, also those
    that know the new row and a label for it: O(n^2 + n c) for each row.

    Scores are not probabilities: the temperature is what makes them so.

    The cost is O(n^3 / 3 + n^2 c) for every regression on all rows: one where some classes choose,
    else usually five or six. Beyond 1000 rows it is factorised in single precision, in two or three
    matrices of 4 n^2 bytes, and the coefficients are refined, in O(n^2 (c + d)) a step, until they
    are within 1e-6 of those in double precision; a ridge too small for that has double precision
    throughout. Predicting takes O(n (d + c)) per row, in chunks that bound the memory of the
    kernel.

    Of more than 16,384 rows, 4096 of different images are drawn as keys, the same ones every time,
    and f is the function of these that fits all rows best (Nystroem's method [2]_): a product of
    matrices, O(4096^2 n) for each beta, decides the time, and memory does not grow with n^2.
    Left-out residuals, at up to 2^25 / c images, are exact for this function. It is another and
    weaker classifier than the regression on all rows, which is out of reach with so many, and on
    real features :class:`GaussianDAClassifier` was better in less time: a warning says so.

    References
    ----------
    .. [1] Y. Bendou, A. Ouasfi, V. Gripon, A. Boukhayma, "ProKeR: a kernel perspective on
       few-shot adaptation of large vision-language models", CVPR 2025.
    .. [2] A. Rudi, R. Camoriano, L. Rosasco, "Less is more: Nystroem computational
       regularization", NeurIPS 2015.

    Examples
    --------
    >>> from skclip import ProKeRClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, n_classes=10, random_state=0)
    >>> classifier = ProKeRClassifier(data.prototypes).fit(data.X, data.y)
    >>> classifier.dual_coef_.shape
    (40, 10)
    """

    _parameter_constraints: dict = {
        **BaseAdapterClassifier._parameter_constraints,
        "beta": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "ridge": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "residual_weight": [StrOptions({"auto"}), Interval(Real, 0, _LARGEST, closed="both")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        beta: str | float = "auto",
        ridge: str | float = "auto",
        temperature: str | float = "auto",
        residual_weight: str | float = "auto",
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        device: str | torch.device = "auto",
    ) -> None:
        self.prototypes = prototypes
        self.beta = beta
        self.ridge = ridge
        self.temperature = temperature
        self.residual_weight = residual_weight
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
        """Choose what is "auto", and solve for the dual coefficients.

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
        self : ProKeRClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If a group has several labels.
        """
        codes = None if groups is None else group_codes(groups, y)
        problem = self._check(X, y, image_weight(sample_weight, codes))
        rows, labels, weight, codes = support_images(problem, codes)
        # A kernel matrix with a small ridge needs all digits.
        text = problem.prior_mean
        support = Support(rows.double(), labels, weight.double(), codes, text.double())
        regression = self._regression(support)
        grid = self._grid(1.0 / half_spread(support.X, support.weight), problem.has_text)
        choice = None
        if "auto" in (self.beta, self.ridge, self.temperature):
            choice = select(regression, grid, problem.logit_scale)
        chosen = _chosen(grid, choice)
        beta, ridge = chosen["beta_"], chosen["ridge_"]
        dual = chosen["residual_weight_"] * regression.dual(beta, ridge)
        model = KernelModel(
            regression.keys.to(rows.dtype),
            dual.to(rows.dtype),
            text if problem.has_text else None,
            beta,
            problem.logit_scale,
            chosen["temperature_"],
        )
        return self._publish(
            model,
            X_fit_=model.keys,
            dual_coef_=model.dual,
            prototypes_=model.text,
            **chosen,
        )

    @staticmethod
    def _regression(support: Support) -> KernelRegression:
        """With every row a key, or with some where a matrix of all pairs is too large."""
        n = len(support.X)
        if n <= _MOST_ROWS:
            return ExactRegression(support)
        warnings.warn(
            f"ProKeRClassifier solves for all rows of up to {_MOST_ROWS:,}; got {n:,}, of which "
            f"{min(n, _N_LANDMARKS):,} are taken as keys: a weaker classifier. "
            "GaussianDAClassifier takes all rows, and less time.",
            UserWarning,
            stacklevel=3,
        )
        return LandmarkRegression.drawn(support, _N_LANDMARKS)

    def _logit_scale_without_text(self, X: np.ndarray, sample_weight: np.ndarray) -> float:
        return _LOGIT_SCALE_WITHOUT_TEXT

    def _grid(self, unit: float, with_text: bool) -> KernelGrid:
        """Candidates; `unit` is one over half the mean squared distance of two rows."""
        if self.residual_weight == "auto":
            residual_weight = None if with_text else 1.0
        else:
            residual_weight = float(self.residual_weight)
        published = self.residual_weight == "auto" or not with_text
        # The larger the weight, the larger the ridge that fits it: 0.1 at 0.1, and 10 at 1.
        factor = 1.0 if published else (max(residual_weight, 0.01) / _RIDGES[0]) ** 2
        return KernelGrid(
            betas=[unit * b for b in _BETAS] if self.beta == "auto" else [float(self.beta)],
            ridges=[factor * r for r in _RIDGES] if self.ridge == "auto" else [float(self.ridge)],
            weight=residual_weight,
            temperature=None if self.temperature == "auto" else float(self.temperature),
            width=_WIDTH,
            temperature_width=_TEMPERATURE_WIDTH if with_text else _TEMPERATURE_WIDTH_WITHOUT_TEXT,
        )


def _chosen(grid: KernelGrid, choice: KernelChoice | None) -> dict[str, Any]:
    """Attributes: what was chosen, or the centres where nothing can be left out."""
    if choice is None:
        out = {
            "beta_": grid.betas[0],
            "ridge_": grid.ridges[0],
            "temperature_": 1.0 if grid.temperature is None else grid.temperature,
        }
    else:
        out = {
            "beta_": choice.beta,
            "ridge_": choice.ridge,
            "temperature_": choice.temperature,
            "loo_log_likelihood_": choice.log_likelihood,
        }
    return {**out, "residual_weight_": out["ridge_"] if grid.weight is None else grid.weight}
