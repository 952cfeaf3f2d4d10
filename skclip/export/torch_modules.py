"""A fitted classifier, or a pipeline from images, as one torch module."""

import copy
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn import functional as F

from skclip.adapters import DeepEnsembleClassifier, SampleAdaptiveScaling
from skclip.adapters.base import BaseAdapterClassifier
from skclip.backbones import Backbone, get_backbone
from skclip.exceptions import ExportError
from skclip.export.heads import Head, MeanHead, RescaledHead, head_of
from skclip.features import CLIPFeaturizer

__all__ = ["ExportedClassifier", "to_torch"]

# Rows of zeros, which a classifier refuses, stay zero.
_SMALLEST = 1e-37


class ExportedClassifier(nn.Module):
    """Probabilities of every class, from features or from preprocessed images.

    Made by :func:`to_torch`. It is an ordinary module in evaluation mode: it moves between devices,
    has a ``state_dict``, can be compiled, and needs gradients of its input only.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The label of each column.
    takes : {"images", "features"}
        What :meth:`forward` is given.
    n_features : int
        Features of a row, of which `tower` makes them from an image.
    backbone : skclip.backbones.Backbone or None
        The model behind `tower`, whose `preprocess` makes a tensor of a PIL image.
    """

    def __init__(self, head: nn.Module, classes: np.ndarray, n_features: int) -> None:
        super().__init__()
        self.head = head
        self.classes = classes
        self.n_features = n_features
        self.takes = "features"
        self.tower: nn.Module | None = None
        self.backbone: Backbone | None = None

    def forward(self, X: Tensor) -> Tensor:
        """Probabilities (n, n_classes), float32.

        Parameters
        ----------
        X : Tensor of shape (n, 3, height, width) or (n, n_features), float32
            Preprocessed images; features where the module is that of a classifier alone.

        Returns
        -------
        Tensor of shape (n, n_classes)
        """
        rows = X if self.tower is None else self.tower(X)
        probabilities: Tensor = self.head(rows).exp()
        return probabilities


class _Tower(nn.Module):
    """The image tower of a CLIP model, in single precision, with unit rows or raw ones."""

    def __init__(self, visual: nn.Module, normalize: bool) -> None:
        super().__init__()
        self.visual = visual
        self.normalize = normalize

    def forward(self, images: Tensor) -> Tensor:
        rows = self.visual(images)
        rows = rows[0] if isinstance(rows, tuple) else rows  # CoCa's tokens come second
        return F.normalize(rows, dim=1, eps=1e-12) if self.normalize else rows


class _Rows(Head):
    """A head before which rows are scaled to unit norm, or not."""

    def __init__(self, head: Head, normalize: bool) -> None:
        super().__init__()
        self.head = head
        self.normalize = normalize

    def _as_fitted(self, X: Tensor) -> Tensor:
        if not self.normalize:
            return X
        # Squares of long and short rows leave single precision: the largest entry goes first.
        largest = X.abs().amax(dim=1, keepdim=True)
        return F.normalize(X / largest.clamp(min=_SMALLEST), dim=1)

    def scores(self, X: Tensor) -> Tensor:
        return self.head.scores(self._as_fitted(X))

    def forward(self, X: Tensor) -> Tensor:
        log_proba: Tensor = self.head(self._as_fitted(X))
        return log_proba


def to_torch(estimator: Any) -> ExportedClassifier:
    """A fitted classifier, or a pipeline of a CLIPFeaturizer and one, as a torch module.

    Parameters
    ----------
    estimator : classifier or Pipeline
        A fitted classifier of skclip, or ``make_pipeline(CLIPFeaturizer(...), classifier)``. Of a
        classifier alone the module takes features.

    Returns
    -------
    ExportedClassifier
        A torch.nn.Module in evaluation mode, on the CPU, in float32: its probabilities are those of
        ``predict_proba`` up to rounding, 1e-5. The weights of the image tower are a copy; the text
        tower is left behind, as its work is done. Its attribute `classes` has the label of each
        column, `takes` is "images" or "features", and ``backbone.preprocess`` makes the tensor
        (3, height, width) of a PIL image that it takes.

    Raises
    ------
    ExportError
        If the estimator is of another kind, or its predictions have no form in torch.
    sklearn.exceptions.NotFittedError
        If the classifier is not fitted.

    See Also
    --------
    to_onnx : The same as a file for ONNX Runtime.

    Examples
    --------
    >>> import PIL.Image
    >>> import torch
    >>> from sklearn.pipeline import make_pipeline
    >>> from skclip import BayesAdapterClassifier, CLIPFeaturizer
    >>> from skclip.datasets import load_digits_images, tiny_clip
    >>> from skclip.export import to_torch
    >>> data = load_digits_images()
    >>> pipeline = make_pipeline(CLIPFeaturizer(pretrained=tiny_clip()), BayesAdapterClassifier())
    >>> module = to_torch(pipeline.fit(data.images[:40], data.labels[:40]))
    >>> pictures = [PIL.Image.fromarray(pixels) for pixels in data.images[:2]]
    >>> batch = torch.stack([module.backbone.preprocess(picture) for picture in pictures])
    >>> module(batch).shape
    torch.Size([2, 10])
    """
    if not isinstance(estimator, Pipeline):
        check_is_fitted(estimator)
        return _exported(estimator).eval()
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    if len(steps) != 2 or not isinstance(steps[0], CLIPFeaturizer):
        names = ", ".join(type(step).__name__ for step in steps)
        raise ExportError(
            "A pipeline must be a CLIPFeaturizer and a classifier to be exported; got the steps "
            f"{names}. Export the classifier alone, and do the other steps before it."
        )
    featurizer, classifier = steps
    check_is_fitted(classifier)
    module = _exported(classifier)
    backbone = get_backbone(featurizer.backbone_config())
    visual = copy.deepcopy(backbone.model.visual).cpu().float().requires_grad_(False)
    module.tower, module.backbone = _Tower(visual, featurizer.normalize), backbone
    module.takes = "images"
    return module.eval()


def _exported(classifier: Any) -> ExportedClassifier:
    head = _log_proba(classifier)
    n_features = int(getattr(classifier, "n_features_in_", 0))
    return ExportedClassifier(head, np.asarray(classifier.classes_), n_features)


def _log_proba(classifier: Any) -> nn.Module:
    """The module from rows as users have them to log-probabilities."""
    name = type(classifier).__name__
    if isinstance(classifier, DeepEnsembleClassifier):
        return MeanHead([_log_proba(member) for member in classifier.estimators_])
    if not isinstance(classifier, BaseAdapterClassifier):
        raise ExportError(
            f"Classifiers of skclip can be exported, alone or behind a CLIPFeaturizer; got {name}."
            f"{_remedy(classifier)}"
        )
    own = SampleAdaptiveScaling, BaseAdapterClassifier
    if type(classifier).predict_log_proba not in [kind.predict_log_proba for kind in own]:
        raise ExportError(
            f"A classifier must predict what its model says to be exported; got {name}, whose "
            "predict_log_proba is its own. Write a module for what it adds."
        )
    rows = _Rows(head_of(classifier.model_, name), classifier.normalize_)
    if isinstance(classifier, SampleAdaptiveScaling):
        return RescaledHead(_log_proba(classifier.estimator_), rows)
    return rows


def _remedy(estimator: Any) -> str:
    for attribute in ("estimator_", "best_estimator_", "estimator"):
        inner = getattr(estimator, attribute, None)
        if isinstance(inner, BaseAdapterClassifier | DeepEnsembleClassifier | Pipeline):
            return f" Export its {attribute}, and do what it adds to the probabilities."
    return ""
