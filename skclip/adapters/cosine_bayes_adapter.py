"""The paper's own form of the Bayesian adapter: cosine logits, stochastic gradients."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import clone

from skclip._core.linear.clap_prior import zero_shot_precision
from skclip._core.model import Averaging
from skclip._core.posterior.cosine import CosineProblem, fit_cosine_posterior
from skclip._core.problem import Problem
from skclip.adapters.base import BaseAdapterClassifier, fit_method
from skclip.adapters.classes import one_per_class
from skclip.adapters.near_text import start_at
from skclip.adapters.posteriors import paper_temperature
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.adapters.uncertainty import UncertaintyMixin
from skclip.prompts import RAW_TEXT_NORM, Prototypes
from skclip.utils.arrays import as_array
from skclip.utils.random_state import integer_seed, torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["CosineBayesAdapterClassifier"]


class CosineBayesAdapterClassifier(UncertaintyMixin, BaseAdapterClassifier):
    r"""BayesAdapter as its paper has it: cosine logits and a posterior by stochastic gradients.

    The model of Morales-Alvarez et al. [1]_ is

    .. math::
        p(y = c \mid x, W) = \mathrm{softmax}_c\left(\tau \frac{\langle x, w_c \rangle}
        {\|w_c\|}\right), \qquad w_c \sim N(t_c, \lambda_c^{-1} I)

    and its posterior is approximated by :math:`N(m_c, s_c^2 I)`, which predictions average
    over. The problem is not convex; the defaults are those of the authors' code, known from two
    independent ports. :class:`BayesAdapterClassifier` solves the linear form, in a fraction
    of the time, and chooses what has to be given here.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes, the prior mean and the start. Their norm scales the prior, so that it
        is kept; :meth:`of_text` takes care of it.
    prior_precision : "clap", float, dict or array-like of shape (n_classes,), default=1e4
        Precision :math:`\lambda_c` of the prior, in inverse squared weight units: large values
        hold the weights at the text. Numbers per class are in the order of ``classes_``, or by
        label (dict, Series). "clap" is :math:`2 n \mu_c / c` with :math:`\mu_c` the
        mean zero-shot probability of the true class over class c's rows.
    temperature : float, default=1.0
        Logits are divided by it.
    kl_weight : "paper" or float, default="paper"
        Weight of the Kullback-Leibler divergence next to the sum of the losses: 1 is the true
        bound. "paper" is the recipe's much smaller :math:`n / (500 c d)`, ramped up linearly
        over the epochs.
    n_samples : int, default=10
        Draws of the weights that predictions average.
    average : {"probabilities", "logits"}, default="probabilities"
        What is averaged over draws. The textbook form averages probabilities.
    class_weight : dict, "balanced" or None, default=None
        As in LogisticRegression.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from cosine to logit. "auto" is the prototypes' (else 100).
    normalize : "auto" or bool, default="auto"
        Scale rows of X to unit norm; "auto" does.
    prototype_norm : float or None, default=None
        Rescale the prototypes to this norm, which moves them away from or towards the prior's
        reach. None keeps theirs.
    max_iter : int or None, default=None
        Epochs (None: 300).
    learning_rate : float, default=0.1
        First rate of SGD, which falls to zero over the epochs along a cosine.
    batch_size : int, default=256
        Rows per step of SGD. With fewer rows there is one step per epoch.
    random_state : int, RandomState or None, default=None
        Shuffles and draws. An estimator repeats its draws, so that its predictions do.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        All classes that have a prototype, also those without an image.
    prototypes_ : ndarray of shape (n_classes, n_features)
        Posterior mean of the weights, in the units of the prototypes.
    text_prototypes_ : ndarray of shape (n_classes, n_features)
        Prototypes as they were given.
    posterior_std_ : ndarray of shape (n_classes,)
        Standard deviation of each class's weights.
    kl_weight_ : float
        `kl_weight` as a number.
    prior_precision_ : ndarray of shape (n_classes,)
    temperature_ : float
    logit_scale_ : float
    n_iter_ : int
        Epochs.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    BayesAdapterClassifier : The linear form; ``from_recipe("paper", ...)`` makes this one.

    References
    ----------
    .. [1] P. Morales-Alvarez, S. Christodoulidis, M. Vakalopoulou, P. Piantanida, J. Dolz,
       "BayesAdapter: enhanced uncertainty estimation in CLIP few-shot adaptation",
       arXiv 2412.09718.

    Examples
    --------
    >>> from skclip import BayesAdapterClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 5, random_state=0)
    >>> paper = BayesAdapterClassifier.from_recipe(
    ...     "paper", data.prototypes, max_iter=20, random_state=0
    ... )
    >>> paper.fit(data.X, data.y).predict_proba(data.X_test).shape
    (250, 5)
    """

    _parameter_constraints: dict = {
        **BaseAdapterClassifier._parameter_constraints,
        "prior_precision": [
            StrOptions({"clap"}),
            Interval(Real, 0, None, closed="neither"),
            "array-like",
        ],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "kl_weight": [StrOptions({"paper"}), Interval(Real, 0, None, closed="left")],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "average": [StrOptions({"probabilities", "logits"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **RECIPE_CONSTRAINTS,
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        prior_precision: str | float | ArrayLike = 1e4,
        temperature: float = 1.0,
        kl_weight: str | float = "paper",
        n_samples: int = 10,
        average: str = "probabilities",
        class_weight: dict | str | None = None,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        prototype_norm: float | None = None,
        max_iter: int | None = None,
        learning_rate: float = 0.1,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.prior_precision = prior_precision
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.n_samples = n_samples
        self.average = average
        self.class_weight = class_weight
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.prototype_norm = prototype_norm
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @classmethod
    def of_text(cls, prototypes: Any, **changes: Any) -> Self:
        """With prototypes at the norm of raw text embeddings, which the default prior is for.

        Parameters
        ----------
        prototypes : array-like, Prototypes or ClassPrompts
            ClassPrompts are asked for raw embeddings; unit-norm arrays are scaled to norm 8.8.
        **changes
            Other parameters.

        Returns
        -------
        CosineBayesAdapterClassifier
        """
        if hasattr(prototypes, "encode"):
            prototypes = clone(prototypes).set_params(normalize=False)
        elif _is_unit_norm(prototypes):
            changes = {"prototype_norm": RAW_TEXT_NORM, **changes}
        return cls(prototypes, **changes)

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features of the support set.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the losses.

        Returns
        -------
        self : CosineBayesAdapterClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None, or a row of X to be normalised is zero.
        """
        self._check_has_text()
        problem = self._check(X, y, sample_weight, self.class_weight)
        if isinstance(self.prior_precision, str):
            precision = zero_shot_precision(problem)
        else:
            precision = one_per_class(
                self.prior_precision, problem, self.classes_, "prior_precision", positive=True
            )
        recipe = recipe_of(self)
        kl_scale, kl_weight = self._kl_scale(problem)
        model = fit_cosine_posterior(
            CosineProblem.of(
                problem,
                prior_mean=start_at(problem, self.prototype_norm),
                prior_std=precision.rsqrt(),
            ),
            recipe,
            torch_generator(self.random_state),
            kl_scale=kl_scale,
            temperature=float(self.temperature),
            averaging=Averaging(self.n_samples, integer_seed(self.random_state), self.average),
            callback=progress_bar(self, recipe),
        )
        return self._publish(
            model,
            posterior_std_=model.std,
            kl_weight_=kl_weight,
            prior_precision_=precision,
            n_iter_=recipe.epochs,
        )

    @property
    def prototypes_(self) -> np.ndarray:
        """Posterior mean of the weights (n_classes, n_features)."""
        return self.model_.mean.numpy()

    @property
    def temperature_(self) -> float:
        """What logits are divided by."""
        return self.model_.temperature

    def _kl_scale(self, problem: Problem) -> tuple[float, float]:
        """What multiplies ``2 KL / (c d)`` next to the mean loss, and the weight that this is."""
        if self.kl_weight == "paper":
            return 1.0 / 1000.0, paper_temperature(problem)
        c, d = problem.prior_mean.shape
        weight = float(self.kl_weight)
        return weight * c * d / (2.0 * float(problem.sample_weight.sum())), weight

    def _wants_unit_prototypes(self) -> bool:
        return False


def _is_unit_norm(prototypes: Any) -> bool:
    vectors = (
        prototypes.vectors
        if isinstance(prototypes, Prototypes)
        else as_array(prototypes, "prototypes")
    )
    return vectors.ndim == 2 and np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2)
