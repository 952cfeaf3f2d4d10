"""The models that a fit would have given without one image each, where they are a step away.

An adapter offers its own by an entry of `of_adapter`, a generic function; what acts on them, as
:class:`LeftOut`, knows no adapter. Whoever asks has just fitted: parameters are those of the fit,
and say what a fit without the image would choose anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import singledispatch
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from skclip._core.left_out_logits import LeftOutFactors, LeftOutPairs
from skclip._core.linear.left_out_models import left_out_pairs
from skclip._core.methods import gaussian_da_left_out, proker
from skclip._core.methods.gaussian_da import GaussianClasses
from skclip._core.posterior.gaussian_model import GaussianModel
from skclip.adapters.base import BaseAdapterClassifier
from skclip.adapters.bayes_adapter import BayesAdapterClassifier
from skclip.adapters.clap import CLAPClassifier
from skclip.adapters.gaussian_da import GaussianDAClassifier
from skclip.adapters.images import image_weight
from skclip.adapters.linear_probe import LinearProbeClassifier
from skclip.adapters.proker import ProKeRClassifier
from skclip.adapters.task_res import TaskResClassifier

__all__ = ["LeftOut", "LeftOutPairs", "left_out_models"]

# Rows whose coordinates are made at once.
_ROWS_PER_CHUNK = 512


class LeftOut(NamedTuple):
    """Left-out models of a fitted adapter, as changes of its logits.

    `is_exact` says that they are the models that a fit without the image gives: nothing in them
    was chosen by looking at it.
    """

    changes: LeftOutPairs | LeftOutFactors
    is_exact: bool

    def arrays(self) -> dict[str, np.ndarray]:
        """The changes as NumPy arrays, which is what a fitted estimator holds."""
        return {f.name: getattr(self.changes, f.name).numpy() for f in fields(self.changes)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], is_exact: bool) -> "LeftOut":
        kind = LeftOutPairs if "classes" in arrays else LeftOutFactors
        return cls(kind(**{name: torch.tensor(array) for name, array in arrays.items()}), is_exact)

    def own_logits(self, estimator: Any, X: Any, images: np.ndarray) -> np.ndarray:
        """(n, c) logits of rows by the models without the image (n,) of each."""
        logits, phi = _coordinates(estimator, X)
        return self.changes.own_logits(logits, phi, torch.from_numpy(images)).numpy()

    def every_logits(
        self, estimator: Any, X: Any, n_images: int, numbers: int
    ) -> Iterator[torch.Tensor]:
        """Logits (m, g, c) of some rows at a time, by the models without each image.

        Each is up to a number per row and model. A block has about so many `numbers`, and lasts
        until the next is asked for.
        """
        n_rows = max(1, numbers // (n_images * len(estimator.classes_)))
        for first in range(0, len(X), _ROWS_PER_CHUNK):
            logits, phi = _coordinates(estimator, X[first : first + _ROWS_PER_CHUNK])
            yield from self.changes.every_logits(logits, phi, n_images, n_rows)

    def pairs(self, estimator: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Logits (m, c) of rows by the whole model, and what is added (m, k) for every pair."""
        logits, phi = _coordinates(estimator, X)
        return logits.numpy(), cast(LeftOutPairs, self.changes).shifts(phi).numpy()


def _coordinates(estimator: Any, X: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (m, c) of rows, and their coordinates (m, r) in the precision of the model."""
    model = estimator.model_
    rows = torch.from_numpy(estimator.check_rows(X))
    return torch.from_numpy(estimator.logits(X)), model.to(rows).coordinates(rows)


class FittedRows(NamedTuple):
    """Rows (n, d) as the model takes them, labels y (n,) and images (n,), both coded 0, 1, ...

    weight (n,) shares 1 among the rows of an image.
    """

    X: torch.Tensor
    y: torch.Tensor
    images: torch.Tensor
    weight: torch.Tensor

    def has_others(self, n_classes: int) -> bool:
        """Whether every class keeps an image when one is left out."""
        first = torch.unique(torch.stack([self.images, self.y]), dim=1)[1]
        return bool((torch.bincount(first, minlength=n_classes) > 1).all())


def left_out_models(
    estimator: Any, X: Any, y: np.ndarray, groups: np.ndarray | None
) -> LeftOut | None:
    """The models without each image; None where they are not a step away from the fit.

    Parameters
    ----------
    estimator : classifier
        Fitted on rows X (n, d) of labels y and images `groups` (n,) 0, 1, ..., None for one each.
        Rows of an image have shared a weight of 1 if its fit takes `groups`, and else had 1 each.
    """
    if not isinstance(estimator, BaseAdapterClassifier):
        return None
    rows = torch.from_numpy(estimator.check_rows(X))
    weight = np.ones(len(rows)) if groups is None else image_weight(None, groups)
    support = FittedRows(
        rows,
        torch.from_numpy(np.searchsorted(estimator.classes_, y)),
        torch.arange(len(rows)) if groups is None else torch.from_numpy(groups),
        torch.as_tensor(weight, dtype=rows.dtype),
    )
    # Without a text a model does not know the class of a lone image.
    if estimator.text_prototypes_ is None and not support.has_others(len(estimator.classes_)):
        return None
    return of_adapter(estimator, support)


@singledispatch
def of_adapter(estimator: BaseAdapterClassifier, support: FittedRows) -> LeftOut | None:
    """Left-out models of an adapter, by its kind."""
    return None


@of_adapter.register
def _(estimator: BayesAdapterClassifier, support: FittedRows) -> LeftOut | None:
    """A Newton step from the mode, under a prior that did not see the rows."""
    model: GaussianModel = estimator.model_
    if (
        model.has_spread
        or estimator.text_prototypes_ is None
        or estimator.class_weight is not None
        or not np.isfinite(model.bias_variance)
    ):
        return None
    rows = support.X.to(model.W)
    phi = model.coordinates(rows)
    ridge = torch.ones_like(phi[0])
    if model.frame.has_bias:
        ridge[-1] = 1.0 / model.bias_variance
    pairs = left_out_pairs(
        phi,
        torch.softmax(model.logits(rows) * model.temperature, dim=1),
        support.y,
        support.weight.to(rows),
        support.images,
        scale=model.logit_scale / torch.outer(model.prior_precision, ridge).sqrt(),
        temperature=model.temperature,
    )
    return LeftOut(pairs, is_exact=False)


@of_adapter.register
def _(
    estimator: LinearProbeClassifier | CLAPClassifier | TaskResClassifier, support: FittedRows
) -> LeftOut | None:
    """A Newton step from the optimum of a convex problem without biases."""
    with_bias = getattr(estimator, "fit_intercept", False) is True
    if (
        not hasattr(estimator, "prior_precision_")
        or estimator.text_prototypes_ is None
        or getattr(estimator, "class_weight", None) is not None
        or with_bias
    ):
        return None
    model = estimator.model_
    rows = support.X.to(model.W)
    precision = torch.from_numpy(estimator.prior_precision_)
    pairs = left_out_pairs(
        rows,
        torch.softmax(model.logits(rows), dim=1),
        support.y,
        torch.ones_like(rows[:, 0]),
        support.images,
        scale=(model.logit_scale / precision.sqrt())[:, None].expand(-1, rows.shape[1]),
    )
    return LeftOut(pairs, is_exact=False)


@of_adapter.register
def _(estimator: GaussianDAClassifier, support: FittedRows) -> LeftOut | None:
    """Downdates of means and scatter; shrinkage and shares of classes are chosen anew."""
    X, y, images, weight = support
    shrinkage = None if estimator.shrinkage == "auto" else float(estimator.shrinkage)
    classes = GaussianClasses.of(X, y, weight, len(estimator.classes_), shrinkage)
    changes = gaussian_da_left_out.left_out_factors(
        *(classes, X, y, weight, images),
        alpha=estimator.alpha_,
        log_prior=None if estimator.priors is None else torch.tensor(estimator.priors_).log(),
    )
    given = estimator.alpha != "auto" or estimator.text_prototypes_ is None
    return None if changes is None else LeftOut(changes, is_exact=given)


@of_adapter.register
def _(estimator: ProKeRClassifier, support: FittedRows) -> LeftOut | None:
    """Without an image the dual coefficients change along its column of the inverse kernel."""
    if len(estimator.model_.keys) < len(support.X):  # of landmarks there is no such column
        return None
    changes = proker.left_out_factors(
        estimator.model_, support.weight, estimator.ridge_, support.images
    )
    chosen = "auto" in (estimator.beta, estimator.ridge, estimator.temperature)
    return LeftOut(changes, is_exact=not chosen)
