"""The Bayesian adapter."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from skclip._core.linear.leave_one_out import Groups
from skclip._core.linear.prior import with_prior
from skclip._core.posterior.fit import PosteriorFit, Solver, fit_posterior
from skclip._core.posterior.update import update
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method, warn_unless_converged
from skclip.adapters.classes import one_per_class
from skclip.adapters.cosine_bayes_adapter import CosineBayesAdapterClassifier
from skclip.adapters.images import group_codes
from skclip.adapters.posteriors import Laplace, Variational, posterior_settings
from skclip.adapters.uncertainty import UncertaintyMixin
from skclip.utils.labels import as_labels, check_one_type
from skclip.utils.messages import listing
from skclip.utils.random_state import integer_seed
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["BayesAdapterClassifier"]


class BayesAdapterClassifier(UncertaintyMixin, LinearAdapterClassifier):
    r"""Bayesian few-shot adapter: a Gaussian prior around the text prototypes.

    The model of Morales-Alvarez et al. [1]_ is

    .. math::
        p(y = c \mid x, W) = \mathrm{softmax}_c(\tau \langle x, w_c \rangle), \qquad
        w_c \sim N(t_c, \lambda_c^{-1} I)

    so that the zero-shot classifier is the prior mean, and each labelled image moves the
    weights as far as the prior precision :math:`\lambda` allows. By default the weights
    are the maximum of the posterior, a convex problem that is solved to its optimum, and
    :math:`\lambda` and a temperature are chosen from the support set alone, by what
    was learned over many tasks, with leave-one-out. :meth:`from_recipe` gives the paper's own
    configuration.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes, the prior mean. The rows of an array belong to the sorted labels
        of `y`. None puts the prior mean at zero: Bayesian multinomial logistic
        regression.
    prior_precision : "auto", "clap", float, dict or array-like (n_classes,), default="auto"
        Precision :math:`\lambda_c` of the prior, in inverse squared weight units; large
        values give the zero-shot classifier. Numbers per class are in the order of ``classes_``,
        or by label (dict, Series). "auto" is one for all classes: with prototypes
        what a regression over many tasks expects from the number of classes and the text's
        loss on the support rows, without them what it expects from the number of features.
        "clap" is the prior whose mode is CLAP's optimum [2]_:
        :math:`\lambda_c = 2 n \mu_c / c`
        with n the sum of the sample weights and :math:`\mu_c` the mean zero-shot probability of
        the true class over class c's rows (over all classes' means where class c has no
        row). It is isotropic and has no bias, whatever `prior_shape` is.
    temperature : "auto" or float, default="auto"
        Logits are divided by it. "auto" is fitted to the leave-one-out logits, around what the
        regression expects, and jointly with the temperature of the posterior; 1
        leaves probabilities as the likelihood has them.
    prior_shape : {"adaptive", "isotropic"}, default="adaptive"
        Covariance of the prior in feature space. "isotropic" is the paper's
        :math:`I / \lambda_c`. "adaptive" is :math:`M M^\top / \lambda_c` with a metric M that
        trusts directions in which the texts differ more, and those in which images of
        one class differ less, and gives every class a small bias. Without prototypes it
        whitens the scatter within classes of columns of equal variance, as linear discriminant
        analysis does; "isotropic" is then the prior of LogisticRegression.
    posterior : {"map", "laplace", "variational"}, Laplace or Variational, default="map"
        "map" predicts at the posterior mode, which is fastest and rarely worse. "laplace"
        averages over a Gaussian at the mode with the curvature there, "variational" over the
        Gaussian that maximises the variational bound; both are independent over classes, and
        :class:`Laplace` and :class:`Variational` have their details.
    solver : {"newton-cg", "lbfgs"}, default="newton-cg"
        What finds the mode: Newton's method with conjugate gradients, which needs fewer
        products here, or L-BFGS. Both stop at the same optimum.
    fit_intercept : "auto" or bool, default="auto"
        Add a bias without prior. "auto" does without prototypes; with them the bias is that
        of `prior_shape`. A posterior gives it a prior of 10 logits.
    class_weight : dict, "balanced" or None, default=None
        As in LogisticRegression.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else
        100). Without prototypes it is one over the root mean square of the centred
        features, so that precisions do not depend on the unit of X.
    normalize : "auto" or bool, default="auto"
        Scale rows of X and prototypes to unit norm; "auto" does with prototypes.
    max_iter : int or None, default=None
        Iterations of the solver (None: 100 of "newton-cg", 1000 of "lbfgs") and rounds of the
        variational bound (None: 100). A fit that needs more warns.
    tol : "auto" or float, default="auto"
        The solver stops when ``gradient_norm_`` is at most this, the variational bound when a
        round gains less than this per unit of weight. "auto" is 1e-6, but lets "newton-cg" with
        prototypes stop as soon as predictions have what they need: when the objective is within
        1e-5 nats per unit of weight of its optimum, by Newton's decrement.
    random_state : int, RandomState or None, default=None
        Draws of a posterior. An estimator repeats its draws, so that its predictions do.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        All classes that have a prototype, also those without an image.
    prototypes_ : ndarray of shape (n_classes, n_features)
        Adapted text prototypes: mean of the weights, the mode unless "variational".
    coef_ : ndarray of shape (n_classes, n_features), (1, n_features) for two classes
        ``logit_scale_ / temperature_ * prototypes_``, so that ``X @ coef_.T + intercept_`` with
        X as normalised are the logits at the mean; of two classes the difference.
    intercept_ : ndarray of shape (n_classes,), (1,) for two classes
    text_prototypes_ : ndarray of shape (n_classes, n_features) or None
        Prototypes as they were given, scaled as X.
    logit_scale_ : float
    normalize_ : bool
        Whether rows are scaled to unit norm.
    device_ : str
        Where predictions are computed: `device` as it was at the fit.
    prior_precision_ : ndarray of shape (n_classes,)
    temperature_ : float
    posterior_temperature_ : float
        Factor of the posterior covariance in predictions; 0 predicts at the mean.
    elbo_ : float
        Variational bound at ``posterior_temperature_``, in nats, on draws that the optimum was
        not found with; only "variational".
    posterior_std_ : ndarray of shape (n_classes,)
        Standard deviation of each class's weights; only where it is one number, with an
        isotropic prior and posterior.
    posterior_precision_ : dict of ndarray
        Precision of the weights at temperature 1 in compact form: orthonormal axes
        ``basis`` (d, r) about ``centre`` (d,) after ``metric`` (d, d), if any; for class c
        the precision is ``diag(diagonal[c]) + factor[owner == c].T @ factor[owner == c]`` in
        these axes and the bias, and ``outside[c]`` in all others. After :meth:`fit` with
        "map" its diagonal.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality: the largest class-wise norm of the
        gradient in the scaled weights :math:`\tau W`, over the sum of the sample weights.
    row_digests_ : ndarray of shape (n_samples,)
        Digests of 8 bytes of the rows learned from, by which :func:`check_unseen` knows them.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    CosineBayesAdapterClassifier : The paper's own form and recipe.
    ZeroShotClassifier : The limit of large prior precision.
    LinearProbeClassifier : The same likelihood without the text prior.

    Notes
    -----
    A fit costs O(n d c) per product with the Hessian; ``temperature="auto"`` needs one
    factorisation per class besides. Work is in float64 on the CPU, in float32 on large
    problems and GPUs.

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
        "posterior": [StrOptions({"map", "laplace", "variational"}), Laplace, Variational],
        "solver": [StrOptions({"newton-cg", "lbfgs"})],
        "fit_intercept": [StrOptions({"auto"}), "boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        prior_precision: str | float | ArrayLike = "auto",
        temperature: str | float = "auto",
        prior_shape: str = "adaptive",
        posterior: str | Laplace | Variational = "map",
        solver: str = "newton-cg",
        fit_intercept: str | bool = "auto",
        class_weight: dict | str | None = None,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        max_iter: int | None = None,
        tol: str | float = "auto",
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.prototypes = prototypes
        self.prior_precision = prior_precision
        self.temperature = temperature
        self.prior_shape = prior_shape
        self.posterior = posterior
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device

    @staticmethod
    def from_recipe(name: str, prototypes: Any, **changes: Any) -> CosineBayesAdapterClassifier:
        """A named configuration from the literature.

        Parameters
        ----------
        name : {"paper"}
            "paper": the defaults of :class:`CosineBayesAdapterClassifier`: cosine form,
            isotropic posterior, prior standard deviation 0.01 on the scale of raw text
            embeddings, SGD for 300 epochs, 10 draws at prediction. Known from two independent
            ports of the authors' code.
        prototypes : array-like, Prototypes or ClassPrompts
            Text prototypes. ClassPrompts are asked for raw embeddings; unit-norm arrays are
            scaled to norm 8.8, the typical norm of the raw embeddings of OpenAI's ViT-B/32.
        **changes
            Parameters that replace those of the recipe.

        Returns
        -------
        CosineBayesAdapterClassifier

        Raises
        ------
        ValueError
            If there is no recipe of this name.

        Examples
        --------
        >>> import numpy as np
        >>> from skclip import BayesAdapterClassifier
        >>> recipe = BayesAdapterClassifier.from_recipe("paper", np.eye(3), max_iter=50)
        >>> recipe.prior_precision, recipe.prototype_norm, recipe.max_iter
        (10000.0, 8.8, 50)
        """
        if name != "paper":
            raise ValueError(f"The recipes are: 'paper'; got {name!r}.")
        return CosineBayesAdapterClassifier.of_text(prototypes, **changes)

    @fit_method
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        n_views: float = 1,
    ) -> Self:
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
            counts once.
        n_views : float, default=1
            Views that each row is the mean of, where rows are means over augmented views of an
            image and what will be predicted are single views: means are cleaner, which
            ``temperature="auto"`` takes into account. Keeping the views as rows with `groups`
            tells more.

        Returns
        -------
        self : BayesAdapterClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If there is one class only, ``prior_precision="clap"`` has no text, a row of X to
            be normalised is zero, a group has several labels, or `n_views` is below 1.
        """
        self._check_clap()
        check_scalar(n_views, "n_views", Real, min_val=1)
        problem = self._check(X, y, sample_weight, self.class_weight)
        codes = None if groups is None else group_codes(groups, y)
        return self._fit_posterior(problem, codes, n_views)

    @fit_method
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        r"""Learn from more images: the Gaussian posterior becomes the prior.

        The first call is :meth:`fit`, and also keeps the precision of the weights, in the
        form of the posterior's covariance. (After a call of :meth:`fit` with
        ``posterior="map"``, of which only the diagonal is kept, learning goes on from that.)
        Every further call maximises
        the likelihood of the new rows times that Gaussian, and adds the curvature of the
        new rows. No row is kept, only the mean of each class, which tells new classes where
        the old ones are. What is exact for Gaussian likelihoods is close for this one:
        coupling between classes and the change of curvature since are lost, so that
        fitting all rows at once is better where they still exist. Prior precision,
        temperatures, metric and logit scale stay those of the first call, which should
        therefore hold rows of most classes. So ``set_params`` of `prior_precision`,
        `prior_shape`, `temperature`, `fit_intercept`, `logit_scale`, `normalize` or
        `random_state` after it changes the next ``fit`` only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New rows only.
        y : array-like of shape (n_samples,)
            Labels. A class may be new if it has a prototype, or if there is no text:
            give `prototypes` one more row (array, in sorted order of all labels so far), one
            more label (Prototypes), or one more name (ClassPrompts) before the call.
        classes : array-like, default=None
            All labels that the model should know, those without a row in `y`, too.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        self : BayesAdapterClassifier

        Raises
        ------
        ValueError
            If `class_weight` is "balanced", `y` has labels that are neither in `classes` nor known
            from before, or labels are of several types.
        """
        self._check_clap()
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' needs all rows at once; got a call of partial_fit. Pass "
                "a dict, or sample_weight."
            )
        known = None if classes is None else np.unique(as_labels(classes, "classes"))
        if known is not None:
            _check_among(y, known, getattr(self, "classes_", known))
        if not hasattr(self, "_model"):
            problem = self._check(X, y, sample_weight, self.class_weight, known_classes=known)
            return self._fit_posterior(problem, to_be_continued=True)
        old = self.classes_
        if known is not None:
            check_one_type(known, old, "classes and those of before")
        known = old if known is None else np.union1d(old, known)
        problem = self._check(
            X, y, sample_weight, self.class_weight, known_classes=known, first=False
        )
        position = torch.from_numpy(np.searchsorted(self.classes_, old)).to(problem.X.device)
        settings = posterior_settings(
            self.posterior, problem, self._model.averaging.seed, to_be_continued=True
        )
        model = self._model.to(problem.X)
        return self._publish_fit(update(model, problem, position, settings, self._solver()))

    def _check_clap(self) -> None:
        needs_text = isinstance(self.prior_precision, str) and self.prior_precision == "clap"
        if needs_text and self.prototypes is None:
            raise ValueError(
                "prior_precision='clap' is how well the text predicts the support set; got "
                "prototypes=None. Pass prototypes, or prior_precision='auto'."
            )

    def _fit_posterior(
        self,
        problem: Problem,
        codes: np.ndarray | None = None,
        n_views: float = 1,
        to_be_continued: bool = False,
    ) -> Self:
        """From scratch, on rows of images with these codes."""
        named = isinstance(self.prior_precision, str)
        precision = self.prior_precision
        if not named:
            precision = one_per_class(
                precision, problem, self.classes_, "prior_precision", positive=True
            )
        fitted = fit_posterior(
            with_prior(
                problem,
                precision,
                adaptive=self.prior_shape == "adaptive",
                fit_intercept=None if self.fit_intercept == "auto" else bool(self.fit_intercept),
            ),
            posterior_settings(
                self.posterior,
                problem,
                integer_seed(self.random_state),
                to_be_continued=to_be_continued,
            ),
            self._solver(),
            expected_precision=named and precision == "auto",
            temperature=None if self.temperature == "auto" else float(self.temperature),
            groups=None
            if codes is None
            else Groups.of(torch.from_numpy(codes).to(problem.X.device), problem.sample_weight),
            n_views=float(n_views),
        )
        return self._publish_fit(fitted)

    def _solver(self) -> Solver:
        return Solver(self.solver, self._tol(), self.max_iter)

    def _tol(self) -> float | None:
        return None if isinstance(self.tol, str) else float(self.tol)

    def _publish_fit(self, fitted: PosteriorFit) -> Self:
        for report in (*fitted.others, fitted.solution):
            warn_unless_converged(report, self._tol())
        model = fitted.model
        published = {
            "prior_precision_": model.prior_precision,
            "posterior_temperature_": model.posterior_temperature,
            "n_iter_": max(1, fitted.solution.n_iter),
            "gradient_norm_": fitted.solution.gradient_norm,
            "elbo_": fitted.bound,
        }
        if model.posterior_is_isotropic:
            std = (model.posterior_temperature / model.posterior.outside).sqrt()
            published["posterior_std_"] = std
        given = {name: value for name, value in published.items() if value is not None}
        return self._publish(model, **given)

    @property
    def posterior_precision_(self) -> dict[str, np.ndarray]:
        """Precision of the weights at temperature 1, in compact form."""
        arrays = self.model_.arrays()
        names = ("frame.basis", "frame.centre", "frame.metric", "posterior.diagonal")
        names += ("posterior.outside", "posterior.factor", "posterior.owner")
        return {n.partition(".")[2]: arrays[n] for n in names if arrays[n] is not None}

    def _logit_scale_without_text(self, X: np.ndarray, sample_weight: np.ndarray) -> float:
        # The largest entry is divided out, so that no square leaves the range of its type.
        size = float(np.abs(X).max()) or 1.0
        rows = X.astype(np.float64) / size
        centred = rows - np.average(rows, axis=0, weights=sample_weight)
        square = np.average(centred**2, weights=np.broadcast_to(sample_weight[:, None], X.shape))
        return 1.0 / (size * np.sqrt(square)) if square > 0 else 1.0


def _check_among(y: ArrayLike, classes: np.ndarray, before: np.ndarray) -> None:
    """Refuse labels that neither `classes` nor earlier batches have."""
    present = np.unique(as_labels(y))
    check_one_type(present, classes, "classes and y")
    known = {*classes.tolist(), *before.tolist()}
    unknown = [label for label in present.tolist() if label not in known]
    if unknown:
        raise ValueError(
            f"y must hold labels that are in classes, where these are given; got "
            f"{listing(unknown)}, and classes are {listing(classes)}. Add them to classes, or pass "
            "classes=None."
        )
