"""Cross-modal linear probe."""

import math
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skclip._core.methods.cross_modal import CrossModalProblem, as_linear_problem, fit_cross_modal
from skclip._core.problem import Problem
from skclip.adapters.base import LinearAdapterClassifier, fit_method
from skclip.adapters.near_text import (
    ITERATIONS,
    cosine_model,
    linear_model,
    raw_start,
    solve_convex,
)
from skclip.adapters.recipe import RECIPE_CONSTRAINTS, progress_bar, recipe_of
from skclip.exceptions import PrototypeMismatchError
from skclip.utils.arrays import as_array
from skclip.utils.labels import as_labels
from skclip.utils.messages import listing
from skclip.utils.random_state import torch_generator
from skclip.utils.rows import unit_rows
from skclip.utils.sklearn_private import Interval, StrOptions

__all__ = ["CrossModalClassifier"]

_LEARNING_RATE = {"sgd": 0.1, "adamw": 1e-4}
_BATCH_SIZE = {"sgd": 256, "adamw": 16}
# In place of the 12800 that were published with early stopping on a validation set.
_ADAMW_BATCHES = 3200


class CrossModalClassifier(LinearAdapterClassifier):
    r"""Cross-modal linear probe: texts are training rows beside the images.

    The cross-modal linear probing of Lin et al. [1]_ trains one linear classifier on image
    features x and text features s, half and half. The objective here is

    .. math::
        \frac{1}{2n} \sum_{i=1}^n \ell(x_i, y_i) + \frac{1}{2m} \sum_{j=1}^m \ell(s_j, z_j)
        + \frac{\omega}{2} \|W - T\|^2, \qquad
        \ell(x, y) = -\log \mathrm{softmax}_y(\tau W x)

    with the prototypes T as start, to which the weight decay :math:`\omega` pulls.

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
        Text prototypes, the start. The rows of an array belong to the sorted labels of `y`.
    text_features : array-like of shape (n_texts, n_features) or None, default=None
        Text rows to train on, any number per class, as from
        :meth:`ClassPrompts.encode_prompts`. None takes every single prompt of ClassPrompts,
        else the prototypes.
    text_labels : array-like of shape (n_texts,) or None, default=None
        The class of each row of `text_features`.
    weight_decay : float, default=0.01
        :math:`\omega`, in inverse squared weight units; positive for "lbfgs" and "newton-cg",
        which have no finite optimum without it. "sgd" does not use it.
    solver : {"lbfgs", "newton-cg", "adamw", "sgd"}, default="lbfgs"
        "lbfgs" and "newton-cg" solve the convex problem above to its optimum, the latter to
        more digits if `tol` asks for them. "adamw" is the published recipe for it, batches of
        images and as many texts, without the early stopping on a validation set. "sgd" is
        that of later comparisons: cosine logits, which divide every :math:`w_c` by its norm,
        momentum 0.9 and no weight decay.
    logit_scale : "auto" or float, default="auto"
        Factor :math:`\tau` from dot product to logit. "auto" is the prototypes' (else 100).
    normalize : "auto" or bool, default="auto"
        Scale rows of X and text rows to unit norm, and prototypes unless "sgd" is asked
        for; "auto" does.
    prototype_norm : float or None, default=None
        Norm of the start of "sgd", which fixes how far a step moves it. None is the norm that
        the prototypes have, or 8.8, typical of CLIP's raw embeddings, if they are unit
        vectors.
    max_iter : int or None, default=None
        Iterations of "lbfgs" (None: 1000) or "newton-cg" (None: 100), epochs of "sgd" (None:
        300) or "adamw" (None: as many as make 3200 batches).
    tol : float, default=1e-6
        An optimum is reached when ``gradient_norm_`` is at most this.
    learning_rate : float or None, default=None
        First rate of "adamw" (None: 1e-4) or "sgd" (None: 0.1).
    batch_size : int or None, default=None
        Images in a batch of "adamw" (None: 16) or "sgd" (None: 256); as many texts are drawn
        for it.
    random_state : int, RandomState or None, default=None
        Shuffles and draws of "adamw" and "sgd".
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
        Weights; for "sgd" of unit norm, so that logits are ``logit_scale_`` times the cosine.
    intercept_ : ndarray of shape (n_classes,)
        Zeros.
    logit_scale_ : float
    temperature_ : float
        1.
    n_iter_ : int
    gradient_norm_ : float
        Certificate of optimality, not for recipes: the largest class-wise norm of the gradient
        in the scaled weights :math:`\tau W`, over the sum of the weights of all rows.
    prior_precision_ : ndarray of shape (n_classes,)
        What pulls each class to its text, in inverse squared weight units; not for recipes.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    See Also
    --------
    BayesAdapterClassifier : Prior precision and temperature from the support set.

    Notes
    -----
    The published AdamW decays W to zero, but so slowly that W stays near its start. At the
    optimum the difference is large: a penalty on W forgets the text, hence the one on
    W - T. Texts at the prototypes fit themselves already; they matter more with several,
    different texts per class.

    References
    ----------
    .. [1] Z. Lin, S. Yu, Z. Kuang, D. Pathak, D. Ramanan, "Multimodality helps unimodality:
       cross-modal few-shot learning with multimodal models", CVPR 2023.

    Examples
    --------
    >>> from skclip import CrossModalClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> classifier = CrossModalClassifier(data.prototypes).fit(data.X, data.y)
    >>> classifier.gradient_norm_ <= 1e-6
    True
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "text_features": ["array-like", None],
        "text_labels": ["array-like", None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"lbfgs", "newton-cg", "adamw", "sgd"})],
        **RECIPE_CONSTRAINTS,
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes: Any = None,
        *,
        text_features: ArrayLike | None = None,
        text_labels: ArrayLike | None = None,
        weight_decay: float = 0.01,
        solver: str = "lbfgs",
        logit_scale: str | float = "auto",
        normalize: str | bool = "auto",
        prototype_norm: float | None = None,
        max_iter: int | None = None,
        tol: float = 1e-6,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.prototypes = prototypes
        self.text_features = text_features
        self.text_labels = text_labels
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
        """Fit the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the images; a weight of 2 is the row twice. All images
            together always weigh as much as all texts.

        Returns
        -------
        self : CrossModalClassifier

        Raises
        ------
        PrototypeMismatchError
            If prototypes, texts and data disagree in classes or features.
        ValueError
            If `prototypes` is None, there is no weight decay for an optimum, or only one of
            `text_features` and `text_labels` is given.
        """
        if self.solver in ITERATIONS and self.weight_decay == 0:
            raise ValueError(
                f"solver={self.solver!r} needs a positive weight_decay, without which separable "
                "classes have no finite optimum; got 0. Pass a positive number, or solver='adamw'."
            )
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        text, text_y = self._text_rows(problem)
        cosine = self.solver == "sgd"
        start = raw_start(problem, self.prototype_norm) if cosine else problem.prior_mean
        both = CrossModalProblem.of(problem, prior_mean=start, text=text, text_y=text_y)
        if self.solver in ITERATIONS:
            convex = as_linear_problem(both, self.weight_decay)
            model, fitted = solve_convex(convex, self.solver, self.max_iter, self.tol)
            return self._publish(model, **fitted)
        recipe = recipe_of(self, **self._published(len(problem.y)))
        W = fit_cross_modal(
            both,
            recipe,
            torch_generator(self.random_state),
            cosine=cosine,
            callback=progress_bar(self, recipe),
        )
        model = cosine_model(problem, W) if cosine else linear_model(problem, W)
        return self._publish(model, n_iter_=recipe.epochs)

    def _text_rows(self, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
        """Text rows (m, d) and their codes (m,)."""
        if (self.text_features is None) != (self.text_labels is None):
            raise ValueError(
                "text_features and text_labels belong together; got only one of them. Pass both, "
                "or none to train on the prototypes."
            )
        if self.text_features is not None:
            rows = as_array(self.text_features, "text_features")
            labels = as_labels(self.text_labels, "text_labels")
        elif hasattr(self.prototypes, "encode_prompts"):
            rows, labels = self.prototypes.encode_prompts(self.classes_)
        else:
            rows, labels = problem.prior_mean.cpu().numpy(), self.classes_
        self._check_texts(rows, labels, problem.X.shape[1])
        if self.normalize_:
            rows = unit_rows(rows, "text_features")
        else:
            rows = check_array(rows, input_name="text_features")
        codes = np.searchsorted(self.classes_, labels)
        text = torch.tensor(rows).to(problem.X)
        return text, torch.tensor(codes, dtype=torch.int64, device=problem.X.device)

    def _check_texts(self, rows: np.ndarray, labels: np.ndarray, n_features: int) -> None:
        if rows.ndim != 2 or len(rows) == 0 or labels.shape != (len(rows),):
            raise PrototypeMismatchError(
                "text_features must have shape (n_texts, n_features) and text_labels (n_texts,); "
                f"got {rows.shape} and {labels.shape}. Pass one label per text."
            )
        if rows.shape[1] != n_features:
            raise PrototypeMismatchError(
                f"text_features must have as many columns as X has features; got {rows.shape[1]} "
                f"columns and {n_features} features. Take both from the same model."
            )
        unknown = np.unique(labels[~np.isin(labels, self.classes_)])
        if len(unknown):
            raise PrototypeMismatchError(
                f"Every class of text_labels needs a prototype; got none for {listing(unknown)}. "
                "Drop these texts, or pass Prototypes of all classes."
            )

    def _published(self, n_images: int) -> dict[str, Any]:
        """What the recipe of `solver` adds to the parameters."""
        batch_size = self.batch_size or _BATCH_SIZE[self.solver]
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "learning_rate": self.learning_rate or _LEARNING_RATE[self.solver],
        }
        if self.solver == "adamw":
            batches = max(1, n_images // batch_size)
            epochs = self.max_iter or math.ceil(_ADAMW_BATCHES / batches)
            settings |= {"optimizer": "adamw", "weight_decay": self.weight_decay, "epochs": epochs}
        return settings

    def _wants_unit_prototypes(self) -> bool:
        return self.solver != "sgd"
