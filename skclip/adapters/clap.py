"""The class-adaptive linear probe."""

from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.linear.clap_prior import (
    AdaptiveMultipliers,
    clap_multipliers,
    multiplier_variant,
    precision_of,
)
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.posterior.cosine import cosine_logits, fit_cosine_map
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method
from skclip.adapters.classes import one_per_class
from skclip.adapters.near_text import (
    ITERATIONS,
    cosine_model,
    cosine_problem,
    solve_convex,
    start_at,
)
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.utils.random_state import torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["CLAPClassifier"]


class CLAPClassifier(LinearAdapterClassifier):
    r"""CLAP: a linear probe that a penalty per class keeps near the text prototypes.

    The class-adaptive linear probe of Silva-Rodriguez et al. [1]_ minimises

    .. math::
        \frac{1}{n} \sum_n -\log \mathrm{softmax}_{y_n}(\tau W x_n)
        + \frac{1}{C} \sum_{c=1}^{C} \mu_c \|w_c - t_c\|^2

    from :math:`W = T`. The multiplier :math:`\mu_c` is the mean zero-shot probability of the
    true class over the rows of class c, so that a class that the text knows well stays
    near it, and nothing is tuned. This is the posterior mode of
    :class:`BayesAdapterClassifier` under the precisions :math:`2 n \mu_c / C` [2]_.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. The rows of an array belong to the sorted labels of `y`.
    multipliers : str, float, dict or array-like of shape (n_classes,), default="initial"
        :math:`\mu_c`, non-negative, in the order of ``classes_`` or by label (dict, Series).
        "initial" is the mean zero-shot probability (for a class
        without rows, the mean over the others); "constant" its mean over classes; "corrected"
        it divided by that mean; "balanced" is 1. "adaptive" starts at "initial" and, after
        every epoch of ``solver="sgd"``, adds the squared distance from the prototype
        times that of the epoch before, as an augmented Lagrangian does.
    solver : {"lbfgs", "newton-cg", "sgd"}, default="lbfgs"
        "lbfgs" and "newton-cg" solve the convex problem above to its optimum, the latter to
        more digits if `tol` asks for them. "sgd" is the published recipe: cosine logits, which
        divide every :math:`w_c` by its norm, and 300 epochs with momentum 0.9 and cosine
        decay.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else 100).
    normalize : "auto" or bool, default="auto"
        Scale rows of X to unit norm, and prototypes too unless "sgd" is asked for; "auto"
        does.
    prototype_norm : float or None, default=None
        Norm of the text at which distances are measured: the penalty grows with its square.
        None is 1, but for "sgd" the norm that the prototypes have, or 8.8 if they are unit
        vectors: the recipe was written for CLIP's raw embeddings.
    max_iter : int or None, default=None
        Iterations of "lbfgs" (None: 1000) or "newton-cg" (None: 100), epochs of "sgd" (None:
        300).
    tol : float, default=1e-6
        An optimum is reached when ``gradient_norm_`` is at most this.
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
    multipliers_ : ndarray of shape (n_classes,)
        :math:`\mu_c`; with "adaptive" those after the last epoch.
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality, not for "sgd": the largest class-wise norm of the gradient
        in the scaled weights :math:`\tau W`, over the sum of the sample weights.
    prior_precision_ : ndarray of shape (n_classes,)
        What pulls each class to its text, in inverse squared weight units; not for "sgd".
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    BayesAdapterClassifier : Precision and temperature from the support set.
    LinearProbeClassifier : ``init="prototypes"`` is the recipe without a penalty.

    Notes
    -----
    At ``prototype_norm=8.8`` the penalty is 77 times as strong as at 1, and the optimum of
    the convex problem predicts nearly as the recipe does. At 1 its log-loss and calibration
    error on real features are lower, hence the default. A class that the text gets wrong has
    a multiplier near zero, and its weights hardly any prior.

    The adaptive step, with the distance of the epoch before as penalty parameter, is that of
    the authors' code. For an optimum to exist multipliers are at least 1e-6, unless "sgd" is
    asked for.

    References
    ----------
    .. [1] J. Silva-Rodriguez, S. Hajimiri, I. Ben Ayed, J. Dolz, "A closer look at the few-shot
       adaptation of large vision-language models", CVPR 2024.
    .. [2] P. Morales-Alvarez, S. Christodoulidis, M. Vakalopoulou, P. Piantanida, J. Dolz,
       "BayesAdapter: enhanced uncertainty estimation in CLIP few-shot adaptation",
       arXiv 2412.09718.

    Examples
    --------
    >>> from skclip import CLAPClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> classifier = CLAPClassifier(data.prototypes).fit(data.X, data.y)
    >>> classifier.multipliers_.round(2)
    array([0.89, 0.97, 1.  , 0.99, 0.84])
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "multipliers": [
            StrOptions({"initial", "constant", "balanced", "corrected", "adaptive"}),
            Interval(Real, 0, None, closed="left"),
            "array-like",
        ],
        "solver": [StrOptions({"lbfgs", "newton-cg", "sgd"})],
        **RECIPE_CONSTRAINTS,
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        multipliers: str | float | ArrayLike = "initial",
        solver: str = "lbfgs",
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
        self.multipliers = multipliers
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
        self : CLAPClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None, or `multipliers` do not fit the classes or `solver`.
        """
        adaptive = isinstance(self.multipliers, str) and self.multipliers == "adaptive"
        if adaptive and self.solver != "sgd":
            raise ValueError(
                "multipliers='adaptive' follow the epochs of solver='sgd'; got solver="
                f"{self.solver!r}. Pass solver='sgd', or multipliers='initial'."
            )
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        multipliers = self._resolve_multipliers(problem)
        if self.solver in ITERATIONS:
            convex = self._linear_problem(problem, multipliers)
            model, fitted = solve_convex(convex, self.solver, self.max_iter, self.tol)
            return self._publish(model, multipliers_=multipliers, **fitted)
        adapt = AdaptiveMultipliers(multipliers) if adaptive else None
        recipe = recipe_of(self)
        W, _ = fit_cosine_map(
            cosine_problem(problem, self.prototype_norm),
            recipe,
            torch_generator(self.random_state),
            penalty=multipliers,
            adapt=adapt,
            callback=progress_bar(self, recipe),
        )
        last = adapt.multipliers if adapt else multipliers
        model = cosine_model(problem, W)
        return self._publish(model, multipliers_=last, n_iter_=recipe.epochs)

    def _linear_problem(self, problem: Problem, multipliers: torch.Tensor) -> LinearProblem:
        total = problem.sample_weight.sum()
        # Weights are those of unit text; distances are measured at the norm asked for.
        start = start_at(problem, self.prototype_norm)
        stretch = start.norm(dim=1) / problem.prior_mean.norm(dim=1)
        precision = stretch.square() * precision_of(multipliers, total)
        return LinearProblem.of(problem, prior_precision=precision)

    def _resolve_multipliers(self, problem: Problem) -> torch.Tensor:
        """(c,) multipliers that a fit starts with."""
        if isinstance(self.multipliers, str):
            scores = cosine_logits(problem.X, problem.prior_mean, problem.logit_scale)
            initial = clap_multipliers(scores, problem.y, problem.sample_weight)
            return multiplier_variant(initial, self.multipliers).clone()
        return one_per_class(self.multipliers, problem, self.classes_, "multipliers")

    def _wants_unit_prototypes(self) -> bool:
        return self.solver in ITERATIONS
