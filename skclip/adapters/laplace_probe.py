"""Laplace's approximation for a linear layer that starts at the text."""

import warnings
from numbers import Integral, Real

import torch
from sklearn.exceptions import ConvergenceWarning
from torch.nn import functional as F

from skclip._core.linear.objective import LinearProblem, Span, logits, solve_map
from skclip._core.methods.laplace_probe import (
    DenseCurvature,
    KroneckerCurvature,
    LogitPosterior,
    best_precision,
    evidence_mode,
    log_evidence,
    probit,
    support_log_likelihood,
)
from skclip._core.posterior.block import Frame
from skclip._core.posterior.cosine import fit_cosine_map
from skclip._core.posterior.draws import average, standard_normal
from skclip.adapters.linear import LinearAdapterClassifier, warn_unless_converged
from skclip.adapters.text_anchor import TextAnchorMixin
from skclip.adapters.uncertainty import UncertaintyMixin
from skclip.utils.random_state import integer_seed, torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions, fit_context

__all__ = ["LaplaceProbeClassifier"]

# Rows of the matrix that covariance="full" takes apart: 32 MiB in float64.
_LARGEST_MATRIX = 2048
# Of the log precision, when the search for it ends without having settled.
_SETTLED = 1e-3


class LaplaceProbeClassifier(UncertaintyMixin, TextAnchorMixin, LinearAdapterClassifier):
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
        Text prototypes, the prior mean; zero without them, for ``solver="lbfgs"``.
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
    n_posterior_samples : int, default=32
        Draws of ``predictive="samples"``, ``predict_uncertainty`` and ``sample_proba``.
    solver : {"lbfgs", "sgd"}, default="lbfgs"
        Where W comes from. "lbfgs" solves for the posterior mode (by Newton's method with
        conjugate gradients), with "auto" together with the precision. "sgd" is ZS-LP, the
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
        "lbfgs" stops when ``gradient_norm_`` is at most this.
    learning_rate : float, default=0.1
        First rate of "sgd".
    batch_size : int, default=256
        Of "sgd".
    random_state : int, RandomState or None, default=None
        Shuffles of "sgd", and draws of the posterior.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features)
        W, the mean of the posterior.
    intercept_ : ndarray of shape (n_classes,)
        Zeros.
    prior_precision_ : float
    log_evidence_ : float
        Laplace's log marginal likelihood of the support set.
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
        "solver": [StrOptions({"lbfgs", "sgd"})],
        **TextAnchorMixin._recipe_constraints,
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes=None,
        *,
        covariance="kronecker",
        prior_precision="auto",
        predictive="samples",
        posterior_temperature=1.0,
        n_posterior_samples=32,
        solver="lbfgs",
        logit_scale="auto",
        normalize="auto",
        prototype_norm=None,
        max_iter=None,
        tol=1e-6,
        learning_rate=0.1,
        batch_size=256,
        random_state=None,
        device="auto",
        verbose=0,
    ):
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

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
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
            task = self._prepare_near_text(X, y, sample_weight)
        else:
            task = self._prepare(X, y, sample_weight)
        size = task.n_classes * min(task.X.shape)
        if self.covariance == "full" and size > _LARGEST_MATRIX:
            raise ValueError(
                "covariance='full' needs classes times min(n_samples, n_features) to be at most "
                f"{_LARGEST_MATRIX}; got {size}. Pass covariance='kronecker'."
            )
        mean = F.normalize(task.prior_mean, dim=1) if self._normalize else task.prior_mean
        # Where the search begins: weak on unit rows at CLIP's scale, 1 on plain features.
        guess = 1.0 if task.prototypes is None else 0.01 * task.logit_scale**2
        given = guess if self.prior_precision == "auto" else float(self.prior_precision)
        problem = LinearProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=mean,
            prior_precision=mean.new_full((task.n_classes,), given),
            logit_scale=task.logit_scale,
        )
        span = Span.of(problem)
        fit_weights = self._fit_recipe if self.solver == "sgd" else self._fit_mode
        self.prior_precision_, W = fit_weights(task, problem, span)
        self._store_posterior(problem, span, W)
        return self

    def _curvature_at(self, problem, span, W):
        scores = problem.logit_scale * (problem.X @ W.T)
        kind = KroneckerCurvature if self.covariance == "kronecker" else DenseCurvature
        P = torch.softmax(scores, dim=1)
        return kind.at(P, problem.sample_weight, span.Z, problem.logit_scale)

    def _fit_mode(self, task, problem, span):
        """(prior precision, posterior mode)."""
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
        self.n_iter_ = max(1, solution.n_iter)
        self.gradient_norm_ = solution.gradient_norm
        self._store_linear(solution.W)
        return precision, solution.W

    def _fit_recipe(self, task, problem, span):
        """(prior precision, weights of ZS-LP)."""
        recipe = self._recipe()
        W, _ = fit_cosine_map(
            self._cosine_problem(task),
            recipe,
            torch_generator(self.random_state),
            callback=self._progress(recipe),
        )
        self._store_trained(W, recipe)
        W = F.normalize(W, dim=1)
        if self.prior_precision != "auto":
            return float(self.prior_precision), W
        distance = float((W - problem.prior_mean).double().square().sum())
        values = self._curvature_at(problem, span, W).values
        return best_precision(values, distance, problem.logit_scale), W

    def _store_posterior(self, problem, span, W):
        curvature = self._curvature_at(problem, span, W)
        self._sampling_seed = integer_seed(self.random_state)
        self._basis = span.basis.cpu().numpy()
        self._root = curvature.root(self.prior_precision_).cpu().numpy()
        kronecker = self.covariance == "kronecker"
        self._class_axes = curvature.axes.cpu().numpy() if kronecker else None
        self.log_evidence_ = log_evidence(
            support_log_likelihood(problem, W),
            curvature.values,
            float((W - problem.prior_mean).double().square().sum()),
            self.prior_precision_,
        )

    def _wants_unit_prototypes(self):
        return self.solver == "lbfgs"

    # -- predicting -----------------------------------------------------------------

    def _posterior(self, like):
        def tensor(array):
            return None if array is None else torch.tensor(array).to(like)

        return LogitPosterior(
            root=tensor(self._root),
            axes=tensor(self._class_axes),
            precision=self.prior_precision_,
            logit_scale=self.logit_scale_,
            temperature=self.posterior_temperature,
        )

    def _coordinates(self, X):
        basis = torch.tensor(self._basis).to(X)
        return Frame(basis, None, torch.zeros_like(X[0]), False).coordinates(X)

    def _log_proba(self, X):
        if self.predictive == "samples":
            draws = self._logit_draws(X, self.n_posterior_samples, self._sampling_seed)
            return average(draws)
        return probit(self._mean_logits(X), self._posterior(X).variance(*self._coordinates(X)))

    def _has_spread(self):
        return True

    def _logit_draws(self, X, n_samples, seed):
        noise = standard_normal(n_samples, len(self.classes_), seed)
        coordinates = self._coordinates(X)
        return self._posterior(X).draws(self._mean_logits(X), *coordinates, noise)

    def _mean_logits(self, X):
        W = torch.tensor(self.coef_).to(X)
        return logits(X, W, torch.zeros_like(W[:, 0]), self.logit_scale_)
