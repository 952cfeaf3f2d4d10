r"""Leave-one-out logits without refitting.

With :math:`p` the fitted probabilities, :math:`h = a p (1 - p)` and
:math:`S_c = K - K (K + \mathrm{diag}(1 / h_c))^{-1} K` the block-diagonal Laplace covariance
of the logits of class c, :math:`K` being their prior covariance, one Newton step away from
the rows g of an image gives

.. math::
    z^{\mathrm{loo}}_{gc} = z_{gc}
        - (I - S_{gg} \mathrm{diag}(h_g))^{-1} S_{gg}\, a_g (y_{gc} - p_{gc})

(Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via approximate
leave-one-out cross-validation", JRSS B 2020, applied class by class). The formula is exact
for a quadratic loss. A row of weight a > 1 stands for a rows, of which one is left out,
so that a weight of two and the row twice mean the same.

CLIP's softmax is concentrated: few rows have a noticeable curvature in a class. Only those
rows, and the rows of the class itself, enter the solve for the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from skclip._core.linear.left_out_scatter import scatter_shift
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.span import Span, with_bias_column

__all__ = ["Groups", "left_out_logits", "left_out_weight", "prior_features"]

# The Newton step divides by 1 - h q, which rounding can bring to 0 or below.
_SMALLEST_REMAINDER = 1e-3
# Small enough for the processor's cache.
_BYTES_PER_BATCH = 8 * 2**20


@dataclass(frozen=True)
class Groups:
    """Rows of one image, padded: rows (g, s) indices, present (g, s); own (n,) left-out weight."""

    rows: Tensor
    present: Tensor
    own: Tensor

    @classmethod
    def of(cls, codes: Tensor, sample_weight: Tensor) -> Groups:
        """From group codes 0..g-1 of the rows."""
        order = torch.argsort(codes, stable=True)
        counts = torch.bincount(codes)
        ends = torch.cumsum(counts, dim=0)
        size = int(counts.max())
        position = (ends - counts)[:, None] + torch.arange(size, device=codes.device)
        present = position < ends[:, None]
        rows = order[position.clamp(max=len(order) - 1)]
        total = sample_weight.new_zeros(len(counts)).index_add(0, codes, sample_weight)
        return cls(rows, present, total[codes])


def prior_features(problem: LinearProblem, span: Span) -> tuple[Tensor, Tensor]:
    """phi (n, r') and ridge (r',): prior logit covariance is tau^2 phi diag(1/ridge) phi' / lam.

    The ridge is 1, and 1 / bias_variance (zero for a flat prior) in the bias column.
    """
    Z = span.Z
    ridge = Z.new_ones(Z.shape[1])
    if problem.has_bias:
        Z = with_bias_column(Z)
        ridge = torch.cat([ridge, ridge.new_full((1,), 1.0 / problem.bias_variance)])
    return Z, ridge


def left_out_logits(
    problem: LinearProblem,
    span: Span,
    scores: Tensor,
    *,
    groups: Groups | None = None,
    threshold: float = 1e-4,
) -> Tensor:
    """Logits (n, c) of every row by the model without it (without its group).

    Parameters
    ----------
    scores : Tensor of shape (n, c)
        Fitted logits.
    groups : Groups, optional
        Rows that are left out together.
    threshold : float
        Rows with p (1 - p) up to this do not enter the solve of a class, and keep their
        logit in it unless they belong to the class.
    """
    doubts = _Doubts.of(scores, problem.y, threshold)
    if groups is None:
        rows = torch.arange(len(scores), device=scores.device)[:, None]
        out = scores + scatter_shift(problem, span.centre, scores, rows, rows >= 0)
        left = problem.sample_weight.clamp(max=1.0)[doubts.rows]
        q = _leverage(problem, span, doubts)
        remainder = (1.0 - left * doubts.curvature * q).clamp_(min=_SMALLEST_REMAINDER)
        out[doubts.rows, doubts.classes] -= left * q * doubts.residual / remainder
        return out
    out = scores + scatter_shift(problem, span.centre, scores, groups.rows, groups.present)
    phi, ridge = prior_features(problem, span)
    for c in range(scores.shape[1]):
        where = doubts.of_class(c)
        rows, a = doubts.rows[where], problem.sample_weight[doubts.rows[where]]
        h = a * doubts.curvature[where]
        covariance = _ClassCovariance.of(phi[rows], h, ridge, problem, c)
        out[:, c] -= _group_steps(groups, covariance, rows, h, a * doubts.residual[where])
    return out


def left_out_weight(
    problem: LinearProblem, groups: Groups | None, lone_row_weight: float = 0.0
) -> Tensor:
    """w (n,): the row's weight times the share of its class that stays when it is left out.

    At least `lone_row_weight` times its weight: a row that is alone in its class says little
    about how well a class is learned, since it leaves its class with the prior alone.
    """
    a = problem.sample_weight
    own = a.clamp(max=1.0) if groups is None else groups.own
    total = a.new_zeros(len(problem.prior_mean)).index_add(0, problem.y, a)[problem.y]
    return a * (1.0 - own / total.clamp(min=torch.finfo(a.dtype).tiny)).clamp(min=lone_row_weight)


@dataclass(frozen=True)
class _Doubts:
    """Pairs of a row and a class that enter the solves, by class.

    rows, classes, curvature p (1 - p) and residual y - p, all (k,); class c has the pairs
    first[c] to first[c + 1].
    """

    rows: Tensor
    classes: Tensor
    curvature: Tensor
    residual: Tensor
    first: list[int]

    @classmethod
    def of(cls, scores: Tensor, y: Tensor, threshold: float) -> _Doubts:
        n, c = scores.shape
        parts = []
        step = max(1, _BYTES_PER_BATCH // (c * scores.element_size()))
        for start in range(0, n, step):
            P = torch.softmax(scores[start : start + step], dim=1)
            active = threshold < P - P * P
            labels = y[start : start + step, None]
            active.scatter_(1, labels, torch.ones_like(labels, dtype=torch.bool))
            rows, classes = active.nonzero(as_tuple=True)
            parts.append((rows + start, classes, P[rows, classes]))
        rows, classes, p = (torch.cat(part) for part in zip(*parts, strict=True))
        order = torch.argsort(classes, stable=True)
        rows, classes, p = rows[order], classes[order], p[order]
        counts = torch.bincount(classes, minlength=c)
        first = [0, *counts.cumsum(0).tolist()]
        return cls(rows, classes, p * (1 - p), (y[rows] == classes).to(p) - p, first)

    def of_class(self, c: int) -> slice:
        return slice(self.first[c], self.first[c + 1])


def _leverage(problem: LinearProblem, span: Span, doubts: _Doubts) -> Tensor:
    """q (k,): posterior variances of the logits of the pairs.

    A class with m pairs costs O(m^2 r) in the dual, many classes at once, or O(m r^2) in the
    primal when m is at least r.
    """
    weight = problem.sample_weight[doubts.rows] * doubts.curvature
    q = torch.zeros_like(weight)
    proper, r = math.isfinite(problem.bias_variance), span.Z.shape[1] + problem.has_bias
    sizes = [end - start for start, end in pairwise(doubts.first)]
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    dual = [c for c in by_size if proper and sizes[c] < r]
    if primal := by_size[len(dual) :]:
        phi, ridge = prior_features(problem, span)
    for c in primal:
        where = doubts.of_class(c)
        rows = doubts.rows[where]
        q[where] = _ClassCovariance.of(phi[rows], weight[where], ridge, problem, c).diagonal()
    # Classes of similar size share a batch, padded with rows of weight zero.
    while dual:
        largest = sizes[dual[-1]]
        per_class = weight.element_size() * max(largest, 1) * (r + 3 * largest)
        size = max(1, _BYTES_PER_BATCH // per_class)
        batch, dual = dual[-size:], dual[:-size]
        _dual_leverage(problem, span, doubts, weight, batch, largest, out=q)
    return q


def _dual_leverage(
    problem: LinearProblem,
    span: Span,
    doubts: _Doubts,
    weight: Tensor,
    classes: list[int],
    largest: int,
    *,
    out: Tensor,
) -> None:
    """Leverages of a batch of k classes with at most `largest` pairs each."""
    device = weight.device
    start = torch.tensor([doubts.first[c] for c in classes], device=device)
    end = torch.tensor([doubts.first[c + 1] for c in classes], device=device)
    pairs = start[:, None] + torch.arange(largest, device=device)  # (k, m)
    present = pairs < end[:, None]
    pairs = pairs.clamp(max=len(weight) - 1)
    root = (weight[pairs] * present).sqrt()
    factor = problem.logit_scale**2 / problem.prior_precision[classes]
    K = span.products(doubts.rows[pairs], problem.bias_variance).mul_(factor[:, None, None])
    # diag of K - K g (I + g K g)^-1 g K with g = sqrt(a h).
    inner = root[:, :, None] * K
    B = inner * root[:, None, :]
    B.diagonal(dim1=1, dim2=2).add_(1.0)
    solved = torch.linalg.solve_triangular(torch.linalg.cholesky(B), inner, upper=False)
    q = K.diagonal(dim1=1, dim2=2) - solved.square_().sum(dim=1)
    out[pairs[present]] = q[present].clamp_(min=0.0)


@dataclass(frozen=True)
class _ClassCovariance:
    """Posterior covariance of one class's logits at m rows, ``plus plus' - minus minus'``."""

    plus: Tensor
    minus: Tensor

    @classmethod
    def of(
        cls, phi: Tensor, weight: Tensor, ridge: Tensor, problem: LinearProblem, c: int
    ) -> _ClassCovariance:
        """In the primal, or in the dual (Woodbury) when there are fewer rows than features."""
        tau, lam = problem.logit_scale, float(problem.prior_precision[c])
        m, r = phi.shape
        weighted = weight.sqrt()[:, None] * phi
        if m >= r or not float(ridge.amin()) > 0:
            precision = tau**2 * weighted.T @ weighted
            floor = torch.finfo(phi.dtype).eps * (lam + precision.diagonal().sum())
            precision.diagonal().add_(lam * ridge + floor)
            half = torch.linalg.solve_triangular(
                torch.linalg.cholesky(precision), phi.T, upper=False
            )
            return cls(tau * half.T, phi.new_zeros(m, 0))
        # K - K g' (I + g K g')^-1 g K with K the prior covariance and g = sqrt(a h).
        scaled = phi / ridge.sqrt() * (tau / lam**0.5)
        root = weight.sqrt()[:, None]
        B = (root * scaled) @ (root * scaled).T
        B.diagonal().add_(1.0)
        cross = (root * scaled) @ scaled.T
        inner = torch.linalg.solve_triangular(torch.linalg.cholesky(B), cross, upper=False)
        return cls(scaled, inner.T)

    def diagonal(self) -> Tensor:
        """(m,) variances."""
        return (self.plus.square().sum(dim=1) - self.minus.square().sum(dim=1)).clamp(min=0.0)

    def blocks(self, rows: Tensor, padded: Tensor, n: int) -> Tensor:
        """(g, s, s) covariances within padded (g, s) groups of the n rows."""
        full = []
        for part in (self.plus, self.minus):
            spread = part.new_zeros(n, part.shape[1])
            spread[rows] = part
            blocked = spread[padded]
            full.append(blocked @ blocked.mT)
        return full[0] - full[1]


def _group_steps(
    groups: Groups, covariance: _ClassCovariance, rows: Tensor, weight: Tensor, force: Tensor
) -> Tensor:
    """(n,) steps of one class: ``(I - S h)^-1 S force`` within every group."""
    n = len(groups.own)
    mask = groups.present.to(weight.dtype)
    S = covariance.blocks(rows, groups.rows, n) * mask[:, :, None] * mask[:, None, :]
    spread = weight.new_zeros(2, n)
    spread[0, rows], spread[1, rows] = weight, force
    root, pull = (spread[:, groups.rows] * mask)[..., None].unbind(0)
    root = root.sqrt()
    # (I - S h)^-1 S = S + S g (I - g S g)^-1 g S with g = sqrt(h); g S g is symmetric.
    moved = S @ pull
    values, vectors = torch.linalg.eigh(root * S * root.mT)
    remainder = (1.0 - values).clamp(min=_SMALLEST_REMAINDER)[..., None]
    inner = vectors @ ((vectors.mT @ (root * moved)) / remainder)
    step = (moved + S @ (root * inner)).squeeze(-1)
    out = weight.new_zeros(n)
    out[groups.rows[groups.present]] = step[groups.present]
    return out
