r"""Gaussian classes with one covariance: linear discriminant analysis in closed form.

With class means :math:`\mu_c`, the within-class scatter G of n rows and a shrinkage s,

.. math::
    \Sigma = \frac{1 - s}{n} G + s \frac{\mathrm{tr}\, G}{n d} I, \qquad
    g_c(x) = x^\top \Sigma^{-1} \mu_c - \tfrac12 \mu_c^\top \Sigma^{-1} \mu_c + \log \pi_c

At :math:`s = d / (n - 1 + d)` the precision is, up to a factor, the one of Kubokawa and
Srivastava ("Estimation of the precision matrix of a singular Wishart distribution and its
application in high-dimensional data", J. Multivariate Analysis 2008),
:math:`d\,((n - 1) S + \mathrm{tr}(S) I)^{-1}` with :math:`S = G / (n - 1)`.

All work is done in the eigenbasis of G, where the covariance is diagonal for every n and s.
An image that is left out changes G by its own scatter and one more row, which the
Woodbury identity accounts for, so that leave-one-out is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skclip._core.linear.leave_one_out import Groups
from skclip._core.methods.chunks import row_chunks
from skclip._core.methods.left_out_images import left_out_images
from skclip._core.solve import one_dimensional

__all__ = [
    "GaussianClasses",
    "LeftOutScores",
    "choose_weight",
    "image_batches",
    "inverse_downdate",
    "left_out_scores",
]

_SMALLEST_REMAINDER = 1e-6
_NO_SPREAD = 1e-12
_BYTES_PER_BATCH = 32 * 2**20
# Rows times classes of left-out scores: half a gigabyte.
_MOST_LEFT_OUT = 2**26
_HALF_RANGE = 6.0
_N_GRID = 25
# Rows times classes on which the grid is looked at, and which stay in the processor's cache.
_NUMBERS_OF_GRID = 2**21
_NUMBERS_PER_CHUNK = 2**17
_LEAST_LOG_PROBABILITY = -700.0


@dataclass(frozen=True)
class GaussianClasses:
    """Moments of the classes; tensors in float64.

    means (c, d) in the eigenbasis of the scatter, relative to `origin` (d,); axes (d, d) its
    columns; energy (d,) eigenvalues of the scatter; weight (c,) sums of sample weights;
    shrinkage None for d / (n - 1 + d); `is_total` where there is no scatter within classes
    and the energy is, in all directions alike, that of the rows about their mean.

    A class without rows stands at the mean of the other classes' means.
    """

    means: Tensor
    origin: Tensor
    axes: Tensor
    energy: Tensor
    weight: Tensor
    shrinkage: float | None
    is_total: bool

    @classmethod
    def of(
        cls, X: Tensor, y: Tensor, sample_weight: Tensor, n_classes: int, shrinkage: float | None
    ) -> GaussianClasses:
        a, d = sample_weight.double(), X.shape[1]
        chunks = list(row_chunks(len(X), d))
        share = a / a.sum()
        origin = a.new_zeros(d)
        for where in chunks:
            origin += share[where] @ X[where].double()
        weight = a.new_zeros(n_classes).index_add_(0, y, a)
        seen = weight > 0
        means = a.new_zeros(n_classes, d)
        for where in chunks:
            means.index_add_(0, y[where], a[where, None] * (X[where].double() - origin))
        means = means / torch.where(seen, weight, torch.ones_like(weight))[:, None]
        total, scatter = 0.0, a.new_zeros(d, d)
        for where in chunks:
            rows = X[where].double() - origin
            total += float(torch.dot(a[where], rows.square().sum(dim=1)))
            within = a[where].sqrt()[:, None] * (rows - means[y[where]])
            scatter += within.T @ within
        is_total = float(scatter.trace()) <= _NO_SPREAD * total
        if is_total:
            axes = torch.eye(d, dtype=a.dtype, device=a.device)
            energy = torch.full_like(origin, (total or float(a.sum())) / d)
        else:
            energy, axes = torch.linalg.eigh(scatter)
            energy = energy.clamp(min=0.0)
        means[~seen] = means[seen].mean(dim=0)
        return cls(means @ axes, origin, axes, energy, weight, shrinkage, is_total)

    @property
    def total_weight(self) -> Tensor:
        return self.weight.sum()

    def rotated(self, X: Tensor) -> Tensor:
        """Rows in the coordinates of the means."""
        return (X.double() - self.origin) @ self.axes

    def shrunk(self, n: Tensor, trace: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (...) of the scatter, and precision (..., d) in its eigenbasis.

        For n (...) rows whose scatter has this trace (...), before any downdate.
        """
        share, floor = self.shares(n, trace)
        return share, self.inverse(share, floor)

    def shares(self, n: Tensor, trace: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (...) of the scatter, and variance (...) that is added in all directions."""
        d = len(self.energy)
        if self.shrinkage is None:
            s = d / ((n - 1.0).clamp(min=0.0) + d)
        else:
            s = torch.full_like(n, self.shrinkage)
        return (1.0 - s) / n, s * trace / (n * d)

    def inverse(self, share: Tensor, floor: Tensor) -> Tensor:
        """(..., d) eigenvalues of the precision for such a weight (...) and variance (...)."""
        variance = share[..., None] * self.energy + floor[..., None]
        cutoff = variance.amax(dim=-1, keepdim=True) * len(self.energy)
        cutoff = cutoff * torch.finfo(variance.dtype).eps
        # A direction without variance has none in the pseudo-inverse either.
        return torch.where(variance > cutoff, 1.0 / variance, torch.zeros_like(variance))

    def precision(self) -> Tensor:
        """(d,) eigenvalues of the precision matrix."""
        return self.shrunk(self.total_weight, self.energy.sum())[1]

    def linear(self, log_prior: Tensor) -> tuple[Tensor, Tensor]:
        """W (c, d) and b (c,) with ``g(x) = W x + b``, up to a shift common to all classes."""
        scaled = self.means * self.precision()
        W = scaled @ self.axes.T
        b = log_prior.double() - 0.5 * (scaled * self.means).sum(dim=1) - W @ self.origin
        return W, b - b.mean()


class LeftOutScores(NamedTuple):
    """Scores (k, c) of rows (k,), and the share of all images with such scores that these are."""

    scores: Tensor
    rows: Tensor
    share: float


def left_out_scores(
    classes: GaussianClasses,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor,
    codes: Tensor,
    log_prior: Tensor,
    *,
    empirical_prior: bool = False,
    most: int = _MOST_LEFT_OUT,
) -> LeftOutScores:
    r"""Scores g of rows by the moments without their image.

    Rows of one image share a code in `codes` (n,). A row whose class has no other image
    has no left-out scores. Images are drawn where the scores of all are more than `most`
    numbers, the same ones every time. With `empirical_prior`, the log prior of the class falls
    with its weight.

    The mean of the row's own class rests on one image less than in the fit, K - 1 of K, while
    the other classes keep theirs. The expected squared distance to a mean of K images is
    larger by :math:`\mathrm{tr}(\Sigma^{-1} S) / K`, S being the covariance within
    classes; half of what leaving out adds to it is given back to the own class.
    """
    a = sample_weight.double()
    groups = Groups.of(codes, a)
    c, size = len(classes.weight), groups.rows.shape[1]
    kept, share = left_out_images(groups, y, c, most // (size * c))
    if classes.is_total or not len(kept):
        return LeftOutScores(a.new_zeros(0, c), kept[:0], share)
    first = groups.rows[:, 0]
    n_images = torch.bincount(y[first], minlength=c)
    noise = _mean_noise(classes, len(first), int((n_images > 0).sum()))
    rows = groups.rows[kept][groups.present[kept]]
    out = a.new_empty(len(rows), c)
    done = 0
    for where in image_batches(kept, groups, X.shape[1], c):
        index, present = groups.rows[where], groups.present[where]
        label = y[index[:, 0]]
        scores = _without(classes, classes.rotated(X[index]), a[index] * present, label)
        k = n_images[label].double()
        own = 0.5 * noise * (1.0 / (k - 1.0) - 1.0 / k)
        if empirical_prior:
            own = own + (1.0 - groups.own[index[:, 0]] / classes.weight[label]).log()
        scores += log_prior.double()
        scores.scatter_add_(
            2, label[:, None, None].expand(-1, index.shape[1], 1), _column(own, index)
        )
        end = done + int(present.sum())
        out[done:end] = scores[present]
        done = end
    return LeftOutScores(out, rows, share)


def _column(own: Tensor, index: Tensor) -> Tensor:
    """(g, s, 1): the same number for all rows of a group."""
    return own[:, None, None].expand(-1, index.shape[1], 1)


def _mean_noise(classes: GaussianClasses, n_images: int, n_seen: int) -> Tensor:
    """tr(precision S) with S the unbiased covariance within classes."""
    freedom = (n_images - n_seen) / n_images
    spread = classes.energy / (classes.total_weight * freedom)
    return torch.dot(spread, classes.precision())


def image_batches(keep: Tensor, groups: Groups, d: int, c: int) -> Iterator[Tensor]:
    """Groups that fit into the memory of a batch."""
    size = groups.rows.shape[1]
    per_group = 8 * (size + 1) * (3 * d + 3 * c)
    step = max(1, _BYTES_PER_BATCH // per_group)
    for first in range(0, len(keep), step):
        yield keep[first : first + step]


def _without(classes: GaussianClasses, x: Tensor, a: Tensor, label: Tensor) -> Tensor:
    """Scores (g, s, c), without prior, of rows x (g, s, d) of weight a (g, s) left out together."""
    means = classes.means
    left = a.sum(dim=1)
    total = classes.weight[label]
    centre = (a[:, :, None] * x).sum(dim=1) / left[:, None]
    own = (total[:, None] * means[label] - left[:, None] * centre) / (total - left)[:, None]
    # The scatter loses that within the group, and w t / (t - w) of its mean: weights left, total.
    u = (left * total / (total - left)).sqrt()[:, None] * (centre - means[label])
    U = u[:, None]
    if x.shape[1] > 1:  # an image of one row has no scatter of its own
        U = torch.cat([a.sqrt()[:, :, None] * (x - centre[:, None]), U], dim=1)
    n = classes.total_weight - left
    trace = (classes.energy.sum() - U.square().sum(dim=(1, 2))).clamp(min=0.0)
    share, D = classes.shrunk(n, trace)
    xD, UD = x * D[:, None], U * D[:, None]
    # (D^-1 - k U'U)^-1 = D + D U' C U D with C = k (I - k U D U')^-1.
    C = inverse_downdate(UD @ U.mT, share)
    cross, lost = xD @ means.T, UD @ means.T
    square = D @ means.square().T
    where = label[:, None, None]
    cross.scatter_(2, where.expand(-1, x.shape[1], 1), xD @ own[:, :, None])
    lost.scatter_(2, where.expand(-1, U.shape[1], 1), UD @ own[:, :, None])
    square.scatter_(1, label[:, None], (D * own.square()).sum(dim=1, keepdim=True))
    weighted = C @ lost
    square += (lost * weighted).sum(dim=1)
    scores: Tensor = cross + (xD @ U.mT) @ weighted - 0.5 * square[:, None]
    return scores


def inverse_downdate(gram: Tensor, share: Tensor) -> Tensor:
    """``k (I - k G)^-1`` (g, s, s) of G (g, s, s) and k (g,), with a floor for what is inverted."""
    if gram.shape[1] == 1:  # a row that is left out alone is a downdate of rank one
        values, vectors = gram[:, 0], torch.ones_like(gram)
    else:
        values, vectors = torch.linalg.eigh(gram)
    remainder = (1.0 - share[:, None] * values).clamp(min=_SMALLEST_REMAINDER)
    return (vectors * (share[:, None] / remainder)[:, None]) @ vectors.mT


def choose_weight(
    base: Tensor, scores: Tensor, y: Tensor, weight: Tensor, *, centre: float, width: float
) -> tuple[float, float]:
    """Weight alpha that minimises the log-loss of ``base + alpha * scores``.

    Returns (alpha, log-loss without penalty), alpha at the lowest point of
    ``sum_n a_n loss_n + ((log alpha - log centre) / width)^2 / 2``, found on a grid and refined
    by Newton steps that bisection safeguards.
    """
    origin = math.log(centre)
    step = 2 * _HALF_RANGE / (_N_GRID - 1)
    grid = [origin - _HALF_RANGE + step * k for k in range(_N_GRID)]

    def lowest(every: int) -> float:
        """The best point of the grid, by every so manieth row."""
        rows = slice(None, None, every)
        part = _Mixture(base[rows], scores[rows], y[rows], every * weight[rows])
        return min(grid, key=lambda t: part.at(t)[0] + 0.5 * ((t - origin) / width) ** 2)

    whole = _Mixture(base, scores, y, weight)

    def penalised(t: float) -> tuple[float, float, float]:
        value, slope, curvature = whole.at(t)
        return value, slope + (t - origin) / width**2, curvature + 1.0 / width**2

    def refined(t: float) -> tuple[float, float]:
        return one_dimensional.minimize(penalised, t, t - step, t + step, smallest_step=1e-9)

    every = max(1, base.numel() // _NUMBERS_OF_GRID)
    around = lowest(every)
    t, loss = refined(around)
    if every > 1 and abs(t - around) > 0.999 * step:  # the rows of the grid did not know
        t, loss = refined(lowest(1))
    return math.exp(t), loss


@dataclass(frozen=True)
class _Mixture:
    """The log-loss of ``base + alpha * scores`` (n, c), taken in chunks that stay in a cache."""

    base: Tensor
    scores: Tensor
    y: Tensor
    weight: Tensor

    def at(self, t: float) -> tuple[float, float, float]:
        """The loss, and its first two derivatives in t = log alpha."""
        alpha = math.exp(t)
        total = self.weight.new_zeros(3)
        step = max(1, _NUMBERS_PER_CHUNK // self.base.shape[1])
        for first in range(0, len(self.base), step):
            where = slice(first, first + step)
            scores, label = self.scores[where], self.y[where, None]
            z = torch.add(self.base[where], scores, alpha=alpha)
            own = z.gather(1, label).squeeze(1)
            top = z.amax(dim=1, keepdim=True)
            P = z.sub_(top).clamp_(min=_LEAST_LOG_PROBABILITY).exp_()
            sums = P.sum(dim=1)
            weighted = P.mul_(scores)
            mean = weighted.sum(dim=1) / sums
            square = torch.linalg.vecdot(weighted, scores) / sums
            a = self.weight[where]
            total[0] += torch.dot(a, sums.log() + top.squeeze(1) - own)
            total[1] += torch.dot(a, mean - scores.gather(1, label).squeeze(1))
            total[2] += torch.dot(a, square - mean.square())
        loss, gap, variance = total.tolist()
        return loss, alpha * gap, alpha * gap + alpha**2 * variance
