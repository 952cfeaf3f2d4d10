"""The Bayesian adapter."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import clone

from skclip.adapters.bayes_linear import LinearFormMixin
from skclip.adapters.cosine_bayes_adapter import CosineFormMixin
from skclip.adapters.groups import group_codes
from skclip.adapters.linear import LinearAdapterClassifier
from skclip.adapters.partial_fit import PartialFitMixin
from skclip.adapters.uncertainty import UncertaintyMixin
from skclip.prompts import RAW_TEXT_NORM, Prototypes
from skclip.utils.sklearn_private import Interval, StrOptions, fit_context

__all__ = ["BayesAdapterClassifier"]

_PAPER_PRIOR_STD = 0.01
# What a fit may leave behind; another fit on the same object starts without it.
_OPTIONAL_ATTRIBUTES = (
    "elbo_",
    "gradient_norm_",
    "loo_log_likelihood_",
    "loo_results_",
    "posterior_precision_",
    "_class_means",
    "posterior_std_",
)


class BayesAdapterClassifier(
    PartialFitMixin, UncertaintyMixin, LinearFormMixin, CosineFormMixin, LinearAdapterClassifier
):
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
    prior_precision : "auto", "clap", float or array-like of shape (n_classes,), default="auto"
        Precision :math:`\lambda_c` of the prior, in inverse squared weight units; large
        values give the zero-shot classifier. "auto" chooses one for all classes by
        leave-one-out; with ``form="cosine"`` a precision must be given. "clap" is the prior
        whose mode is CLAP's optimum [2]_ in the linear form: :math:`\lambda_c = 2 n \mu_c / c`
        with n the sum of the sample weights and :math:`\mu_c` the mean zero-shot probability of
        the true class over class c's rows (over all classes' means where class c has no
        row). It is isotropic and has no bias, whatever `prior_shape` is.
    temperature : "auto" or float, default="auto"
        Logits are divided by it. "auto" is fitted to the leave-one-out logits, jointly with
        the posterior temperature; 1 for ``form="cosine"``.
    prior_shape : {"adaptive", "isotropic"}, default="adaptive"
        Covariance of the prior in feature space. "isotropic" is the paper's
        :math:`I / \lambda_c`. "adaptive" is :math:`M M^\top / \lambda_c` with a metric M that
        trusts directions in which the texts differ more, and those in which images of
        one class differ less, and gives every class a small bias. Without prototypes it
        is isotropic.
    posterior : {"map", "laplace", "variational"}, default="map"
        "map" predicts at the posterior mode. "laplace" averages over a Gaussian at the mode
        with the curvature there, "variational" over the Gaussian that maximises the
        variational bound; both are independent over classes.
    covariance : {"auto", "isotropic", "diagonal", "full"}, default="auto"
        Covariance of each class's weights. "full" is the inverse of the block of class c of
        the precision, :math:`M (\lambda_c I + \tau^2 M^\top X^\top H_c X M)^{-1} M^\top` with
        :math:`H_c` the curvature :math:`p_c (1 - p_c)` of the rows, bias included. "diagonal"
        keeps the diagonal of that precision in the principal axes of the support rows,
        "isotropic" (the paper's) its mean over all dimensions. Outside the span of the
        support rows "full" and "diagonal" leave the prior as it is. "auto" is "full" for the
        linear form and "isotropic" for the cosine form, which has no other.
    form : {"linear", "cosine"}, default="linear"
        "cosine" divides every :math:`w_c` by its norm, as the paper's code does. That
        problem is not convex and is trained by stochastic gradients.
    posterior_temperature : "auto", "paper" or float, default="auto"
        In the linear form the factor T of the posterior covariance; for "variational" it also
        weights the Kullback-Leibler divergence from a prior that is narrowed as much, so
        that 1 is the true bound and small values lead to the mode. "auto" takes the one of
        0, 0.003, 0.01, 0.03, 0.1, 0.3 and 1 that predicts left-out rows best, 0 being the
        mean alone; the true posterior (1) is often badly under-confident. In the cosine
        form it is the weight of the divergence in the bound, and "auto" is 1. "paper" is the
        recipe's much smaller weight :math:`n / (500 c d)`, there ramped up linearly over the
        epochs.
    n_posterior_samples : int, default=32
        Draws of the logits that predictions average.
    average : {"probabilities", "logits"}, default="probabilities"
        What is averaged over draws. The textbook form averages probabilities.
    solver : {"auto", "newton-cg", "lbfgs", "sgd"}, default="auto"
        Of the mode. "auto" is "newton-cg" for the linear form and "sgd" for the cosine form;
        "lbfgs" is for the linear form, too.
    fit_intercept : "auto" or bool, default="auto"
        Add a bias without prior. "auto" does without prototypes; with them the bias is that
        of `prior_shape`. Only ``form="linear"``. A posterior gives it a prior of 10 logits.
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
        Newton iterations per fit and rounds of the variational bound (None: 100),
        iterations of "lbfgs" (None: 1000) or epochs of SGD (None: 300).
    tol : float, default=1e-6
        The solver stops when ``gradient_norm_`` is at most this, the variational bound when a
        round gains less than this per unit of weight.
    learning_rate : float, default=0.1
        First rate of SGD.
    batch_size : int, default=256
        Of SGD.
    random_state : int, RandomState or None, default=None
        Shuffles and draws. An estimator repeats its draws, so that its predictions do.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        All classes that have a prototype, also those without an image.
    coef_ : ndarray of shape (n_classes, n_features)
        Posterior mean of the weights, the mode for "map" and "laplace".
    intercept_ : ndarray of shape (n_classes,)
    logit_scale_ : float
    prior_precision_ : ndarray of shape (n_classes,)
    temperature_ : float
    posterior_temperature_ : float
        Factor of the posterior covariance in predictions; 0 predicts at the mean.
    loo_log_likelihood_ : float
        Mean leave-one-out log-likelihood of the support set under what was chosen, in nats
        per unit of weight. Only when something was "auto".
    loo_results_ : dict of ndarray of shape (n_candidates,)
        Every ``prior_precision`` that was tried, ascending, with its ``temperature`` and its
        ``log_posterior``: leave-one-out log-likelihood plus log prior of both, in nats up to
        a constant. The largest was chosen. Only with ``prior_precision="auto"``.
    elbo_ : float
        Variational bound at ``posterior_temperature_``, in nats; only linear and
        "variational".
    posterior_std_ : ndarray of shape (n_classes,)
        Standard deviation of each class's weights; only where it is one number.
    posterior_precision_ : dict of ndarray
        Precision of the weights at temperature 1 in compact form: orthonormal axes
        ``basis`` (d, r) about ``centre`` (d,) after ``metric`` (d, d), if any; for class c
        the precision is ``diag(diagonal[c]) + factor[owner == c].T @ factor[owner == c]`` in
        these axes and the bias, and ``outside[c]`` in all others. After :meth:`fit` with
        "map" its diagonal. Only linear.
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
    precision, warm-started, and needs one factorisation per class and candidate;
    GridSearchCV over precisions takes one fit from scratch per candidate and fold instead.
    Work is in float64 on the CPU, in float32 on large problems and GPUs.

    A full posterior needs one eigenproblem of size min(m, r) per class, with m the rows that
    hold 99.9 % of its curvature (all rows below 4096 rows times classes, 99 % above a
    million) and r the rank of X, and stores min(m, r) vectors of length r; beyond 256 MiB
    the least informative directions are dropped, beyond 64 MiB it is kept in float32.
    "diagonal" and "isotropic" store one vector per class. Predictive variances of n rows
    cost O(n r) per stored vector.

    Predictions draw logits, which are Gaussian, not weights. All rows share the random
    numbers, so that a prediction does not depend on its batch.

    With several views per image, pass all views as rows, ``groups`` that name the image,
    and ``sample_weight=1 / n_views``.

    References
    ----------
    .. [1] P. Morales-Alvarez, S. Christodoulidis, M. Vakalopoulou, P. Piantanida, J. Dolz,
       "BayesAdapter: enhanced uncertainty estimation in CLIP few-shot adaptation",
       arXiv 2412.09718.
    .. [2] J. Silva-Rodriguez, S. Hajimiri, I. Ben Ayed, J. Dolz, "A closer look at the few-shot
       adaptation of large vision-language models", CVPR 2024.

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
            StrOptions({"auto", "clap"}),
            Interval(Real, 0, None, closed="neither"),
            "array-like",
        ],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "prior_shape": [StrOptions({"adaptive", "isotropic"})],
        "posterior": [StrOptions({"map", "laplace", "variational"})],
        "covariance": [StrOptions({"auto", "isotropic", "diagonal", "full"})],
        "form": [StrOptions({"linear", "cosine"})],
        "posterior_temperature": [
            StrOptions({"auto", "paper"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "n_posterior_samples": [Interval(Integral, 1, None, closed="left")],
        "average": [StrOptions({"probabilities", "logits"})],
        "solver": [StrOptions({"auto", "newton-cg", "lbfgs", "sgd"})],
        "fit_intercept": [StrOptions({"auto"}), "boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **CosineFormMixin._recipe_constraints,
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes=None,
        *,
        prior_precision="auto",
        temperature="auto",
        prior_shape="adaptive",
        posterior="map",
        covariance="auto",
        form="linear",
        posterior_temperature="auto",
        n_posterior_samples=32,
        average="probabilities",
        solver="auto",
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
        self.covariance = covariance
        self.form = form
        self.posterior_temperature = posterior_temperature
        self.n_posterior_samples = n_posterior_samples
        self.average = average
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
            "n_posterior_samples": 10,
        }
        if hasattr(prototypes, "encode"):
            prototypes = clone(prototypes).set_params(normalize=False)
        elif _is_unit_norm(prototypes):
            settings["prototype_norm"] = RAW_TEXT_NORM
        return cls(prototypes, **{**settings, **changes})

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None, groups=None):
        """Fit the posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features of the support set.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a weight of 2 is the row twice.
        groups : array-like of shape (n_samples,), default=None
            Image of each row, where an image has several (augmented views): "auto" then leaves
            whole images out. Pass ``sample_weight=1 / n_views`` with it, so that an image
            counts once. Without effect on ``form="cosine"``.

        Returns
        -------
        self : BayesAdapterClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If a parameter does not fit `form`, a row of X to be normalised is zero, or a group
            has several labels.
        """
        self._check_combination()
        self._forget()
        task = self._prepare(X, y, sample_weight, self.class_weight)
        codes = None if groups is None else group_codes(groups, y)
        if self.form == "cosine":
            return self._fit_cosine(task)
        return self._fit_linear(task, codes)

    def _check_combination(self):
        needs_text = isinstance(self.prior_precision, str) and self.prior_precision == "clap"
        if needs_text and self.prototypes is None:
            raise ValueError(
                "prior_precision='clap' is how well the text predicts the support set; got "
                "prototypes=None. Pass prototypes, or prior_precision='auto'."
            )
        if self.form == "linear":
            if self.solver == "sgd":
                raise ValueError(
                    "solver='sgd' belongs to form='cosine'; got form='linear', which is convex. "
                    "Pass solver='auto', 'newton-cg' or 'lbfgs'."
                )
            return
        if self.posterior != "variational":
            raise ValueError(
                f"form='cosine' is fitted by posterior='variational'; got posterior="
                f"{self.posterior!r}. Pass form='linear' for the posterior mode or its Laplace "
                "approximation."
            )
        if self.covariance not in ("auto", "isotropic"):
            raise ValueError(
                "form='cosine' has covariance='isotropic'; got covariance="
                f"{self.covariance!r}. Pass form='linear' for the others."
            )
        if self.solver not in ("auto", "sgd"):
            raise ValueError(
                f"form='cosine' is fitted by solver='sgd'; got solver={self.solver!r}. Pass "
                "form='linear' for a second-order solver."
            )
        if self.prototypes is None:
            raise ValueError(
                "form='cosine' needs prototypes, whose direction is its prior mean; got None. "
                "Pass prototypes, or form='linear'."
            )
        if isinstance(self.prior_precision, str) and self.prior_precision == "auto":
            raise ValueError(
                "form='cosine' needs a prior_precision; got 'auto', which form='linear' has. The "
                "paper recipe uses 10000 with prototypes of norm 8.8."
            )

    def _forget(self):
        for name in _OPTIONAL_ATTRIBUTES:
            if hasattr(self, name):
                delattr(self, name)

    def _wants_unit_prototypes(self):
        return self.form == "linear"

    def _logit_scale_without_text(self, X, sample_weight):
        centred = X - np.average(X, axis=0, weights=sample_weight)
        square = np.average(centred**2, weights=np.broadcast_to(sample_weight[:, None], X.shape))
        return 1.0 / np.sqrt(square) if square > 0 else 1.0


def _is_unit_norm(prototypes):
    vectors = prototypes.vectors if isinstance(prototypes, Prototypes) else np.asarray(prototypes)
    return vectors.ndim == 2 and np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2)
