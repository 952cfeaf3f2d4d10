"""Linear probes whose training keeps logits in their zero-shot range."""

from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.methods.zero_shot_range import fit_range_optimum, fit_range_recipe
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method, warn_unless_converged
from skclip.adapters.near_text import convergence, cosine_model, cosine_problem, linear_model
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.utils.random_state import torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["ZeroShotRangeClassifier"]


class ZeroShotRangeClassifier(LinearAdapterClassifier):
    r"""ZS-LP trained with every row's logits held to the range of its zero-shot logits.

    Murugesan et al. [1]_ trace the overconfidence of adapters to the range of their logits,
    which training stretches. With zero-shot logits :math:`z_n = \tau T x_n`, and logits
    :math:`s_n` of the adapted weights, ``method="norm"`` (ZS-Norm) trains on the
    cross-entropy of

    .. math::
        \frac{s_n - \min s_n}{\max s_n - \min s_n} (\max z_n - \min z_n) + \min z_n,

    and ``method="penalty"`` on the cross-entropy of :math:`s_n` plus

    .. math::
        \frac{\mu}{c} \sum_k \left( [s_{nk} - \max z_n]_+ + [\min z_n - s_{nk}]_+ \right).

    Either way predictions are softmax of :math:`s`, as in the authors' code. Their third
    remedy rescales at prediction: :class:`SampleAdaptiveScaling`, which can wrap this one.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. The rows of an array belong to the sorted labels of `y`.
    method : {"penalty", "norm"}, default="penalty"
        Which of the two.
    penalty : float, default=10.0
        :math:`\mu`, non-negative, of ``method="penalty"``; the default is the authors'.
    C : float, default=0.01
        For ``solver="lbfgs"``: inverse strength of the penalty
        :math:`\sum_c \|w_c - t_c\|^2 / 2` next to the sum of the losses, which takes the place
        of stopping early.
    solver : {"sgd", "lbfgs"}, default="sgd"
        "sgd" is the published recipe: cosine logits from the text, momentum 0.9, cosine
        decay. "lbfgs" takes linear logits, for which ``method="penalty"`` is convex, to the
        optimum; the corners of the penalty are rounded over 0.1 logits.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else 100).
    normalize : "auto" or bool, default="auto"
        Scale rows of X to unit norm, and for "lbfgs" prototypes too; "auto" does.
    prototype_norm : float or None, default=None
        For "sgd": norm of the weights at the start, which fixes how far a step moves them. None
        is the norm that the prototypes have, or 8.8, typical of CLIP's raw embeddings, if
        they are unit vectors.
    max_iter : int or None, default=None
        Epochs of "sgd" (None: 300) or iterations of "lbfgs" (None: 1000).
    tol : float, default=1e-6
        "lbfgs" stops when ``gradient_norm_`` is at most this.
    learning_rate : float, default=0.1
        First rate of "sgd".
    batch_size : int, default=256
        Of "sgd".
    random_state : int, RandomState or None, default=None
        Shuffles of "sgd".
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        All classes that have a prototype, also those without an image.
    coef_ : ndarray of shape (n_classes, n_features)
        Weights; for "sgd" of unit norm, so that logits are ``logit_scale_`` times the cosine.
    intercept_ : ndarray of shape (n_classes,)
        Zeros.
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality of "lbfgs": the largest class-wise norm of the gradient in
        the scaled weights :math:`\tau W`, over the sum of the sample weights.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    SampleAdaptiveScaling : The same range, imposed at prediction on any classifier.

    Notes
    -----
    The mean over classes makes the pull of the penalty on one logit fall with the number of
    classes: with more than :math:`\mu` of them, a row on which the classifier is wrong enough
    leaves the range.

    References
    ----------
    .. [1] B. Murugesan, J. Silva-Rodriguez, I. Ben Ayed, J. Dolz, "Robust calibration of large
       vision-language adapters", ECCV 2024.

    Examples
    --------
    >>> from skclip import ZeroShotRangeClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> classifier = ZeroShotRangeClassifier(data.prototypes, solver="lbfgs")
    >>> classifier.fit(data.X, data.y).coef_.shape
    (5, 512)
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "method": [StrOptions({"penalty", "norm"})],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "solver": [StrOptions({"sgd", "lbfgs"})],
        **RECIPE_CONSTRAINTS,
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        method: str = "penalty",
        penalty: float = 10.0,
        C: float = 0.01,
        solver: str = "sgd",
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        prototype_norm: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-6,
        learning_rate: float = 0.1,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.method = method
        self.penalty = penalty
        self.C = C
        self.solver = solver
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.prototype_norm = prototype_norm
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a weight of 2 is the row twice.

        Returns
        -------
        self : ZeroShotRangeClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None, or `method` is not convex and `solver` "lbfgs".
        """
        if self.method == "norm" and self.solver == "lbfgs":
            raise ValueError(
                "method='norm' is not convex, and solver='lbfgs' is for convex problems. Pass "
                "solver='sgd', or method='penalty'."
            )
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        if self.solver == "lbfgs":
            return self._fit_convex(problem)
        recipe = recipe_of(self)
        W = fit_range_recipe(
            cosine_problem(problem, self.prototype_norm),
            recipe,
            torch_generator(self.random_state),
            penalty=self.penalty if self.method == "penalty" else None,
            callback=progress_bar(self, recipe),
        )
        return self._publish(cosine_model(problem, W), n_iter_=recipe.epochs)

    def _fit_convex(self, problem: Problem) -> Self:
        precision = problem.X.new_full((problem.n_classes,), 1.0 / self.C)
        solution = fit_range_optimum(
            LinearProblem.of(problem, prior_precision=precision),
            self.penalty,
            tol=self.tol,
            max_iter=self.max_iter or 1000,
        )
        warn_unless_converged(solution, self.tol)
        return self._publish(linear_model(problem, solution.W), **convergence(solution))

    def _wants_unit_prototypes(self) -> bool:
        return self.solver == "lbfgs"
