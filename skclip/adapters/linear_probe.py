"""Linear probes on frozen features: from zero, from text or from a random start."""

import math
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.posterior.cosine import CosineProblem, fit_cosine_map
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method
from skclip.adapters.near_text import cosine_model, solve_convex, start_at
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.utils.random_state import torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["LinearProbeClassifier"]


class LinearProbeClassifier(LinearAdapterClassifier):
    r"""Linear probe: cross-entropy in a linear layer over frozen features.

    Unless `solver` is "sgd" the weights minimise, to the optimum,

    .. math::
        -\sum_n a_n \log \mathrm{softmax}_{y_n}(\tau W x_n + b)
        + \frac{1}{2C} \sum_c \|w_c - w_c^0\|^2

    where `init` says what :math:`W^0` is. For zeros this is scikit-learn's LogisticRegression
    on the features :math:`\tau x`; for the text, :class:`BayesAdapterClassifier` with an
    isotropic prior of precision :math:`1 / C`; for random numbers, a member of an anchored
    ensemble [2]_.

    With ``solver="sgd"`` the recipe of the field's comparisons trains cosine logits
    :math:`\tau \langle x, w_c \rangle / \|w_c\|` from :math:`W^0` on the cross-entropy alone,
    for a fixed number of epochs. From the text it is the ZS-LP of Silva-Rodriguez et
    al. [1]_, from random numbers the linear probe that they compare it with.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. Unless ``init="prototypes"`` only their classes, scale and
        normalisation matter. Needed for ``init="prototypes"`` and for ``solver="sgd"``.
    C : float, default=1.0
        Inverse strength of the penalty, as in LogisticRegression; not for "sgd".
    init : {"zeros", "prototypes", "random"}, default="zeros"
        :math:`W^0`, which the penalty measures distances from and "sgd" starts at. "random" is
        Kaiming's normal distribution, of variance :math:`2 / d`, as in the field's code. "zeros"
        has no direction, so that "sgd" cannot start there.
    solver : {"auto", "newton-cg", "lbfgs", "sgd"}, default="auto"
        "newton-cg" and "lbfgs" solve the penalised convex problem to its optimum; as in
        :class:`BayesAdapterClassifier`, by Newton's method with conjugate gradients, which
        is faster here. "sgd" is the recipe: momentum 0.9, cosine decay, no penalty. "auto" is
        "newton-cg" for ``init="zeros"``, else "sgd".
    fit_intercept : "auto" or bool, default="auto"
        Add an unpenalised bias; not for "sgd". "auto" does without prototypes.
    class_weight : dict, "balanced" or None, default=None
        As in LogisticRegression.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else
        100), and 1 without prototypes.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does with prototypes.
    prototype_norm : float or None, default=None
        For ``init="prototypes"`` and "sgd": rescale prototypes to this norm, which fixes how
        far a step of the recipe moves them. CLIP's raw text embeddings have about 8.8.
    max_iter : int or None, default=None
        Newton iterations (None: 100) or epochs of SGD (None: 300).
    tol : float, default=1e-6
        "newton-cg" and "lbfgs" stop when ``gradient_norm_`` is at most this.
    learning_rate : float, default=0.1
        First rate of "sgd".
    batch_size : int, default=256
        Of "sgd".
    random_state : int, RandomState or None, default=None
        The random start, and shuffles of "sgd".
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features)
        Weights; for "sgd" of unit norm, so that logits are ``logit_scale_`` times the
        cosine.
    intercept_ : ndarray of shape (n_classes,)
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality where the problem is convex: the largest class-wise norm of
        the gradient in the scaled weights :math:`\tau W`, over the sum of the sample weights.
    prior_precision_ : ndarray of shape (n_classes,)
        1 / C, in inverse squared weight units; where the problem is convex.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    Notes
    -----
    With two classes ``coef_`` has two rows, and the penalty is on both: LogisticRegression,
    which keeps the difference only, agrees when its C is twice this one.

    References
    ----------
    .. [1] J. Silva-Rodriguez, S. Hajimiri, I. Ben Ayed, J. Dolz, "A closer look at the few-shot
       adaptation of large vision-language models", CVPR 2024.
    .. [2] T. Pearce, F. Leibfried, A. Brintrup, M. Zaki, A. Neely, "Uncertainty in neural
       networks: approximately Bayesian ensembling", AISTATS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skclip import LinearProbeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> round(LinearProbeClassifier().fit(X, y).score(X, y), 3)
    0.973
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "C": [Interval(Real, 0, None, closed="neither")],
        "init": [StrOptions({"zeros", "prototypes", "random"})],
        "solver": [StrOptions({"auto", "newton-cg", "lbfgs", "sgd"})],
        "fit_intercept": [StrOptions({"auto"}), "boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **RECIPE_CONSTRAINTS,
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        C: float = 1.0,
        init: str = "zeros",
        solver: str = "auto",
        fit_intercept: str | bool = "auto",
        class_weight: dict | str | None = None,
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
        self.C = C
        self.init = init
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
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
        """Fit the probe.

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
        self : LinearProbeClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `init` or `solver` need prototypes and there are none, or "sgd" is to start at
            zeros.
        """
        solver = self._resolve_solver()
        self._check_combination(solver)
        problem = self._check(X, y, sample_weight, self.class_weight)
        generator = torch_generator(self.random_state)
        if solver == "sgd":
            return self._fit_recipe(problem, generator)
        with_bias = not problem.has_text if self.fit_intercept == "auto" else self.fit_intercept
        origin = self._origin(problem, generator)
        convex = LinearProblem.of(
            problem,
            prior_mean=origin,
            prior_precision=origin.new_full((problem.n_classes,), 1.0 / self.C),
            bias_variance=math.inf if with_bias else 0.0,
        )
        model, fitted = solve_convex(convex, solver, self.max_iter, self.tol)
        return self._publish(model, **fitted)

    def _resolve_solver(self) -> str:
        if self.solver == "auto":
            return "newton-cg" if self.init == "zeros" else "sgd"
        return self.solver

    def _check_combination(self, solver: str) -> None:
        if self.init == "zeros" and solver == "sgd":
            raise ValueError(
                "solver='sgd' trains the directions of the weights, and init='zeros' has none. "
                "Pass init='random' or 'prototypes', or solver='newton-cg'."
            )
        if self.prototypes is not None:
            return
        if self.init == "prototypes":
            raise ValueError(
                "init='prototypes' starts at the text prototypes; got prototypes=None. Pass "
                "prototypes, or init='zeros'."
            )
        if solver == "sgd":
            raise ValueError(
                "solver='sgd' trains cosine logits at the scale of the text; got prototypes=None. "
                "Pass prototypes, or solver='newton-cg'."
            )

    def _origin(self, problem: Problem, generator: torch.Generator) -> torch.Tensor:
        """(c, d) the weights that `init` names."""
        if self.init == "prototypes":
            return problem.prior_mean
        shape = (problem.n_classes, problem.X.shape[1])
        if self.init == "zeros":
            return problem.X.new_zeros(shape)
        # On the CPU in float64, so that every device starts alike.
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (draw * math.sqrt(2.0 / shape[1])).to(problem.X)

    def _fit_recipe(self, problem: Problem, generator: torch.Generator) -> Self:
        if self.init == "prototypes":
            start = start_at(problem, self.prototype_norm)
        else:
            start = self._origin(problem, generator)
        recipe = recipe_of(self)
        W, _ = fit_cosine_map(
            CosineProblem.of(problem, prior_mean=start, prior_std=start.new_ones(len(start))),
            recipe,
            generator,
            callback=progress_bar(self, recipe),
        )
        return self._publish(cosine_model(problem, W), n_iter_=recipe.epochs)
