"""Task residual tuning."""

from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn import functional as F

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.posterior.cosine import fit_cosine_map
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method
from skclip.adapters.near_text import (
    ITERATIONS,
    cosine_model,
    cosine_problem,
    linear_model,
    raw_start,
    solve_convex,
)
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.utils.random_state import torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["TaskResClassifier"]

_LEARNING_RATE = {"sgd": 0.1, "adam": 2e-3}
# The published number of epochs, up to four rows per class and above.
_FEW_ROWS = 4
_ADAM_EPOCHS = {True: 100, False: 200}


class TaskResClassifier(LinearAdapterClassifier):
    r"""TaskRes: text prototypes plus a scaled residual that is learned.

    Task residual tuning (Yu et al. [1]_) classifies with

    .. math::
        w_c = t_c + \alpha r_c

    and trains the residuals from :math:`r_c = 0` on the mean cross-entropy plus the weight
    decay :math:`\frac{\omega}{2} \|R\|^2`, at the norm that the text encoder gives
    :math:`t_c`. The weight decay is a Gaussian prior of precision
    :math:`n \omega / \alpha^2` around the text.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. The rows of an array belong to the sorted labels of `y`.
    alpha : float, default=0.5
        Scale :math:`\alpha` of the residual; 0 is the zero-shot classifier.
    weight_decay : float, default=5e-4
        :math:`\omega`, non-negative; positive for "lbfgs" and "newton-cg", which have no
        finite optimum without it.
    solver : {"lbfgs", "newton-cg", "adam", "sgd"}, default="lbfgs"
        "lbfgs" and "newton-cg" take the logits :math:`\tau \langle x, w_c \rangle / \|t_c\|`,
        for which the problem is convex, and solve it to its optimum, the latter to more digits
        if `tol` asks for them. The others train cosine logits, which divide by
        :math:`\|w_c\|`, for a fixed number of epochs with cosine decay: "adam" is the
        published recipe, "sgd" (momentum 0.9) that of later comparisons, there with
        ``weight_decay=0``.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from cosine to logit. "auto" is the prototypes' (else 100).
    normalize : "auto" or bool, default="auto"
        Scale rows of X to unit norm; "auto" does. When False, logits are
        :math:`\tau \langle x, w_c \rangle` in the convex problem.
    prototype_norm : float or None, default=None
        Norm of the text to which residuals are added: the penalty on the direction of
        :math:`w_c` grows with its square. None is the norm that the prototypes have, or 8.8,
        typical of CLIP's raw embeddings, if they are unit vectors.
    max_iter : int or None, default=None
        Iterations of "lbfgs" (None: 1000) or "newton-cg" (None: 100), epochs of "sgd" (None:
        300) or "adam" (None: 100 for up to 4 rows per class on average, else 200, as
        published).
    tol : float, default=1e-6
        An optimum is reached when ``gradient_norm_`` is at most this.
    learning_rate : float or None, default=None
        First rate of "sgd" (None: 0.1) or "adam" (None: 0.002).
    batch_size : int, default=256
        Of "sgd" and "adam".
    random_state : int, RandomState or None, default=None
        Shuffles of "sgd" and "adam".
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
        Weights: :math:`w_c / \|t_c\|` at an optimum, :math:`w_c / \|w_c\|` by a recipe.
    intercept_ : ndarray of shape (n_classes,)
        Zeros.
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality, not for recipes: the largest class-wise norm of the gradient
        in the scaled weights :math:`\tau W`, over the sum of the sample weights.
    prior_precision_ : ndarray of shape (n_classes,)
        What pulls each class to its text, in inverse squared weight units; not for recipes.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    BayesAdapterClassifier : The same prior with a precision chosen from the support set.

    Notes
    -----
    At the optimum only the ratio of `weight_decay` to the square of `alpha` matters, with
    "sgd" and no weight decay only the product of `learning_rate` and that square.

    The optimum is the default because it needs no early stopping and has, on most real
    features, a lower log-loss than the last iterate of either recipe.

    References
    ----------
    .. [1] T. Yu, Z. Lu, X. Jin, Z. Chen, X. Wang, "Task residual for tuning vision-language
       models", CVPR 2023.

    Examples
    --------
    >>> from skclip import TaskResClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> classifier = TaskResClassifier(data.prototypes).fit(data.X, data.y)
    >>> classifier.gradient_norm_ <= 1e-6
    True
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"lbfgs", "newton-cg", "adam", "sgd"})],
        **RECIPE_CONSTRAINTS,
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        alpha: float = 0.5,
        weight_decay: float = 5e-4,
        solver: str = "lbfgs",
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        prototype_norm: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-6,
        learning_rate: float | None = None,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.alpha = alpha
        self.weight_decay = weight_decay
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
        """Fit the residuals.

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
        self : TaskResClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None or has a zero row, or there is no weight decay for an
            optimum.
        """
        if self.solver in ITERATIONS and self.weight_decay == 0:
            raise ValueError(
                f"solver={self.solver!r} needs a positive weight_decay, without which separable "
                "classes have no finite optimum; got 0. Pass a positive number, or solver='sgd'."
            )
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        if self.solver in ITERATIONS:
            return self._fit_optimum(problem)
        recipe = recipe_of(self, **self._published(problem))
        W, _ = fit_cosine_map(
            cosine_problem(problem, self.prototype_norm),
            recipe,
            torch_generator(self.random_state),
            residual_scale=self.alpha,
            callback=progress_bar(self, recipe),
        )
        return self._publish(cosine_model(problem, W), n_iter_=recipe.epochs)

    def _fit_optimum(self, problem: Problem) -> Self:
        text = raw_start(problem, self.prototype_norm)
        start = F.normalize(text, dim=1) if self.normalize_ else problem.prior_mean
        if self.alpha == 0:  # a prior of infinite precision
            return self._publish(linear_model(problem, start), n_iter_=1, gradient_norm_=0.0)
        # Weights are those of `start`; residuals are measured at the norm of `text`.
        stretch = text.norm(dim=1) / start.norm(dim=1)
        precision = float(problem.sample_weight.sum()) * self.weight_decay / self.alpha**2
        convex = LinearProblem.of(
            problem, prior_mean=start, prior_precision=precision * stretch.square()
        )
        model, fitted = solve_convex(convex, self.solver, self.max_iter, self.tol)
        return self._publish(model, **fitted)

    def _published(self, problem: Problem) -> dict[str, Any]:
        """What the recipe of `solver` adds to the parameters."""
        rate = self.learning_rate or _LEARNING_RATE[self.solver]
        settings: dict[str, Any] = {"learning_rate": rate, "weight_decay": self.weight_decay}
        if self.solver == "adam":
            rows = len(problem.y) / len(problem.y.unique())
            epochs = self.max_iter or _ADAM_EPOCHS[rows <= _FEW_ROWS]
            settings |= {"optimizer": "adam", "epochs": epochs}
        return settings

    def _wants_unit_prototypes(self) -> bool:
        return False
