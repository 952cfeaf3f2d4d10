"""The Bayesian adapter."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone

from skclip._core.cosine import (
    CosinePosterior,
    CosineProblem,
    fit_cosine_posterior,
    sample_logits,
)
from skclip._core.evidence import plain_hyperprior, select, text_hyperprior
from skclip._core.linear import LinearProblem, Span, solve_map
from skclip._core.metric import support_metric
from skclip._core.sgd import Recipe
from skclip.classifiers._linear import (
    LinearAdapterClassifier,
    epoch_progress,
    warn_unless_converged,
)
from skclip.prompts import Prototypes
from skclip.utils._random import integer_seed, torch_generator
from skclip.utils._sklearn_compat import Interval, StrOptions, fit_context

__all__ = ["BayesAdapterClassifier"]

# Median norm of raw text embeddings of OpenAI's ViT-B/32 over the 1000 ImageNet names.
_RAW_TEXT_NORM = 8.8
_PAPER_PRIOR_STD = 0.01
_TEXT_BIAS_VARIANCE = 0.1


class BayesAdapterClassifier(LinearAdapterClassifier):
    r"""Bayesian few-shot adapter: a Gaussian prior around the text prototypes.

    The model of Morales-Alvarez et al. [1]_ is

    .. math::
        p(y = c \mid x, W) = \mathrm{softmax}_c(\tau \langle x, w_c \rangle), \qquad
        w_c \sim N(t_c, \lambda_c^{-1} I)

    so that the zero-shot classifier is the prior mean, and each labelled image moves the
    weights as far as the prior precision :math:`\lambda` allows. By default the weights
    are the maximum of the posterior, a convex problem that is solved to its optimum, and
    :math:`\lambda` and a temperature are chosen from the support set alone, by
    leave-one-out log-likelihood. :meth:`from_recipe` gives the paper's own configuration.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes, the prior mean. The rows of an array belong to the sorted labels
        of `y`. None puts the prior mean at zero: Bayesian multinomial logistic
        regression.
    prior_precision : "auto", float or array-like of shape (n_classes,), default="auto"
        Precision :math:`\lambda_c` of the prior, in inverse squared weight units; large
        values give the zero-shot classifier. "auto" chooses one for all classes by
        leave-one-out. With ``form="cosine"`` it must be given.
    temperature : "auto" or float, default="auto"
        Logits are divided by it. "auto" is fitted to the leave-one-out logits; 1 for
        ``form="cosine"``.
    prior_shape : {"adaptive", "isotropic"}, default="adaptive"
        Covariance of the prior in feature space. "isotropic" is the paper's
        :math:`I / \lambda_c`. "adaptive" is :math:`M M^\top / \lambda_c` with a metric M that
        trusts directions in which the texts differ more, and those in which images of
        one class differ less, and gives every class a small bias. Without prototypes it
        is isotropic.
    posterior : {"map", "variational"}, default="map"
        "map" predicts at the posterior mode; "variational" averages over a Gaussian
        posterior with one variance per class (``form="cosine"`` only).
    form : {"linear", "cosine"}, default="linear"
        "cosine" divides every :math:`w_c` by its norm, as the paper's code does. That
        problem is not convex and is trained by stochastic gradients.
    posterior_temperature : "paper" or float, default=1.0
        Weight :math:`\beta` of the Kullback-Leibler divergence in the variational bound; 1 is
        the true bound. "paper" is the recipe's much smaller weight :math:`n / (500 c d)`, ramped
        up linearly over the epochs.
    n_posterior_samples : int, default=10
        Draws that the predictions of ``posterior="variational"`` average.
    average : {"probabilities", "logits"}, default="probabilities"
        What is averaged over draws. The textbook form averages probabilities.
    fit_intercept : "auto" or bool, default="auto"
        Add a bias without prior. "auto" does without prototypes; with them the bias is that
        of `prior_shape`. Only ``form="linear"``.
    class_weight : dict, "balanced" or None, default=None
        As in LogisticRegression.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else
        100). Without prototypes it is one over the root mean square of the centred
        features, so that precisions do not depend on the unit of X.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does with prototypes. The
        cosine form keeps the norm of the prototypes, which scales its prior.
    prototype_norm : float or None, default=None
        Rescale the prototypes to this norm (``form="cosine"`` only).
    max_iter : int or None, default=None
        Newton iterations per fit (None: 100) or epochs of SGD (None: 300).
    tol : float, default=1e-6
        The solver stops when ``gradient_norm_`` is at most this.
    learning_rate : float, default=0.1
        First rate of SGD.
    batch_size : int, default=256
        Of SGD.
    random_state : int, RandomState or None, default=None
        Shuffles and draws.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        All classes that have a prototype, also those without an image.
    coef_ : ndarray of shape (n_classes, n_features)
        Posterior mode (linear form) or mean (cosine form) of the weights.
    intercept_ : ndarray of shape (n_classes,)
    logit_scale_ : float
    prior_precision_ : ndarray of shape (n_classes,)
    temperature_ : float
    loo_log_likelihood_ : float
        Mean leave-one-out log-likelihood of the support set under the chosen precision and
        temperature, in nats per unit of weight. Only when one of them was "auto".
    posterior_std_ : ndarray of shape (n_classes,)
        Standard deviation of each class's weights; only for ``posterior="variational"``.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality of the linear form: the largest class-wise norm of the
        gradient in the scaled weights :math:`\tau W`, over the sum of the sample weights.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    ZeroShotClassifier : The limit of large prior precision.
    LinearProbeClassifier : The same likelihood without the text prior.

    Notes
    -----
    A fit costs O(n d c) per product with the Hessian. "auto" solves one problem per candidate
    precision, warm-started, and needs one factorisation of size rank(X) per class and
    candidate. Work is in float64 on the CPU, in float32 on large problems and GPUs.

    References
    ----------
    .. [1] P. Morales-Alvarez, S. Christodoulidis, M. Vakalopoulou, P. Piantanida, J. Dolz,
       "BayesAdapter: enhanced uncertainty estimation in CLIP few-shot adaptation",
       arXiv 2412.09718.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip import BayesAdapterClassifier
    >>> text = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> X, y = [[0.9, 0.1], [0.7, 0.6], [0.2, 0.8]], ["cat", "dog", "dog"]
    >>> classifier = BayesAdapterClassifier(text, logit_scale=10).fit(X, y)
    >>> classifier.predict([[0.9, 0.2]])
    array(['cat'], dtype='<U3')
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "prior_precision": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
            "array-like",
        ],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "prior_shape": [StrOptions({"adaptive", "isotropic"})],
        "posterior": [StrOptions({"map", "variational"})],
        "form": [StrOptions({"linear", "cosine"})],
        "posterior_temperature": [
            StrOptions({"paper"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "n_posterior_samples": [Interval(Integral, 1, None, closed="left")],
        "average": [StrOptions({"probabilities", "logits"})],
        "fit_intercept": [StrOptions({"auto"}), "boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "prototype_norm": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        prototypes=None,
        *,
        prior_precision="auto",
        temperature="auto",
        prior_shape="adaptive",
        posterior="map",
        form="linear",
        posterior_temperature=1.0,
        n_posterior_samples=10,
        average="probabilities",
        fit_intercept="auto",
        class_weight=None,
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
        self.prior_precision = prior_precision
        self.temperature = temperature
        self.prior_shape = prior_shape
        self.posterior = posterior
        self.form = form
        self.posterior_temperature = posterior_temperature
        self.n_posterior_samples = n_posterior_samples
        self.average = average
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

    @classmethod
    def from_recipe(cls, name, prototypes, **changes):
        """A named configuration from the literature.

        Parameters
        ----------
        name : {"paper"}
            "paper": cosine form, isotropic posterior, prior standard deviation 0.01 on the
            scale of raw text embeddings, SGD for 300 epochs, 10 draws at prediction. Known from
            two independent ports of the authors' code.
        prototypes : array-like, Prototypes or ClassPrompts
            Text prototypes. ClassPrompts are asked for raw embeddings; unit-norm arrays are
            scaled to norm 8.8, the typical norm of the raw embeddings of OpenAI's ViT-B/32.
        **changes
            Parameters that replace those of the recipe.

        Returns
        -------
        BayesAdapterClassifier

        Examples
        --------
        >>> import numpy as np
        >>> from skclip import BayesAdapterClassifier
        >>> recipe = BayesAdapterClassifier.from_recipe("paper", np.eye(3), max_iter=50)
        >>> recipe.form, recipe.prior_precision, recipe.max_iter
        ('cosine', 10000.0, 50)
        """
        if name != "paper":
            raise ValueError(f"The recipes are: 'paper'; got {name!r}.")
        settings = {
            "form": "cosine",
            "posterior": "variational",
            "prior_precision": _PAPER_PRIOR_STD**-2,
            "temperature": 1.0,
            "posterior_temperature": "paper",
        }
        if hasattr(prototypes, "encode"):
            prototypes = clone(prototypes).set_params(normalize=False)
        elif _is_unit_norm(prototypes):
            settings["prototype_norm"] = _RAW_TEXT_NORM
        return cls(prototypes, **{**settings, **changes})

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Fit the posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features of the support set.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a weight of 2 is the row twice.

        Returns
        -------
        self : BayesAdapterClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If a parameter does not fit `form`, or a row of X to be normalised is zero.
        """
        self._check_combination()
        task = self._prepare(X, y, sample_weight, self.class_weight)
        if self.form == "cosine":
            return self._fit_cosine(task)
        return self._fit_linear(task)

    def _check_combination(self):
        if self.form == "linear":
            if self.posterior != "map":
                raise ValueError(
                    f"posterior={self.posterior!r} needs form='cosine'; got form='linear'. Pass "
                    "posterior='map', or use BayesAdapterClassifier.from_recipe('paper', ...)."
                )
            return
        if self.posterior == "map":
            raise ValueError(
                "form='cosine' is fitted by posterior='variational'; got posterior='map'. Pass "
                "form='linear' for the posterior mode."
            )
        if self.prototypes is None:
            raise ValueError(
                "form='cosine' needs prototypes, whose direction is its prior mean; got None. "
                "Pass prototypes, or form='linear'."
            )
        if isinstance(self.prior_precision, str):
            raise ValueError(
                "form='cosine' needs a prior_precision; got 'auto', which form='linear' has. The "
                "paper recipe uses 10000 with prototypes of norm 8.8."
            )

    def _wants_unit_prototypes(self):
        return self.form == "linear"

    def _logit_scale_without_text(self, X, sample_weight):
        centred = X - np.average(X, axis=0, weights=sample_weight)
        square = np.average(centred**2, weights=np.broadcast_to(sample_weight[:, None], X.shape))
        return 1.0 / np.sqrt(square) if square > 0 else 1.0

    # -- linear form ----------------------------------------------------------------

    def _fit_linear(self, task):
        adaptive = task.prototypes is not None and self.prior_shape == "adaptive"
        problem = LinearProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=task.prior_mean,
            prior_precision=self._given_precision(task),
            logit_scale=task.logit_scale,
            bias_variance=self._bias_variance(task),
            metric=support_metric(task.X, task.y, task.sample_weight, task.prototypes)
            if adaptive
            else None,
        )
        span = Span.of(problem)
        max_iter = self.max_iter or 100
        temperature = None if self.temperature == "auto" else float(self.temperature)
        search = isinstance(self.prior_precision, str)
        if search or temperature is None:
            choice = select(
                problem,
                span,
                hyperprior=plain_hyperprior()
                if task.prototypes is None
                else text_hyperprior(problem),
                search=search,
                temperature=temperature,
                groups=None,
                tol=self.tol,
                max_iter=max_iter,
            )
            solution, temperature = choice.solution, choice.temperature
            self.prior_precision_ = choice.prior_precision.cpu().numpy()
            self.loo_log_likelihood_ = choice.log_likelihood
        else:
            solution = solve_map(problem, tol=self.tol, max_iter=max_iter, span=span)
            self.prior_precision_ = problem.prior_precision.cpu().numpy()
        warn_unless_converged(solution, self.tol)
        self._store_linear(solution.W, solution.b, temperature)
        self.n_iter_ = max(1, solution.n_iter)
        self.gradient_norm_ = solution.gradient_norm
        return self

    def _bias_variance(self, task):
        """Prior variance of the bias at the support mean, in units of that of a weight."""
        if self.fit_intercept == "auto":
            if task.prototypes is None:
                return np.inf
            return _TEXT_BIAS_VARIANCE if self.prior_shape == "adaptive" else 0.0
        return np.inf if self.fit_intercept else 0.0

    def _given_precision(self, task):
        """(c,) prior precisions; ones where they are to be searched."""
        c = task.n_classes
        if isinstance(self.prior_precision, str):
            return task.X.new_ones(c)
        values = np.asarray(self.prior_precision, dtype=np.float64)
        if values.shape not in ((), (c,)):
            raise ValueError(
                "prior_precision must be a number or have one entry per class, shape "
                f"({c},); got shape {values.shape}."
            )
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(
                f"prior_precision must be positive and finite; got a smallest entry of "
                f"{values.min():g} and a largest of {values.max():g}."
            )
        return torch.tensor(
            np.broadcast_to(values, (c,)).copy(), dtype=task.X.dtype, device=task.X.device
        )

    # -- cosine form ----------------------------------------------------------------

    def _fit_cosine(self, task):
        prior_mean = task.prior_mean
        if self.prototype_norm is not None:
            prior_mean = prior_mean * (self.prototype_norm / prior_mean.norm(dim=1, keepdim=True))
        precision = self._given_precision(task)
        recipe = Recipe(self.max_iter or 300, self.batch_size, self.learning_rate)
        problem = CosineProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=prior_mean,
            prior_std=precision.rsqrt(),
            logit_scale=task.logit_scale,
        )
        posterior = fit_cosine_posterior(
            problem,
            recipe,
            torch_generator(self.random_state),
            kl_scale=self._kl_scale(task),
            callback=epoch_progress(recipe.epochs, self.verbose, "BayesAdapter"),
        )
        temperature = 1.0 if self.temperature == "auto" else self.temperature
        self._store_linear(posterior.mean, temperature=temperature)
        self.posterior_std_ = posterior.std.cpu().numpy()
        self.prior_precision_ = precision.cpu().numpy()
        self.n_iter_ = recipe.epochs
        self._sampling_seed = integer_seed(self.random_state)
        return self

    def _kl_scale(self, task):
        """What multiplies ``2 KL / (c d)`` next to the mean cross-entropy."""
        if self.posterior_temperature == "paper":
            return 1.0 / 1000.0
        c, d = task.prior_mean.shape
        return self.posterior_temperature * c * d / (2.0 * float(task.sample_weight.sum()))

    def _log_proba(self, X):
        if self.form == "linear":
            return super()._log_proba(X)
        posterior = CosinePosterior(
            mean=torch.tensor(self.coef_, dtype=X.dtype, device=X.device),
            std=torch.tensor(self.posterior_std_, dtype=X.dtype, device=X.device),
            loss=float("nan"),
        )
        generator = torch.Generator().manual_seed(self._sampling_seed)
        draws = sample_logits(X, posterior, self.logit_scale_, self.n_posterior_samples, generator)
        scores = (z / self.temperature_ for z in draws)
        if self.average == "logits":
            return torch.log_softmax(sum(scores) / self.n_posterior_samples, dim=1)
        log_probas = torch.stack([torch.log_softmax(z, dim=1) for z in scores])
        return torch.logsumexp(log_probas, dim=0) - np.log(self.n_posterior_samples)


def _is_unit_norm(prototypes):
    vectors = prototypes.vectors if isinstance(prototypes, Prototypes) else np.asarray(prototypes)
    return vectors.ndim == 2 and np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2)
