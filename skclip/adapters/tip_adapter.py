"""Tip-Adapter: a cache of the support images beside the text."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.methods.tip_adapter import (
    Choice,
    Comparison,
    Grid,
    Support,
    TipAdapterModel,
    build_cache,
    select,
    train_keys,
)
from skclip._core.solve.sgd import Recipe
from skclip.adapters.base import BaseAdapterClassifier, fit_method
from skclip.adapters.images import group_codes, image_weight
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.utils.random_state import torch_generator
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["TipAdapterClassifier"]

_PUBLISHED_ALPHA, _PUBLISHED_BETA = 1.0, 5.5
_PUBLISHED_LOGIT_SCALE = 100.0
_ALPHA_WITHOUT_TEXT = 10.0
# Relative to the centre of the prior; its widths in natural logarithms.
_ALPHAS = tuple(10 ** (k / 4) for k in range(-8, 9))
_BETAS = tuple(2.0**k for k in range(-3, 4))
_WIDTH = (2.0, 1.0)
_EPOCHS = 20


class TipAdapterClassifier(BaseAdapterClassifier):
    r"""Tip-Adapter: a cache of the support images beside the text.

    Every image of the support set is a key :math:`k_i` with its label as value. Similar keys
    vote for their class, on top of the text (Zhang et al. [1]_):

    .. math::
        z_c(x) = \tau \langle x, t_c \rangle
        + \alpha \sum_{i : y_i = c} a_i \exp(-\beta (1 - \langle x, k_i \rangle))

    with the sample weights :math:`a_i`. Nothing is trained unless ``fine_tune=True``.

    Parameters
    ----------
    prototypes : None, array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes. None leaves the text out: the cache alone classifies.
    alpha : "auto" or float, default="auto"
        Weight of the cache, in logits per key of affinity 1; 0 is the zero-shot classifier.
    beta : "auto" or float, default="auto"
        Sharpness of the affinities. "auto" chooses each from the support set alone, by the
        log-loss of left-out images: among 17 values of alpha from 1/100 to 100 times its
        centre and 7 of beta from 1/8 to 8 times its own, with a weak prior around the
        centres (standard deviations 2 and 1 of the logarithms). These are the published
        1 and 5.5 (alpha times ``logit_scale_ / 100``; 10 without text). Where every class
        has one image, nothing can be left out and the centres are taken.
    fine_tune : bool, default=False
        Train the keys: Tip-Adapter-F, by AdamW with cosine decay from their start. `alpha`
        and `beta` are chosen before, while the keys are the images: once trained they have
        seen every image, and leaving one out no longer says how a new one fares.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from cosine to logit. "auto" is the prototypes' (else 100).
        Without prototypes it multiplies the rows before they are compared; "auto" is then 1
        for rows of unit norm, else one over their root mean square distance from the mean.
    normalize : "auto" or bool, default="auto"
        Scale rows of X, prototypes and keys to unit norm; "auto" does with prototypes. For
        other rows :math:`1 - \langle x, k \rangle` is replaced by what it is for unit rows,
        half the squared distance :math:`\|x - k\|^2 / 2`.
    max_iter : int or None, default=None
        Epochs of ``fine_tune=True`` (None: 20); 0 leaves the keys as they are.
    learning_rate : float, default=1e-3
        First rate of AdamW.
    batch_size : int, default=256
        Of AdamW.
    random_state : int, RandomState or None, default=None
        Shuffles of AdamW.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    alpha_ : float
    beta_ : float
    keys_ : ndarray of shape (n_keys, n_features)
        One per image of positive weight, by class.
    key_labels_ : ndarray of shape (n_keys,)
        Index into ``classes_``.
    key_weight_ : ndarray of shape (n_keys,)
    prototypes_ : ndarray of shape (n_classes, n_features) or None
        The text prototypes, scaled as X.
    logit_scale_ : float
    loo_log_likelihood_ : float
        Mean log-likelihood of left-out images under what was chosen, in nats per unit of
        weight. Only when something was chosen.
    loo_results_ : dict of ndarray of shape (n_candidates,)
        Every pair ``alpha`` and ``beta`` that was tried, with its ``log_posterior``:
        leave-one-out log-likelihood plus log prior, in nats up to a constant. The largest
        was chosen. Only when something was chosen.
    n_iter_ : int
        Epochs; 1 without training.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    CLIPAdapterClassifier : Adapts the features instead.

    Notes
    -----
    An image is left out exactly and at no cost: it loses its own key. What its class keeps
    is scaled up to the whole class, because a new image meets all K keys of its class, not
    K - 1; without this the cache looks worse than it is when K is small.

    All rows are left out up to 2^25 / c of them (c classes); of more that many are drawn, the
    same ones every time.

    Prediction costs O(n_keys (n_features + 1)) per row, in tiles of at most 4 MiB of
    affinities (256 MiB on a GPU), and memory for the rows and logits of 32 MiB of rows.
    "auto" adds 119 softmaxes of the support rows.

    Tip-Adapter-F follows the published code: AdamW with eps 1e-4 and weight decay 0.01,
    batches of 256, keys that are not scaled to unit norm again. That code keeps the epoch
    that is best on test data and searches `alpha` and `beta` on validation data; here the
    last epoch counts. The rate decays per epoch, not per step.

    References
    ----------
    .. [1] R. Zhang, W. Zhang, R. Fang, P. Gao, K. Li, J. Dai, Y. Qiao, H. Li, "Tip-Adapter:
       training-free adaption of CLIP for few-shot classification", ECCV 2022.

    Examples
    --------
    >>> from skclip import TipAdapterClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 5, random_state=0)
    >>> classifier = TipAdapterClassifier(data.prototypes).fit(data.X, data.y)
    >>> bool(classifier.alpha_ > 0)
    True
    >>> classifier.keys_.shape == data.X.shape
    True
    """

    _parameter_constraints: dict = {
        **BaseAdapterClassifier._parameter_constraints,
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "beta": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "fine_tune": ["boolean"],
        **{
            name: RECIPE_CONSTRAINTS[name]
            for name in RECIPE_CONSTRAINTS
            if name != "prototype_norm"
        },
        "max_iter": [Interval(Integral, 0, None, closed="left"), None],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        alpha: str | float = "auto",
        beta: str | float = "auto",
        fine_tune: bool = False,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        max_iter: int | None = None,
        learning_rate: float = 1e-3,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.alpha = alpha
        self.beta = beta
        self.fine_tune = fine_tune
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_method
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Make the cache; choose what is "auto"; train the keys if asked to.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features of the support set.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a weight of 2 is the row twice. None counts every image
            once, whatever the number of its views.
        groups : array-like of shape (n_samples,), default=None
            Image of each row, where an image has several (augmented views). Its key is then
            the mean of its rows, its weight their sum.

        Returns
        -------
        self : TipAdapterClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If a row of X to be normalised is zero, or a group has several labels.
        """
        codes = None if groups is None else group_codes(groups, y)
        problem = self._check(X, y, image_weight(sample_weight, codes))
        comparison = Comparison.of(problem, unit=self.normalize_)
        rows = comparison.scaled(problem.X)
        cache, owner, own = build_cache(
            rows,
            problem.y,
            problem.sample_weight,
            problem.n_classes,
            groups=None if codes is None else torch.from_numpy(codes).to(rows.device),
            unit=self.normalize_,
        )
        support = Support(
            rows,
            problem.y,
            lambda some: comparison.text_logits(some, problem.n_classes),
            problem.sample_weight,
            owner,
            own,
        )
        grid = self._grid(problem.has_text)
        choice = select(cache, support, grid) if "auto" in (self.alpha, self.beta) else None
        alpha, beta = self._chosen(grid, choice)
        n_iter = 1
        if self.fine_tune:
            recipe = self._key_recipe()
            n_iter = recipe.epochs
            cache = train_keys(
                cache,
                support,
                alpha,
                beta,
                recipe,
                torch_generator(self.random_state),
                callback=progress_bar(self, recipe),
            )
        return self._publish(
            TipAdapterModel(cache, comparison, alpha, beta),
            alpha_=alpha,
            beta_=beta,
            keys_=cache.keys,
            key_labels_=cache.labels,
            key_weight_=cache.weight,
            prototypes_=comparison.text,
            n_iter_=n_iter,
            **_left_out_results(grid, choice),
        )

    def _logit_scale_without_text(self, X: np.ndarray, sample_weight: np.ndarray) -> float:
        if self.normalize_:
            return 1.0
        size = float(np.abs(X).max()) or 1.0
        rows = X.astype(np.float64) / size
        centred = rows - np.average(rows, axis=0, weights=sample_weight)
        square = np.average(np.sum(centred**2, axis=1), weights=sample_weight)
        return float(1.0 / (size * np.sqrt(square))) if square > 0 else 1.0

    def _grid(self, has_text: bool) -> Grid:
        """What is tried: around the published values, or the one value that was given."""
        alpha = _ALPHA_WITHOUT_TEXT
        if has_text:
            alpha = _PUBLISHED_ALPHA * self.logit_scale_ / _PUBLISHED_LOGIT_SCALE
        beta = _PUBLISHED_BETA
        return Grid(
            alphas=[alpha * v for v in _ALPHAS] if self.alpha == "auto" else [float(self.alpha)],
            betas=[beta * v for v in _BETAS] if self.beta == "auto" else [float(self.beta)],
            centre=(alpha, beta),
            width=_WIDTH,
        )

    def _chosen(self, grid: Grid, choice: Choice | None) -> tuple[float, float]:
        """alpha and beta: chosen, given, or where nothing could be left out the centres."""
        if choice is not None:
            return choice.alpha, choice.beta
        return (
            grid.centre[0] if self.alpha == "auto" else float(self.alpha),
            grid.centre[1] if self.beta == "auto" else float(self.beta),
        )

    def _key_recipe(self) -> Recipe:
        return recipe_of(
            self,
            epochs=_EPOCHS if self.max_iter is None else self.max_iter,
            optimizer="adamw",
            eps=1e-4,
            weight_decay=0.01,
            warmup_rate=None,
        )


def _left_out_results(grid: Grid, choice: Choice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    beta, alpha = np.meshgrid(grid.betas, grid.alphas, indexing="ij")
    results = {
        "alpha": alpha.ravel(),
        "beta": beta.ravel(),
        "log_posterior": -choice.losses.numpy().ravel(),
    }
    return {"loo_log_likelihood_": choice.log_likelihood, "loo_results_": results}
