"""CLIP-Adapter: a small network on the image features."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from skclip._core.methods.clip_adapter import BottleneckModel, fit_bottleneck, initial_bottleneck
from skclip._core.model import Averaging
from skclip.adapters.base import BaseAdapterClassifier, fit_method
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.adapters.uncertainty import UncertaintyMixin
from skclip.utils.random_state import torch_generator
from skclip.utils.sklearn_private import Interval

__all__ = ["CLIPAdapterClassifier"]


class CLIPAdapterClassifier(UncertaintyMixin, BaseAdapterClassifier):
    r"""CLIP-Adapter: a bottleneck network on the image features, the text left as it is.

    With down weights D (h, d) and up weights U (d, h), no bias, the model of Gao et al. [1]_ is

    .. math::
        f(x) = r \,\mathrm{ReLU}(U\,\mathrm{ReLU}(D x)) + (1 - r)\, x, \qquad
        p(y = c \mid x) = \mathrm{softmax}_c
        \left(\tau \frac{\langle f(x), t_c \rangle}{\|f(x)\| \|t_c\|}\right).

    The cross-entropy is minimised in D and U by stochastic gradients. With `dropout`, hidden
    units are dropped at random in training and in prediction (MC dropout [2]_), and
    predictions are averages over masks.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes; only their direction matters. The rows of an array belong to the
        sorted labels of `y`.
    ratio : float, default=0.2
        Share r of the network's output in the blend, in [0, 1]; 0 is the zero-shot
        classifier.
    reduction : int, default=4
        Features per hidden unit: h is d / reduction, rounded down, at least 1.
    dropout : float, default=0.0
        Probability that a hidden unit is dropped, in [0, 1).
    n_mc_samples : int, default=32
        Masks that predictions average, with dropout.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from cosine to logit. "auto" takes it from the prototypes'
        model, else 100.
    normalize : "auto" or bool, default="auto"
        Scale rows of X to unit norm before the network; "auto" does. What it makes is
        always compared by its cosine.
    max_iter : int or None, default=None
        Epochs (None: 300).
    learning_rate : float, default=0.1
        First rate of the SGD recipe (momentum 0.9, cosine decay).
    batch_size : int, default=256
        Of the SGD recipe.
    random_state : int, RandomState or None, default=None
        Start, shuffles and masks. An estimator repeats its masks, so that its predictions do.
    device : str, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU. A device without float64, such as
        "mps", is for predictions, in float32; the fit works on the CPU.
    verbose : int, default=0
        Show a progress bar over epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    down_ : ndarray of shape (n_hidden, n_features)
    up_ : ndarray of shape (n_features, n_hidden)
    prototypes_ : ndarray of shape (n_classes, n_features)
        The text prototypes, scaled as X.
    logit_scale_ : float
    n_iter_ : int
        Epochs.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    TipAdapterClassifier : Adds a cache of the support images, without training.

    Notes
    -----
    An epoch costs O(n d (h + c)), a prediction O(d (h + c)) per row and mask. Weights start
    uniform within one over the square root of a layer's inputs, as those of
    ``torch.nn.Linear``. The recipe is that of the field's comparisons; the paper's own,
    which differs between its data sets, is reached by `ratio`, `learning_rate`,
    `batch_size` and `max_iter`. The paper has no dropout.

    All rows share the masks of a draw, so that a prediction does not depend on its batch, and
    draws at several rows are those of one network.

    References
    ----------
    .. [1] P. Gao, S. Geng, R. Zhang, T. Ma, R. Fang, Y. Zhang, H. Li, Y. Qiao,
       "CLIP-Adapter: better vision-language models with feature adapters", IJCV 2024.
    .. [2] Y. Gal, Z. Ghahramani, "Dropout as a Bayesian approximation: representing model
       uncertainty in deep learning", ICML 2016.

    Examples
    --------
    >>> from skclip import CLIPAdapterClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(8, 5, random_state=0)
    >>> adapter = CLIPAdapterClassifier(data.prototypes, max_iter=20, random_state=0)
    >>> adapter.fit(data.X, data.y).down_.shape
    (128, 512)
    """

    _parameter_constraints: dict = {
        **BaseAdapterClassifier._parameter_constraints,
        "ratio": [Interval(Real, 0, 1, closed="both")],
        "reduction": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "n_mc_samples": [Interval(Integral, 1, None, closed="left")],
        **{
            name: RECIPE_CONSTRAINTS[name]
            for name in RECIPE_CONSTRAINTS
            if name != "prototype_norm"
        },
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        ratio: float = 0.2,
        reduction: int = 4,
        dropout: float = 0.0,
        n_mc_samples: int = 32,
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        max_iter: int | None = None,
        learning_rate: float = 0.1,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.ratio = ratio
        self.reduction = reduction
        self.dropout = dropout
        self.n_mc_samples = n_mc_samples
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

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
        self : CLIPAdapterClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes and data disagree in classes or features.
        ValueError
            If `prototypes` is None, or a row of X to be normalised is zero.
        """
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        generator = torch_generator(self.random_state)
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        d = problem.X.shape[1]
        n_hidden = max(1, d // self.reduction)
        recipe = recipe_of(self)
        network = fit_bottleneck(
            problem,
            initial_bottleneck(d, n_hidden, float(self.ratio), generator, problem.X),
            recipe,
            generator,
            dropout=self.dropout,
            callback=progress_bar(self, recipe),
        )
        averaging = Averaging(self.n_mc_samples if self.dropout > 0 else 1, seed)
        model = BottleneckModel(
            network, problem.prior_mean, problem.logit_scale, float(self.dropout), averaging
        )
        return self._publish(
            model,
            down_=network.down,
            up_=network.up,
            prototypes_=problem.prior_mean,
            n_iter_=recipe.epochs,
        )
