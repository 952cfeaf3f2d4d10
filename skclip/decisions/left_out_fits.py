"""Models of a support without some of its images: one step from the fit, or fitted again."""

import inspect
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skclip.adapters.base import BaseAdapterClassifier
from skclip.adapters.left_out import LeftOut, left_out_models
from skclip.decisions.wrapped import is_frozen, unwrap
from skclip.prompts import Prototypes
from skclip.utils.sklearn_private import safe_indexing

__all__ = ["LeftOutFits", "fitted_on", "leave_out"]

# Images up to which each is left out by itself where models are fitted again.
_MOST_REFITS = 32
_DEFAULT_FOLDS = 10


class LeftOutFits(NamedTuple):
    """Steps to the models without an image each; or models, and the fold (n,) that each lacks."""

    step: LeftOut | None
    models: list[Any]
    folds: np.ndarray | None

    @property
    def method(self) -> str:
        return "refit" if self.step is None else "step"


def fitted_on(estimator: Any, X: Any, y: np.ndarray, groups: np.ndarray | None) -> Any:
    """A fit of a clone, which is told the images where it takes them."""
    takes_groups = groups is not None and "groups" in inspect.signature(estimator.fit).parameters
    if not takes_groups:
        return clone(estimator).fit(X, y)
    weight = 1.0 / np.bincount(groups)[groups]
    return clone(estimator).fit(X, y, sample_weight=weight, groups=groups)


def leave_out(
    estimator: Any,
    fitted: Any,
    X: Any,
    y: np.ndarray,
    groups: np.ndarray | None,
    *,
    method: str = "auto",
    cv: int | None = None,
    n_jobs: int | None = None,
) -> LeftOutFits:
    """Models without each image: by a step where `method` is not "refit" and there is one.

    `fitted` is the fit of `estimator` on all rows X of labels y and images `groups` (n,) 0, 1, ...,
    None for one each. `cv` is the number of folds to fit again; None leaves out every image by
    itself up to 32 of them, and has 10 folds beyond, fewer where no class has as many images.
    """
    last, rows = unwrap(fitted, X)
    # A frozen classifier has not learned from these rows: nothing is to be taken from it.
    possible = method != "refit" and not is_frozen(estimator)
    step = left_out_models(last, rows, y, groups) if possible else None
    if step is not None:
        return LeftOutFits(step, [], None)
    if method == "step":
        raise ValueError(
            "method='step' needs an adapter whose left-out models are known, such as "
            f"BayesAdapterClassifier with text and posterior='map'; got {type(last).__name__} with "
            "parameters or a support that have none. Use method='auto'."
        )
    images = np.arange(len(y)) if groups is None else groups
    folds = _folds(images, np.searchsorted(fitted.classes_, y), cv)
    estimator = _with_labelled_prototypes(estimator, fitted)

    def without(k: int) -> Any:
        kept = np.flatnonzero(folds != k)
        codes = None if groups is None else np.unique(groups[kept], return_inverse=True)[1]
        return fitted_on(estimator, safe_indexing(X, kept), y[kept], codes)

    n_folds = int(folds.max()) + 1
    models = Parallel(n_jobs=n_jobs)(delayed(without)(k) for k in range(n_folds))
    return LeftOutFits(None, models, folds)


def _folds(images: np.ndarray, codes: np.ndarray, cv: int | None) -> np.ndarray:
    """(n,) fold of every row; images stay together."""
    n = int(images.max()) + 1
    if cv is None and n <= _MOST_REFITS:
        return images
    label = np.empty(n, dtype=np.intp)
    label[images] = codes
    n_folds = cv
    if n_folds is None:
        n_folds = max(2, min(_DEFAULT_FOLDS, int(np.bincount(label).max())))
    if n_folds > n:
        raise ValueError(f"cv must be at most the number of images; got {n_folds} and {n}.")
    # Images of a class side by side, in random order, are dealt out like cards.
    order = np.lexsort((np.random.default_rng(0).random(n), label))
    fold = np.empty(n, dtype=np.intp)
    fold[order] = np.arange(n) % n_folds
    return fold[images]


def _with_labelled_prototypes(estimator: Any, fitted: Any) -> Any:
    """The estimator; a bare array of prototypes gets labels, so that a fold may miss a class."""
    given = getattr(estimator, "prototypes", None)
    if not isinstance(estimator, BaseAdapterClassifier) or given is None:
        return estimator
    if isinstance(given, Prototypes) or not hasattr(given, "__array__"):
        return estimator
    return clone(estimator).set_params(prototypes=Prototypes(np.asarray(given), fitted.classes_))
