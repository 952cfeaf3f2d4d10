"""The models that a fit would have given without one image each, where they are a step away."""

from typing import Any, NamedTuple

import numpy as np
import torch

from skclip._core.posterior.gaussian_model import GaussianModel
from skclip._core.posterior.left_out_models import LeftOutModels
from skclip.adapters.base import BaseAdapterClassifier
from skclip.adapters.images import image_weight

__all__ = ["LeftOut", "left_out_step"]


class LeftOut(NamedTuple):
    """Left-out models of a fitted adapter, as arrays.

    directions (r', k) move the logits of k pairs of an image, images (k,), and a class, classes
    (k,) ascending.
    """

    directions: np.ndarray
    images: np.ndarray
    classes: np.ndarray

    def logits(self, estimator: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Logits (n, c) of rows by the whole model, and what left-out images add (n, k)."""
        frame = _linear_model(estimator).frame
        rows = torch.from_numpy(estimator.check_rows(X)).to(frame.basis)
        phi = frame.coordinates(rows)[0].numpy().astype(self.directions.dtype)
        return estimator.logits(X), phi @ self.directions


def left_out_step(
    estimator: Any, X: Any, y: np.ndarray, groups: np.ndarray | None
) -> LeftOut | None:
    """One Newton step from the fit to each model without an image; None where there is none.

    There is one for the mode of the linear form with a prior that did not see the rows: for
    :class:`skclip.BayesAdapterClassifier` with text and ``posterior="map"``.

    Parameters
    ----------
    estimator : classifier
        Fitted on rows X (n, d) of labels y and images `groups` (n,) 0, 1, ..., None for one each.
    """
    model = _linear_model(estimator)
    if (
        not isinstance(estimator, BaseAdapterClassifier)
        or not isinstance(model, GaussianModel)
        or model.has_spread
        or estimator.text_prototypes_ is None
        or getattr(estimator, "class_weight", None) is not None
        or not np.isfinite(model.bias_variance)
    ):
        return None
    rows = torch.from_numpy(estimator.check_rows(X)).to(model.W)
    weight = image_weight(None, groups)
    codes = torch.from_numpy(np.searchsorted(estimator.classes_, y))
    models = LeftOutModels.of(
        model,
        rows,
        codes,
        torch.ones_like(rows[:, 0]) if weight is None else torch.as_tensor(weight).to(rows),
        torch.arange(len(rows)) if groups is None else torch.from_numpy(groups),
    )
    return LeftOut(models.directions.numpy(), models.images.numpy(), models.classes.numpy())


def _linear_model(estimator: Any) -> Any:
    """The model that a fit has published, if any."""
    return getattr(estimator, "model_", None)
