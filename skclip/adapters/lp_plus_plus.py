"""LP++: a linear probe that blends image and text class by class."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from skclip._core.methods.lp_plus_plus import Blend, descend, solve_blend
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method, warn_unless_converged
from skclip.adapters.near_text import linear_model
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["LPPlusPlusClassifier"]

_MAX_ITER = {"lbfgs": 1000, "newton-cg": 100, "mm": 300}


class LPPlusPlusClassifier(LinearAdapterClassifier):
    r"""LP++: a linear probe plus the text logits, with a learned multiplier per class.

    .. math::
        z_c(x) = \langle x, w_c \rangle + b_c + \alpha_c \langle x, t_c \rangle

    (Huang et al. [1]_). The cross-entropy is jointly convex in weights, biases and
    multipliers, and has no minimum where the support can be separated. The published method
    stops early (``solver="mm"``). The default finds the optimum of

    .. math::
        -\sum_n a_n \log \mathrm{softmax}_{y_n} z(x_n) + \tfrac12 \sum_c \left(
        \lambda \frac{\|w_c\|^2 + b_c^2}{\tau^2}
        + \rho \left(\frac{\alpha_c}{\tau} - 1\right)^2 \right),

    a Gaussian prior whose mean is zero-shot classification.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. The rows of an array belong to the sorted labels of `y`.
    solver : {"lbfgs", "newton-cg", "mm"}, default="lbfgs"
        "lbfgs" and "newton-cg" solve the penalised problem to its optimum; the latter reaches
        smaller tolerances. "mm" is the published block-coordinate majorise-minimise descent
        of the mean cross-entropy without penalty: full batches and step sizes from Lipschitz
        constants, for `max_iter` iterations.
    prior_precision : float, default=30.0
        :math:`\lambda`, in inverse squared units of :math:`w / \tau`, positive; not for "mm".
        Larger values keep closer to the blended text.
    multiplier_precision : float, default=10.0
        :math:`\rho`, inverse variance of the relative change of a multiplier, positive; not
        for "mm".
    logit_scale : "auto" or float, default="auto"
        :math:`\tau`; "auto" takes it from the prototypes' model, else 100. "mm" does not
        depend on it.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does.
    max_iter : int or None, default=None
        Most iterations of "lbfgs" (None: 1000) and "newton-cg" (None: 100); number of those
        of "mm" (None: 300).
    tol : float, default=1e-6
        The solver stops when ``gradient_norm_`` is at most this; not for "mm".
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over iterations of "mm".

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_features)
        :math:`(w_c + \alpha_c t_c) / \tau`.
    coef_ : ndarray of shape (n_classes, n_features), (1, n_features) for two classes
        ``logit_scale_ * prototypes_``; of two classes the difference.
    intercept_ : ndarray of shape (n_classes,), (1,) for two classes
    alpha_ : ndarray of shape (n_classes,)
        Multipliers of the text.
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality, not for "mm": the largest class-wise norm of the gradient in
        :math:`(w_c, b_c, \alpha_c)`, over the sum of the sample weights.
    loss_curve_ : ndarray of shape (n_steps + 1,)
        For "mm": the mean cross-entropy, which never rises.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    Notes
    -----
    "mm" starts where the published code does: weights are the sums of each class's rows, every
    multiplier is 250 times the mean cosine of images with their text; biases start at 0, there
    at random. A step is 4 n over the largest eigenvalue of :math:`Z^\top Z` for
    weights and biases, in which Z has the biases' column of ones, and
    :math:`n / (4 \max_c \sum_i \langle x_i, t_c \rangle^2)` for the multipliers, in every tenth
    iteration. The published code adds momentum, which gives up the monotone decrease, and
    keeps the iterate that is best on a validation set; both are left out.

    The cost is O(n d c) per iteration.

    References
    ----------
    .. [1] Y. Huang, F. Shakeri, J. Dolz, M. Boudiaf, H. Bahig, I. Ben Ayed, "LP++: a surprisingly
       strong linear probe for few-shot CLIP", CVPR 2024.

    Examples
    --------
    >>> from skclip import LPPlusPlusClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, n_classes=10, random_state=0)
    >>> classifier = LPPlusPlusClassifier(data.prototypes).fit(data.X, data.y)
    >>> classifier.alpha_.shape
    (10,)
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "solver": [StrOptions({"lbfgs", "newton-cg", "mm"})],
        "prior_precision": [Interval(Real, 0, None, closed="neither")],
        "multiplier_precision": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        solver: str = "lbfgs",
        prior_precision: float = 30.0,
        multiplier_precision: float = 10.0,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        max_iter: int | None = None,
        tol: float = 1e-6,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.solver = solver
        self.prior_precision = prior_precision
        self.multiplier_precision = multiplier_precision
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.verbose = verbose

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit weights, biases and multipliers.

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
        self : LPPlusPlusClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None.
        """
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        solve = self._descent if self.solver == "mm" else self._optimum
        blend, fitted = solve(problem)
        coef = blend.W + blend.alpha[:, None] * problem.prior_mean
        return self._publish(
            linear_model(problem, coef / problem.logit_scale, blend.b),
            alpha_=blend.alpha,
            n_iter_=max(1, blend.n_iter),
            **fitted,
        )

    def _optimum(self, problem: Problem) -> tuple[Blend, dict[str, Any]]:
        blend = solve_blend(
            problem,
            self.prior_precision,
            self.multiplier_precision,
            tol=self.tol,
            max_iter=self.max_iter or _MAX_ITER[self.solver],
            solver=self.solver,
        )
        warn_unless_converged(blend, self.tol)
        return blend, {"gradient_norm_": blend.gradient_norm}

    def _descent(self, problem: Problem) -> tuple[Blend, dict[str, Any]]:
        n_iter = self.max_iter or _MAX_ITER["mm"]
        with tqdm(total=n_iter, desc="LP++", unit="iteration", disable=not self.verbose) as bar:
            blend = descend(problem, n_iter, callback=lambda iteration, loss: bar.update(1))
        return blend, {"loss_curve_": np.array(blend.losses)}
