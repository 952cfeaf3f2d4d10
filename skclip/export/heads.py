"""Every fitted model as a torch module from rows (n, d) to log-probabilities (n, c).

A model predicts in chunks and tiles, and makes its draws as it needs them, which a graph cannot.
Here each is one formula over whole arrays, with all that does not depend on the rows computed once,
in the model's own precision, and kept in single precision.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skclip._core.methods.clip_adapter import BottleneckModel, dropout_masks
from skclip._core.methods.laplace_probe import LaplaceProbeModel, probit
from skclip._core.methods.proker import KernelModel
from skclip._core.methods.tip_adapter import TipAdapterModel
from skclip._core.methods.zero_shot_range import rescale_to_range
from skclip._core.model import Averaging, FittedModel, LinearModel
from skclip._core.posterior.block import Frame
from skclip._core.posterior.cosine import CosineModel
from skclip._core.posterior.draws import standard_normal
from skclip._core.posterior.gaussian_model import GaussianModel
from skclip.exceptions import ExportError

__all__ = ["Head", "MeanHead", "RescaledHead", "head_of"]


class Head(nn.Module):
    """Log-probabilities (n, c) of rows (n, d)."""

    def constant(self, name: str, value: Tensor) -> None:
        """A tensor that is saved and moved with the module, in single precision."""
        self.register_buffer(name, value.detach().float().contiguous())

    def scores(self, X: Tensor) -> Tensor:
        """Logits (n, c) by the one best set of weights."""
        raise NotImplementedError

    def forward(self, X: Tensor) -> Tensor:
        return torch.log_softmax(self.scores(X), dim=1)


class _Linear(Head):
    """``X W' + b``, with scale and temperature inside."""

    weight: Tensor
    bias: Tensor

    def __init__(self, W: Tensor, b: Tensor, logit_scale: float, temperature: float = 1.0) -> None:
        super().__init__()
        self.constant("weight", W.double() * (logit_scale / temperature))
        self.constant("bias", b.double() / temperature)

    def scores(self, X: Tensor) -> Tensor:
        return torch.addmm(self.bias, X, self.weight.T)


class _Averaged(_Linear):
    """Linear logits with Gaussian spread, over which predictions average."""

    noise: Tensor

    def __init__(self, averaging: Averaging, *linear: Any) -> None:
        super().__init__(*linear)
        self.what = averaging.what
        n_classes = len(self.bias)
        self.constant("noise", standard_normal(averaging.n_draws, n_classes, averaging.seed))

    def spread(self, X: Tensor) -> Tensor:
        """What each draw adds to the logits, (n, s, c)."""
        raise NotImplementedError

    def forward(self, X: Tensor) -> Tensor:
        return _average(self.scores(X)[:, None] + self.spread(X), self.what)


class _Coordinates(nn.Module):
    """Rows in a frame: phi (n, r'), and the squared length (n,) of what is outside it."""

    basis: Tensor
    centre: Tensor
    metric: Tensor

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        metric = frame.metric
        self.has_bias, self.has_metric = frame.has_bias, metric is not None
        self.register_buffer("basis", frame.basis.float())
        self.register_buffer("centre", frame.centre.float())
        self.register_buffer("metric", (frame.basis[:0] if metric is None else metric).float())

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        metric = self.metric if self.has_metric else None
        phi, outside = Frame(self.basis, metric, self.centre, has_bias=False).coordinates(X)
        if self.has_bias:  # ones of as many rows as there are, which len() would fix in a graph
            phi = torch.cat([phi, torch.ones_like(phi[:, :1])], dim=1)
        return phi, outside


class _Gaussian(_Averaged):
    """Blocks of precisions, one for each class."""

    inverse_diagonal: Tensor
    inverse_outside: Tensor
    reduction: Tensor
    owner: Tensor

    def __init__(self, model: GaussianModel) -> None:
        super().__init__(model.averaging, model.W, model.b, model.logit_scale, model.temperature)
        posterior = model.posterior
        scale = model.posterior_temperature * (model.logit_scale / model.temperature) ** 2
        self.coordinates = _Coordinates(model.frame)
        self.constant("inverse_diagonal", scale / posterior.diagonal.double())
        self.constant("inverse_outside", scale / posterior.outside.double())
        self.constant("reduction", scale**0.5 * posterior.reduction().double())
        self.constant("owner", F.one_hot(posterior.owner.long(), model.n_classes))

    def spread(self, X: Tensor) -> Tensor:
        phi, outside = self.coordinates(X)
        variance = outside[:, None] * self.inverse_outside + phi.square() @ self.inverse_diagonal.T
        variance = variance - (phi @ self.reduction.T).square() @ self.owner
        return variance.clamp(min=0.0).sqrt()[:, None] * self.noise


class _Kronecker(_Averaged):
    """Covariances of the logits that have the same axes at every row."""

    axes: Tensor
    root_square: Tensor

    def __init__(self, model: LaplaceProbeModel, axes: Tensor) -> None:
        super().__init__(model.averaging, model.W, model.b, model.logit_scale)
        posterior = model.posterior
        self.closed_form = model.predictive == "probit"
        scale = posterior.temperature * posterior.logit_scale**2
        self.coordinates = _Coordinates(model.frame)
        self.constant("axes", axes)
        self.constant("root_square", scale * posterior.root.double().square())
        self.outside_variance = scale / posterior.precision

    def _on_axes(self, X: Tensor) -> Tensor:
        phi, outside = self.coordinates(X)
        return phi.square() @ self.root_square.T + outside[:, None] * self.outside_variance

    def spread(self, X: Tensor) -> Tensor:
        return (self._on_axes(X).sqrt()[:, None] * self.noise) @ self.axes.T

    def forward(self, X: Tensor) -> Tensor:
        if not self.closed_form:
            return super().forward(X)
        c = len(self.axes)
        variance = self._on_axes(X) @ (self.axes - self.axes.mean(dim=0)).square().T
        return probit(self.scores(X), variance * (c / (c - 1)))


class _FullProbit(_Linear):
    """Any covariances of the logits, in the closed form that needs their variances alone."""

    factors: Tensor

    def __init__(self, model: LaplaceProbeModel) -> None:
        super().__init__(model.W, model.b, model.logit_scale)
        root = model.posterior.root.double()  # (c, r, m)
        c = len(root)
        scale = model.posterior.temperature * model.posterior.logit_scale**2
        centred = (scale * c / (c - 1)) ** 0.5 * (root - root.mean(dim=0))
        self.coordinates = _Coordinates(model.frame)
        self.constant("factors", centred.permute(1, 0, 2))
        self.outside_variance = scale / model.posterior.precision

    def forward(self, X: Tensor) -> Tensor:
        phi, outside = self.coordinates(X)
        r, c, m = self.factors.shape
        parts = (phi @ self.factors.reshape(r, c * m)).reshape(-1, c, m)
        variance = parts.square().sum(dim=2) + self.outside_variance * outside[:, None]
        return probit(self.scores(X), variance)


class _Cosine(Head):
    """Cosines of drawn weights, every draw of which is linear."""

    draws: Tensor

    def __init__(self, model: CosineModel) -> None:
        super().__init__()
        self.what = model.averaging.what
        identity = torch.eye(model.mean.shape[1]).to(model.mean)
        self.constant("draws", torch.stack([*model.draws(identity)]).permute(1, 0, 2))  # (d, s, c)

    def forward(self, X: Tensor) -> Tensor:
        d, s, c = self.draws.shape
        return _average((X @ self.draws.reshape(d, s * c)).reshape(-1, s, c), self.what)


class _Bottleneck(Head):
    """A small network before the text; with dropout, predictions average over masks."""

    down: Tensor
    up: Tensor
    prototypes: Tensor
    masks: Tensor

    def __init__(self, model: BottleneckModel) -> None:
        super().__init__()
        network, averaging = model.network, model.averaging
        self.what, self.ratio = averaging.what, network.ratio
        self.constant("down", network.down)
        self.constant("up", network.up)
        self.constant("prototypes", model.logit_scale * F.normalize(model.prototypes, dim=1))
        masks = torch.ones_like(network.down[:1, :1]).expand(1, len(network.down))
        if model.has_spread:
            generator = torch.Generator().manual_seed(averaging.seed)
            masks = dropout_masks(
                averaging.n_draws, len(network.down), model.dropout, generator, network.down
            )
        self.constant("masks", masks)

    def forward(self, X: Tensor) -> Tensor:
        hidden = torch.relu(X @ self.down.T)[:, None] * self.masks
        adapted = self.ratio * torch.relu(hidden @ self.up.T) + (1.0 - self.ratio) * X[:, None]
        return _average(F.normalize(adapted, dim=2) @ self.prototypes.T, self.what)


class _Tip(Head):
    """The text, and the affinities to keys."""

    text: Tensor
    keys: Tensor
    offsets: Tensor
    values: Tensor
    origin: Tensor

    def __init__(self, model: TipAdapterModel) -> None:
        super().__init__()
        cache, comparison = model.cache, model.comparison
        self.alpha, self.beta = model.alpha, model.beta
        self.has_text, self.scale = comparison.text is not None, comparison.logit_scale
        if comparison.text is not None:
            self.constant("text", comparison.logit_scale * comparison.text)
        self.constant("origin", comparison.origin)
        self.constant("keys", cache.keys)
        self.constant("offsets", cache.offsets)
        labels = F.one_hot(cache.labels.long(), cache.n_classes)
        self.constant("values", model.alpha * cache.weight[:, None] * labels)

    def scores(self, X: Tensor) -> Tensor:
        rows = X if self.has_text else (X - self.origin) * self.scale
        gap = 0.5 * rows.square().sum(dim=1, keepdim=True) + self.offsets - rows @ self.keys.T
        scores = (-self.beta * gap).exp() @ self.values
        return scores + rows @ self.text.T if self.has_text else scores


class _Kernel(Head):
    """Kernel regression around the text."""

    text: Tensor
    keys: Tensor
    dual: Tensor
    origin: Tensor

    def __init__(self, model: KernelModel) -> None:
        super().__init__()
        self.beta, self.has_text = model.beta, model.text is not None
        scale = model.logit_scale / model.temperature
        origin = model.keys.mean(dim=0)
        self.constant("origin", origin)
        self.constant("keys", model.keys - origin)
        self.constant("dual", scale * model.dual)
        if model.text is not None:
            self.constant("text", scale * model.text)

    def scores(self, X: Tensor) -> Tensor:
        rows = X - self.origin
        half = 0.5 * rows.square().sum(dim=1, keepdim=True) + 0.5 * self.keys.square().sum(dim=1)
        scores = (-self.beta * (half - rows @ self.keys.T).clamp(min=0.0)).exp() @ self.dual
        return scores + X @ self.text.T if self.has_text else scores


class MeanHead(Head):
    """The mean of the probabilities of several classifiers, as log-probabilities."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, X: Tensor) -> Tensor:
        return _average(torch.stack([member(X) for member in self.members], dim=1), "probabilities")


class RescaledHead(Head):
    """The log-probabilities of a classifier, in the range of the text's logits at each row."""

    def __init__(self, estimator: nn.Module, reference: Head) -> None:
        super().__init__()
        self.estimator = estimator
        self.reference = reference

    def scores(self, X: Tensor) -> Tensor:
        return rescale_to_range(self.estimator(X), self.reference.scores(X))


def head_of(model: FittedModel, name: str) -> Head:
    """The module of a fitted model; `name` is the estimator's, for the error.

    Raises
    ------
    ExportError
        If its predictions have no form over whole arrays.
    """
    if isinstance(model, LaplaceProbeModel):
        if model.posterior.axes is not None:
            return _Kronecker(model, model.posterior.axes)
        if model.predictive == "probit":
            return _FullProbit(model)
        raise ExportError(
            f"{name} must have draws along axes that are the same at every row to be exported; got "
            "covariance='full', which needs an eigendecomposition for each. Fit with "
            "covariance='kronecker', or with predictive='probit'."
        )
    if isinstance(model, LinearModel) or (
        isinstance(model, GaussianModel) and not model.has_spread
    ):
        return _Linear(model.W, model.b, model.logit_scale, model.temperature)
    for kind, make in _HEADS.items():
        if isinstance(model, kind):
            return make(model)
    raise ExportError(
        f"{name} must have a model of skclip to be exported; got a {type(model).__name__}. A model "
        "of your own needs a module of its own."
    )


_HEADS: dict[type, Callable[[Any], Head]] = {
    GaussianModel: _Gaussian,
    CosineModel: _Cosine,
    BottleneckModel: _Bottleneck,
    TipAdapterModel: _Tip,
    KernelModel: _Kernel,
}


def _average(scores: Tensor, what: str) -> Tensor:
    """Log-probabilities (n, c) of averaged draws (n, s, c)."""
    if what == "logits":
        return torch.log_softmax(scores.mean(dim=1), dim=1)
    total = torch.logsumexp(torch.log_softmax(scores, dim=2), dim=1)
    return torch.log_softmax(total, dim=1)
