r"""Key-value cache of Tip-Adapter: similarity to the support images, summed by class.

.. math::
    C_c(x) = \sum_{k : y_k = c} a_k \exp(-\beta g_k(x)), \qquad
    g_k(x) = \tfrac12 \|x\|^2 + o_k - \langle x, w_k \rangle

with one key :math:`w_k` of weight :math:`a_k` per image (Zhang et al., "Tip-Adapter:
training-free adaption of CLIP for few-shot classification", ECCV 2022). The offset
:math:`o_k` is half the squared norm of the key before any training. So for unit rows the
gap g is the published :math:`1 - \langle x, w_k \rangle`, also where keys are trained and
leave the sphere, and for rows of any norm half the squared distance to the key.

The logits are those of the text plus :math:`\alpha C(x)`. They are linear in the values, so
that an image is left out by removing its own key, exactly and without refitting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from skclip._core.methods.left_out_images import drawn
from skclip._core.model import FittedModel
from skclip._core.problem import Problem
from skclip._core.solve.sgd import Recipe, train

__all__ = [
    "Cache",
    "Choice",
    "Comparison",
    "Grid",
    "Support",
    "TipAdapterModel",
    "build_cache",
    "class_affinities",
    "select",
    "train_keys",
]

# Of affinities: in the cache of a processor, or few launches on an accelerator.
_BYTES_PER_TILE = 4 * 2**20
_BYTES_PER_ACCELERATOR_TILE = 256 * 2**20
_ROWS_PER_TILE = 1024
_SMALLEST_SHARE = 1e-6
# Rows times classes by whose losses, at every pair of the grid, two numbers are chosen.
_MOST_LEFT_OUT = 2**25


@dataclass(frozen=True)
class Cache:
    """keys (m, d), offsets (m,), labels (m,) ascending, weight (m,) positive."""

    keys: Tensor
    offsets: Tensor
    labels: Tensor
    weight: Tensor
    n_classes: int


@dataclass(frozen=True)
class Comparison:
    """How rows meet the keys and the text: T (c, d) or None; origin (d,) and scale without it.

    Rows of any norm and without text are measured in units of their spread from an origin on
    which distances do not depend, but their rounding does.
    """

    text: Tensor | None
    origin: Tensor
    logit_scale: float

    @classmethod
    def of(cls, problem: Problem, *, unit: bool) -> Comparison:
        """That of a problem, whose rows are of unit norm or not."""
        origin = torch.zeros_like(problem.X[0])
        if not problem.has_text and not unit:
            share = problem.sample_weight / problem.sample_weight.sum()
            origin = share @ problem.X
        text = problem.prior_mean if problem.has_text else None
        return cls(text, origin, problem.logit_scale)

    def scaled(self, X: Tensor) -> Tensor:
        """Rows as keys are."""
        return X if self.text is not None else (X - self.origin) * self.logit_scale

    def text_logits(self, rows: Tensor, n_classes: int) -> Tensor:
        """(n, c) of scaled rows; zeros without text."""
        if self.text is None:
            return rows.new_zeros(len(rows), n_classes)
        return self.logit_scale * (rows @ self.text.T)


@dataclass(frozen=True)
class TipAdapterModel(FittedModel):
    """Logits of the text plus `alpha` times the affinities to the keys, of sharpness `beta`."""

    bytes_per_chunk: ClassVar[int] = 32 * 2**20

    cache: Cache
    comparison: Comparison
    alpha: float
    beta: float

    @property
    def n_classes(self) -> int:
        return self.cache.n_classes

    def logits(self, X: Tensor) -> Tensor:
        rows = self.comparison.scaled(X)
        scores = self.comparison.text_logits(rows, self.n_classes)
        if self.alpha > 0:
            scores += self.alpha * class_affinities(rows, self.cache, (self.beta,))[0]
        return scores

    def numbers_per_row(self, n_features: int) -> int:
        return n_features + self.n_classes


@dataclass(frozen=True)
class Support:
    """The rows that keys are made of, each with its key and what leaves with it.

    X (n, d); y (n,); text_scores: logits of the text for rows (k, d), as (k, c);
    sample_weight (n,); owner (n,) index of the row's key; own (n,) weight that the key
    loses when the row (with groups: its image) is left out.
    """

    X: Tensor
    y: Tensor
    text_scores: Callable[[Tensor], Tensor]
    sample_weight: Tensor
    owner: Tensor
    own: Tensor


@dataclass(frozen=True)
class Grid:
    """Candidates, and the Gaussian prior of log alpha and log beta that weighs them.

    A single candidate is given and has no prior; it may be 0.
    """

    alphas: Sequence[float]
    betas: Sequence[float]
    centre: tuple[float, float]
    width: tuple[float, float]

    def penalty(self) -> Tensor:
        """(n_betas, n_alphas) negative log prior, up to a constant."""
        log_alpha, log_beta = (
            torch.tensor(
                [math.log(v / centre) / width if len(values) > 1 else 0.0 for v in values],
                dtype=torch.float64,
            )
            for values, centre, width in zip(
                (self.alphas, self.betas), self.centre, self.width, strict=True
            )
        )
        return 0.5 * (log_beta.square()[:, None] + log_alpha.square())


@dataclass(frozen=True)
class Choice:
    """The chosen pair, its mean leave-one-out log-likelihood, penalised losses (betas, alphas)."""

    alpha: float
    beta: float
    log_likelihood: float
    losses: Tensor


def build_cache(
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor,
    n_classes: int,
    *,
    groups: Tensor | None = None,
    unit: bool,
) -> tuple[Cache, Tensor, Tensor]:
    """Cache of the images, and `owner` and `own` of :class:`Support`.

    Parameters
    ----------
    groups : Tensor of shape (n,), optional
        Codes 0..g-1 of the image of each row, of one label each. A key is the weighted mean
        of its rows, with their total weight. Each row is an image when None.
    unit : bool
        Whether means are scaled to unit norm.
    """
    if groups is None:
        keys, weight, labels, own = X, sample_weight, y, sample_weight.clamp(max=1.0)
        groups = torch.arange(len(X), device=X.device)
    else:
        g = int(groups.max()) + 1
        weight = sample_weight.new_zeros(g).index_add(0, groups, sample_weight)
        sums = X.new_zeros(g, X.shape[1]).index_add(0, groups, sample_weight[:, None] * X)
        keys = sums / torch.where(weight > 0, weight, 1.0)[:, None]
        keys = F.normalize(keys, dim=1) if unit else keys
        labels = y.new_zeros(g).index_copy(0, groups, y)
        own = weight[groups]
    # An image without weight is no key; its rows, which weigh nothing, are given the first.
    order = torch.argsort(torch.where(weight > 0, labels, n_classes), stable=True)
    kept = order[: int((weight > 0).sum())]
    position = torch.zeros_like(order).index_copy(
        0, kept, torch.arange(len(kept), device=order.device)
    )
    cache = Cache(
        keys=keys[kept],
        offsets=0.5 * keys[kept].square().sum(dim=1),
        labels=labels[kept],
        weight=weight[kept],
        n_classes=n_classes,
    )
    return cache, position[groups], own


def class_affinities(X: Tensor, cache: Cache, betas: Sequence[float]) -> Tensor:
    """(n_betas, n, c) sums C of the affinities of rows X (n, d), for every beta.

    Affinities are made and summed tile by tile of rows and keys.
    """
    out = X.new_empty(len(betas), len(X), cache.n_classes)
    for first in range(0, len(X), _ROWS_PER_TILE):
        rows = slice(first, first + _ROWS_PER_TILE)
        part = X.new_zeros(len(betas), cache.n_classes, len(X[rows]))
        for keys in _tiles(cache, len(X[rows])):
            _add_affinities(part, X[rows], keys, betas)
        out[:, rows] = part.mT
    return out


def _tiles(cache: Cache, n_rows: int) -> Iterator[Cache]:
    """The cache in parts whose affinities to so many rows fit the budget."""
    step = max(1, _bytes_per_tile(cache.keys) // (max(1, n_rows) * cache.keys.element_size()))
    for first in range(0, len(cache.keys), step):
        part = slice(first, first + step)
        yield replace(
            cache,
            keys=cache.keys[part],
            offsets=cache.offsets[part],
            labels=cache.labels[part],
            weight=cache.weight[part],
        )


def _bytes_per_tile(tensor: Tensor) -> int:
    return _BYTES_PER_TILE if tensor.is_cpu else _BYTES_PER_ACCELERATOR_TILE


def _add_affinities(out: Tensor, X: Tensor, cache: Cache, betas: Sequence[float]) -> None:
    """Add to out (n_betas, c, k) the affinities of the rows to all keys at once."""
    # (m, k): keys first, so that a class is a run of rows.
    negative_gap = torch.addmm(-cache.offsets[:, None], cache.keys, X.T)
    negative_gap = negative_gap - 0.5 * X.square().sum(dim=1)
    # Ascending labels: a tile has few classes, and a product with their values is faster than
    # a scatter, with a fixed order of the terms on every device.
    first, last = int(cache.labels[0]), int(cache.labels[-1]) + 1
    values = cache.keys.new_zeros(last - first, len(cache.labels))
    values[cache.labels - first, torch.arange(len(cache.labels))] = cache.weight
    for index, beta in enumerate(betas):
        affinity = (beta * negative_gap).exp_()
        out[index, first:last].addmm_(values, affinity)


def left_out_affinities(
    support: Support, rows: Tensor | slice, cache: Cache, betas: Sequence[float]
) -> Tensor:
    r"""(n_betas, k, c) affinities of support rows to the cache without their own image.

    In the row's own class the sum is scaled from the weight :math:`N_y - a` that stays to
    the :math:`N_y` of the whole class. A new image of the class meets all of it, so this has
    the right expectation; without it the other classes, which lose nothing, have an edge
    that makes the cache look worse than it is, most with few images per class.
    """
    X, y = support.X[rows], support.y[rows]
    own, keys = support.own[rows], cache.keys[support.owner[rows]]
    sums = class_affinities(X, cache, betas)
    gap = 0.5 * X.square().sum(dim=1) + cache.offsets[support.owner[rows]] - (X * keys).sum(dim=1)
    share = left_out_share(cache, y, own)
    scale = 1.0 / torch.where(share > 0, share, 1.0)
    at = torch.arange(len(y), device=y.device)
    for total, beta in zip(sums, betas, strict=True):
        rest = total[at, y] - own * (-beta * gap).exp()
        total[at, y] = rest.clamp(min=0.0) * scale
    return sums


def left_out_share(cache: Cache, y: Tensor, own: Tensor) -> Tensor:
    """(k,) share of the row's class that stays when `own` of it is left out."""
    total = cache.weight.new_zeros(cache.n_classes).index_add(0, cache.labels, cache.weight)[y]
    share = 1.0 - own / total.clamp(min=torch.finfo(own.dtype).tiny)
    # What rounding leaves of a lone image is nothing.
    return torch.where(share > _SMALLEST_SHARE, share, 0.0)


def select(cache: Cache, support: Support, grid: Grid, most: int = _MOST_LEFT_OUT) -> Choice | None:
    r"""The pair of the grid that predicts left-out images best, or None if none can be.

    The loss of a pair is :math:`\sum_n w_n \mathrm{loss}_n` plus the prior's penalty, with
    :math:`w_n` the row's weight times the share of its class that stays: an image that is
    alone in its class says nothing about how well the cache knows it. Rows are drawn where all of
    them, times the classes, are more than `most`.
    """
    share = left_out_share(cache, support.y, support.own)
    weight = torch.stack([support.sample_weight * share, support.sample_weight]).double()
    if not float(weight[0].sum()) > 0:
        return None
    losses = torch.zeros(2, len(grid.betas), len(grid.alphas), dtype=torch.float64)
    every = drawn(len(support.X), max(1, most // cache.n_classes)).to(support.X.device)
    for rows in torch.split(every, _left_out_rows(support, cache, len(grid.betas))):
        text = support.text_scores(support.X[rows])
        sums = left_out_affinities(support, rows, cache, grid.betas)
        losses += _grid_losses(text, sums, support.y[rows], weight[:, rows], grid.alphas).cpu()
    losses *= len(support.X) / len(every)
    penalised = losses[0] + grid.penalty()
    i, j = divmod(int(penalised.argmin()), len(grid.alphas))
    return Choice(
        alpha=grid.alphas[j],
        beta=grid.betas[i],
        log_likelihood=-float(losses[1, i, j] / weight[1].sum()),
        losses=penalised,
    )


def _grid_losses(
    text: Tensor, sums: Tensor, y: Tensor, weight: Tensor, alphas: Sequence[float]
) -> Tensor:
    """(2, n_betas, n_alphas) losses of logits (k, c) plus alpha times sums, in two weights."""
    out = weight.new_zeros(2, len(sums), len(alphas))
    step = max(1, _bytes_per_tile(text) // (8 * text.shape[1] * text.element_size()))
    for first in range(0, len(y), step):
        rows = slice(first, first + step)
        for i, j in product(range(len(sums)), range(len(alphas))):
            scores = torch.add(text[rows], sums[i, rows], alpha=alphas[j])
            losses = F.cross_entropy(scores, y[rows], reduction="none")
            out[:, i, j] += weight[:, rows] @ losses.double()
    return out


def _left_out_rows(support: Support, cache: Cache, n_betas: int) -> int:
    """Rows whose affinities by class, for all betas, fit eight tiles."""
    budget = 8 * _bytes_per_tile(support.X)
    return max(1, budget // (n_betas * cache.n_classes * support.X.element_size()))


def train_keys(
    cache: Cache,
    support: Support,
    alpha: float,
    beta: float,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    callback: Callable[[int, float], None] | None = None,
) -> Cache:
    """Tip-Adapter-F: keys that minimise the cross-entropy of the support rows by the recipe."""
    keys = cache.keys.clone().requires_grad_(True)
    trained = replace(cache, keys=keys)
    weight = support.sample_weight / support.sample_weight.mean()

    def loss(rows: Tensor, epoch: int) -> Tensor:
        X = support.X[rows]
        sums = torch.zeros(1, cache.n_classes, len(X), dtype=X.dtype, device=X.device)
        for part in _tiles(trained, len(X)):
            _add_affinities(sums, X, part, (beta,))
        scores = support.text_scores(X) + alpha * sums[0].T
        losses = F.cross_entropy(scores, support.y[rows], reduction="none")
        return (losses * weight[rows]).mean()

    train([keys], loss, len(support.X), recipe, generator, callback=callback)
    return replace(cache, keys=keys.detach())
