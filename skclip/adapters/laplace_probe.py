"""Laplace's approximation for a linear layer that starts at the text."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from torch.nn import functional as F

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import solve_map
from skclip._core.linear.span import Span
from skclip._core.methods.laplace_probe import (
    DenseCurvature,
    KroneckerCurvature,
    LaplaceProbeModel,
    LogitPosterior,
    best_precision,
    evidence_mode,
    log_evidence,
    support_log_likelihood,
)
from skclip._core.model import Averaging
from skclip._core.posterior.block import Frame
from skclip._core.posterior.cosine import fit_cosine_map
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method, warn_unless_converged
from skclip.adapters.near_text import convergence, cosine_problem
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.adapters.uncertainty import UncertaintyMixin
from skclip.utils.random_state import integer_seed, torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["LaplaceProbeClassifier"]

# Rows of the matrix that covariance="full" takes apart: 32 MiB in float64.
_LARGEST_MATRIX = 2048
# Of the log precision, when the search for it ends without having settled.
_SETTLED = 1e-3


class LaplaceProbeClassifier(UncertaintyMixin, LinearAdapterClassifier):
    r"""Last-layer Laplace: a Gaussian posterior around a linear probe, jointly over classes.

    The linear layer has the prior :math:`w_c \sim N(t_c, I / \lambda)` around the text, and
    around its weights W the posterior

    .. math::
        \mathrm{vec}(W') \sim N\left(\mathrm{vec}(W), (G + \lambda I)^{-1}\right), \qquad
        G = \tau^2 \sum_n a_n (\mathrm{diag}(p_n) - p_n p_n^\top) \otimes x_n x_n^\top .

    It is the usual way to make a network Bayesian after training (Daxberger et al. [1]_), and
    unlike that of :class:`BayesAdapterClassifier` it keeps the correlations between classes.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes, the prior mean; zero without them, for ``solver="newton-cg"``.
    covariance : {"kronecker", "full"}, default="kronecker"
        "kronecker" replaces G by :math:`B \otimes A`, the product of the means over rows [2]_.
        "full" keeps it, for classes times ``min(n_samples, n_features)`` up to 2048.
    prior_precision : "auto" or float, default="auto"
        :math:`\lambda`, inverse squared weight units. "auto" maximises Laplace's marginal
        likelihood, as MacKay does [3]_; it needs no validation data.
    predictive : {"samples", "probit"}, default="samples"
        "samples" averages the probabilities of drawn logits. "probit" divides the logit of
        class c by :math:`\sqrt{1 + \pi v_c / 8}`, with its variance :math:`v_c` after the part
        that all classes share, which the softmax ignores, is taken out. It draws nothing, but
        ignores correlations and can change the predicted class.
    posterior_temperature : float, default=1.0
        Multiplies the covariance; 1 is the posterior, less is a colder one.
    n_posterior_samples : int, default=256
        Draws of ``predictive="samples"``, ``predict_uncertainty`` and ``sample_proba``.
    solver : {"newton-cg", "sgd"}, default="newton-cg"
        Where W comes from. "newton-cg" solves for the posterior mode, by Newton's method with
        conjugate gradients, with "auto" together with the precision. "sgd" is ZS-LP, the
        field's recipe without a penalty, whose unit-norm weights are taken for the mode.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else 100),
        and 1 without prototypes.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does with prototypes.
    prototype_norm : float or None, default=None
        For "sgd": norm of the weights at the start, which fixes how far a step moves them.
        None is 8.8, typical of CLIP's raw embeddings, if the prototypes are unit vectors.
    max_iter : int or None, default=None
        Newton iterations (None: 100) or epochs of "sgd" (None: 300).
    tol : float, default=1e-6
        "newton-cg" stops when ``gradient_norm_`` is at most this.
    learning_rate : float, default=0.1
        First rate of "sgd".
    batch_size : int, default=256
        Of "sgd".
    random_state : int, RandomState or None, default=None
        Shuffles of "sgd", and draws of the posterior.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_features)
        W, the mean of the posterior.
    coef_ : ndarray of shape (n_classes, n_features), (1, n_features) for two classes
        ``logit_scale_ * prototypes_``; of two classes the difference.
    intercept_ : ndarray of shape (n_classes,), (1,) for two classes
        Zeros.
    prior_precision_ : float
    log_evidence_ : float
        Laplace's log marginal likelihood of the support set.
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality of "newton-cg": the largest class-wise norm of the gradient in
        the scaled weights :math:`\tau W`, over the sum of the sample weights.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    BayesAdapterClassifier : One covariance per class, and a temperature of the posterior that
        leave-one-out chooses.

    Notes
    -----
    On real CLIP features the marginal likelihood chooses a firm prior, at one shot often the
    text itself, and the weights of "sgd", which are no mode, come with a posterior so wide that
    predictions are far too timid: that averaging over all of the posterior costs calibration is
    the cold-posterior effect.

    "kronecker" costs one eigenproblem of size c and stores :math:`c^2 + c r + d r` numbers for r
    the rank of X. "full" costs one of size c r for every precision that is tried, and stores
    :math:`c^2 r^2`.

    References
    ----------
    .. [1] E. Daxberger, A. Kristiadi, A. Immer, R. Eschenhagen, M. Bauer, P. Hennig, "Laplace
       redux: effortless Bayesian deep learning", NeurIPS 2021.
    .. [2] H. Ritter, A. Botev, D. Barber, "A scalable Laplace approximation for neural
       networks", ICLR 2018.
    .. [3] D. J. C. MacKay, "Bayesian interpolation", Neural Computation 1992.

    Examples
    --------
    >>> from skclip import LaplaceProbeClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 5, random_state=0)
    >>> probe = LaplaceProbeClassifier(data.prototypes, random_state=0).fit(data.X, data.y)
    >>> probe.sample_proba(data.X_test, n_samples=10).shape
    (10, 250, 5)
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "covariance": [StrOptions({"kronecker", "full"})],
        "prior_precision": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "predictive": [StrOptions({"samples", "probit"})],
        "posterior_temperature": [Interval(Real, 0, None, closed="neither")],
        "n_posterior_samples": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions({"newton-cg", "sgd"})],
        **RECIPE_CONSTRAINTS,
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        covariance: str = "kronecker",
        prior_precision: str | float = "auto",
        predictive: str = "samples",
        posterior_temperature: float = 1.0,
        n_posterior_samples: int = 256,
        solver: str = "newton-cg",
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
        self.covariance = covariance
        self.prior_precision = prior_precision
        self.predictive = predictive
        self.posterior_temperature = posterior_temperature
        self.n_posterior_samples = n_posterior_samples
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
        """Fit the weights and the posterior around them.

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
        self : LaplaceProbeClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If "sgd" has no prototypes, or the problem is too large for ``covariance="full"``.
        """
        if self.solver == "sgd":
            self._check_has_text()
        problem = self._check(X, y, sample_weight)
        size = problem.n_classes * min(problem.X.shape)
        if self.covariance == "full" and size > _LARGEST_MATRIX:
            raise ValueError(
                "covariance='full' needs classes times min(n_samples, n_features) to be at most "
                f"{_LARGEST_MATRIX}; got {size}. Pass covariance='kronecker'."
            )
        mean = F.normalize(problem.prior_mean, dim=1) if self.normalize_ else problem.prior_mean
        # Where the search begins: weak on unit rows at CLIP's scale, 1 on plain features.
        guess = 0.01 * problem.logit_scale**2 if problem.has_text else 1.0
        given = guess if self.prior_precision == "auto" else float(self.prior_precision)
        linear = LinearProblem.of(
            problem, prior_mean=mean, prior_precision=mean.new_full((problem.n_classes,), given)
        )
        span = Span.of(linear)
        if self.solver == "sgd":
            precision, W, fitted = self._fit_recipe(problem, linear, span)
        else:
            precision, W, fitted = self._fit_mode(linear, span)
        curvature = self._curvature_at(linear, span, W)
        model = LaplaceProbeModel(
            W=W,
            frame=Frame(span.basis, None, torch.zeros_like(problem.X[0]), False),
            posterior=LogitPosterior(
                root=curvature.root(precision),
                axes=curvature.axes if self.covariance == "kronecker" else None,
                precision=precision,
                logit_scale=problem.logit_scale,
                temperature=float(self.posterior_temperature),
            ),
            logit_scale=problem.logit_scale,
            predictive=self.predictive,
            averaging=Averaging(self.n_posterior_samples, integer_seed(self.random_state)),
        )
        evidence = log_evidence(
            support_log_likelihood(linear, W),
            curvature.values,
            float((W - mean).double().square().sum()),
            precision,
        )
        return self._publish(model, prior_precision_=precision, log_evidence_=evidence, **fitted)

    def _curvature_at(
        self, problem: LinearProblem, span: Span, W: torch.Tensor
    ) -> KroneckerCurvature | DenseCurvature:
        kind = KroneckerCurvature if self.covariance == "kronecker" else DenseCurvature
        return kind.at(problem, span, W)

    def _fit_mode(
        self, problem: LinearProblem, span: Span
    ) -> tuple[float, torch.Tensor, dict[str, Any]]:
        """Prior precision, posterior mode, and how good that is."""
        max_iter = self.max_iter or 100
        if self.prior_precision == "auto":
            precision, solution, gap = evidence_mode(
                problem,
                span,
                lambda W: self._curvature_at(problem, span, W),
                tol=self.tol,
                max_iter=max_iter,
            )
            if abs(gap) > _SETTLED:
                warnings.warn(
                    "The search for prior_precision stopped before it settled: its logarithm "
                    f"was to change by another {gap:.2g}. Pass a number as prior_precision.",
                    ConvergenceWarning,
                    stacklevel=3,
                )
        else:
            precision = float(self.prior_precision)
            solution = solve_map(problem, tol=self.tol, max_iter=max_iter, span=span)
        warn_unless_converged(solution, self.tol)
        return precision, solution.W, convergence(solution)

    def _fit_recipe(
        self, problem: Problem, linear: LinearProblem, span: Span
    ) -> tuple[float, torch.Tensor, dict[str, Any]]:
        """Prior precision, weights of ZS-LP, and epochs."""
        recipe = recipe_of(self)
        W, _ = fit_cosine_map(
            cosine_problem(problem, self.prototype_norm),
            recipe,
            torch_generator(self.random_state),
            callback=progress_bar(self, recipe),
        )
        W = F.normalize(W, dim=1)
        fitted = {"n_iter_": recipe.epochs}
        if self.prior_precision != "auto":
            return float(self.prior_precision), W, fitted
        distance = float((W - linear.prior_mean).double().square().sum())
        values = self._curvature_at(linear, span, W).values
        return best_precision(values, distance, problem.logit_scale), W, fitted

    def _wants_unit_prototypes(self) -> bool:
        return self.solver != "sgd"
