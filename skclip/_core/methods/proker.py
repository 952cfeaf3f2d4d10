r"""Kernel ridge regression with leave-one-out residuals in closed form.

The kernel is :math:`k(x, x') = \exp(-\beta \|x - x'\|^2 / 2)`, which on unit rows is
:math:`\exp(-\beta (1 - \langle x, x' \rangle))`. Targets E (n, c) of rows with weights a are
fitted by

.. math::
    f(x) = k(x, X) D, \qquad D = Q E, \qquad Q = (K + \lambda\, \mathrm{diag}(1 / a))^{-1}

The residual of rows g by the fit without them is :math:`Q_{gg}^{-1} D_g` (Allen, "The
relationship between variable selection and data augmentation and a method for
prediction", Technometrics 1974, for a single row).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor

from skclip._core.left_out_logits import LeftOutFactors
from skclip._core.linear.leave_one_out import Groups
from skclip._core.linear.temperature_scaling import fit_log_temperature, weighted_log_loss
from skclip._core.methods.left_out_images import left_out_images
from skclip._core.model import FittedModel

__all__ = [
    "ExactRegression",
    "KernelChoice",
    "KernelGrid",
    "KernelModel",
    "KernelRegression",
    "Support",
    "half_spread",
    "inverse_kernel",
    "kernel",
    "left_out_factors",
    "left_out_fit",
    "select",
    "solve",
]


# Rows up to which candidates are compared in float64.
_ROWS_OF_FLOAT64 = 1500
# Sizes of a triangle that is inverted, and of one that is multiplied, as a whole.
_TRIANGLE, _PRODUCT = 128, 256


def half_spread(X: Tensor, sample_weight: Tensor) -> float:
    """Mean of half the squared distance of two rows; 1 where all rows are equal."""
    share = sample_weight / sample_weight.sum()
    spread = float(torch.dot(share, (X - share @ X).square().sum(dim=1)))
    return spread if spread > 0 else 1.0


def kernel(rows: Tensor, keys: Tensor, beta: float) -> Tensor:
    """(k, m) affinities of rows (k, d) and keys (m, d)."""
    return _half_squares(rows, keys).mul_(-beta).exp_()


def _half_squares(rows: Tensor, keys: Tensor) -> Tensor:
    """(k, m) halves of the squared distances."""
    origin = keys.mean(dim=0)  # distances do not depend on it, their rounding does
    rows, keys = rows - origin, keys - origin
    half = 0.5 * rows.square().sum(dim=1)[:, None] + 0.5 * keys.square().sum(dim=1)
    return torch.addmm(half, rows, keys.T, alpha=-1.0).clamp_(min=0.0)


@dataclass(frozen=True)
class KernelModel(FittedModel):
    """Cosines of the text (c, d), if any, plus ``k(x, keys) dual``, times tau / temperature."""

    bytes_per_chunk: ClassVar[int] = 32 * 2**20

    keys: Tensor
    dual: Tensor
    text: Tensor | None
    beta: float
    logit_scale: float
    temperature: float

    @property
    def n_classes(self) -> int:
        return self.dual.shape[1]

    def logits(self, X: Tensor) -> Tensor:
        scores = self.coordinates(X) @ self.dual
        if self.text is not None:
            scores += X @ self.text.T
        return scores * (self.logit_scale / self.temperature)

    def coordinates(self, X: Tensor) -> Tensor:
        """(n, k) affinities with the keys."""
        return kernel(X, self.keys, self.beta)

    def numbers_per_row(self, n_features: int) -> int:
        return n_features + 3 * len(self.keys) + 3 * self.n_classes


def solve(K: Tensor, targets: Tensor, sample_weight: Tensor, ridge: float) -> Tensor:
    """Dual coefficients D (n, c); weights must be positive."""
    root = sample_weight.sqrt()[:, None]
    factor = torch.linalg.cholesky(_regularised(K, root, ridge))
    return root * torch.cholesky_solve(root * targets, factor)


def _regularised(K: Tensor, root: Tensor, ridge: float) -> Tensor:
    """``sqrt(a) K sqrt(a) + ridge I``, whose inverse between sqrt(a) is Q."""
    B = (root * K).mul_(root.T)
    B.diagonal().add_(ridge)
    return B


def left_out_fit(
    K: Tensor, targets: Tensor, sample_weight: Tensor, ridge: float, groups: Groups
) -> Tensor:
    """(n, c) values f of every row by the fit without its group."""
    root = sample_weight.sqrt()[:, None]
    half = _inverse_of_triangle(torch.linalg.cholesky(_regularised(K, root, ridge))).mul_(root.T)
    # Both from one factor, so that what rounds one of them rounds the other.
    D = half.T @ (half @ targets)
    index, present = groups.rows, groups.present
    if index.shape[1] == 1:  # of single rows the diagonal of Q = half' half is all that counts
        return targets - D / half.square().sum(dim=0)[:, None]
    residual = _residuals(half.T @ half, D, groups)
    out = targets.clone()
    out[index[present]] -= residual[present]
    return out


def _residuals(Q: Tensor, D: Tensor, groups: Groups) -> Tensor:
    """(g, s, c) residuals of the rows of every group by the fit without it; 0 for padded rows."""
    index, present = groups.rows, groups.present
    pairs = present[:, :, None] & present[:, None, :]
    blocks = Q[index[:, :, None], index[:, None, :]] * pairs
    # Padded rows get equations of their own.
    blocks = blocks + torch.diag_embed((~present).to(Q.dtype))
    residual: Tensor = torch.linalg.solve(blocks, D[index] * present[:, :, None])
    return residual


def inverse_kernel(keys: Tensor, sample_weight: Tensor, beta: float, ridge: float) -> Tensor:
    """Q (n, n) of keys (n, d)."""
    root = sample_weight.sqrt()[:, None]
    B = _regularised(kernel(keys, keys, beta), root, ridge)
    return (root * torch.cholesky_inverse(torch.linalg.cholesky(B))).mul_(root.T)


def left_out_factors(
    model: KernelModel, sample_weight: Tensor, ridge: float, codes: Tensor
) -> LeftOutFactors:
    """What every image takes with it from the logits of new rows; exact.

    The dual coefficients without the rows g of an image are ``D - Q[:, g] Q_gg^-1 D_g``, which is
    zero for these rows: a row's logits lose its affinities times ``Q[:, g]``, times the residuals.
    `sample_weight` (n,) and `codes` (n,) 0, 1, ... are of the model's keys.
    """
    keys = model.keys.double()
    Q = inverse_kernel(keys, sample_weight.to(keys), model.beta, ridge)
    groups = Groups.of(codes, sample_weight)
    residual = _residuals(Q, model.dual.double(), groups)
    directions = Q[:, groups.rows.flatten()] * groups.present.flatten()
    g, _, c = residual.shape
    return LeftOutFactors(
        directions,
        (-model.logit_scale / model.temperature * residual).float(),
        offsets=residual.new_zeros(g, c, dtype=torch.float32),
        mixes=residual.new_zeros(g, 0, dtype=torch.float32),
        shared=residual.new_zeros(len(keys), 0),
        levels=residual.new_zeros(len(keys), 0),
    )


def _inverse_of_triangle(L: Tensor) -> Tensor:
    """Inverse of a lower triangle, by halves: nearly all of its work is in matrix products."""
    out = torch.zeros_like(L)
    _invert(L, out)
    return out


def _invert(L: Tensor, out: Tensor) -> None:
    """``[[A, 0], [B, C]]`` has the inverse ``[[A^-1, 0], [-C^-1 B A^-1, C^-1]]``."""
    n = len(L)
    if n <= _TRIANGLE:
        identity = torch.eye(n, dtype=L.dtype, device=L.device)
        torch.linalg.solve_triangular(L, identity, upper=False, out=out)
        return
    k = n // 2
    _invert(L[:k, :k], out[:k, :k])
    _invert(L[k:, k:], out[k:, k:])
    product = torch.empty_like(L[k:, :k])
    _times_triangle(L[k:, :k], out[:k, :k], product)
    _triangle_times(out[k:, k:], product, out[k:, :k])
    out[k:, :k].neg_()


def _times_triangle(X: Tensor, T: Tensor, out: Tensor) -> None:
    """``X @ T`` of a lower triangle T, whose other half is left out."""
    if len(T) <= _PRODUCT:
        torch.mm(X, T, out=out)
        return
    k = len(T) // 2
    _times_triangle(X[:, :k], T[:k, :k], out[:, :k])
    out[:, :k].addmm_(X[:, k:], T[k:, :k])
    _times_triangle(X[:, k:], T[k:, k:], out[:, k:])


def _triangle_times(T: Tensor, X: Tensor, out: Tensor) -> None:
    """``T @ X`` of a lower triangle T, whose other half is left out."""
    if len(T) <= _PRODUCT:
        torch.mm(T, X, out=out)
        return
    k = len(T) // 2
    _triangle_times(T[:k, :k], X[:k], out[:k])
    _triangle_times(T[k:, k:], X[k:], out[k:])
    out[k:].addmm_(T[k:, :k], X[:k])


@dataclass(frozen=True)
class KernelGrid:
    """Candidates of beta and ridge, and the prior of their logarithms and of the temperature's.

    The first candidate of each is where the search starts; `weight` multiplies the fitted
    residual, and is the ridge itself where None. The temperature is fitted where None.
    """

    betas: Sequence[float]
    ridges: Sequence[float]
    weight: float | None
    temperature: float | None
    width: float
    temperature_width: float

    def penalty(self, beta: float, ridge: float) -> float:
        away = (math.log(beta / self.betas[0]), math.log(ridge / self.ridges[0]))
        return 0.5 * sum((value / self.width) ** 2 for value in away)


@dataclass(frozen=True)
class KernelChoice:
    """What was chosen; the penalised sum of left-out log-losses, and minus it per unit weight."""

    beta: float
    ridge: float
    temperature: float
    loss: float
    log_likelihood: float


@dataclass(frozen=True)
class Support:
    """Rows X (n, d) of labels y (n,), positive weight (n,) and image codes (n,), and text (c, d).

    The text is zeros where there is none. Rows, weight and text are in float64.
    """

    X: Tensor
    y: Tensor
    weight: Tensor
    codes: Tensor
    text: Tensor

    @property
    def n_classes(self) -> int:
        return len(self.text)

    @cached_property
    def groups(self) -> Groups:
        return Groups.of(self.codes, self.weight)

    @property
    def working_dtype(self) -> torch.dtype:
        """Candidates of many rows are told apart by far more than what float32 hides."""
        return torch.float64 if len(self.X) <= _ROWS_OF_FLOAT64 else torch.float32

    def cosines(self, rows: Tensor | slice) -> Tensor:
        """(k, c) with the text."""
        return self.X[rows] @ self.text.T

    def targets(self, rows: Tensor | slice) -> Tensor:
        """(k, c) what the text leaves to explain."""
        return torch.nn.functional.one_hot(self.y[rows], self.n_classes) - self.cosines(rows)


class KernelRegression(ABC):
    """A regression of the targets of a support, at any beta and ridge."""

    support: Support

    @property
    @abstractmethod
    def images(self) -> tuple[Tensor, float]:
        """Images that are left out, as :func:`left_out_images` has them."""

    @property
    def rows(self) -> Tensor:
        """(k,) rows of these images."""
        groups, kept = self.support.groups, self.images[0]
        return groups.rows[kept][groups.present[kept]]

    @abstractmethod
    def left_out(self, beta: float, ridge: float) -> Tensor:
        """(k, c) values f at `rows` by the fit without their image."""

    @abstractmethod
    def dual(self, beta: float, ridge: float) -> Tensor:
        """(m, c) coefficients of `keys`, in float64."""

    @property
    @abstractmethod
    def keys(self) -> Tensor:
        """(m, d)"""


@dataclass(frozen=True)
class ExactRegression(KernelRegression):
    """All rows are keys: O(n^3) for every beta and ridge, and several times 8 n^2 bytes."""

    support: Support

    @cached_property
    def images(self) -> tuple[Tensor, float]:
        return left_out_images(self.support.groups, self.support.y, self.support.n_classes)

    @property
    def keys(self) -> Tensor:
        return self.support.X

    @cached_property
    def _gaps(self) -> Tensor:
        X = self.support.X.to(self.support.working_dtype)
        return _half_squares(X, X)

    @cached_property
    def _targets(self) -> Tensor:
        return self.support.targets(slice(None))

    def left_out(self, beta: float, ridge: float) -> Tensor:
        K = (-beta * self._gaps).exp_()
        a = self.support.weight.to(K.dtype)
        fit = left_out_fit(K, self._targets.to(K.dtype), a, ridge, self.support.groups)
        return fit[self.rows]

    def dual(self, beta: float, ridge: float) -> Tensor:
        X = self.support.X
        return solve(kernel(X, X, beta), self._targets, self.support.weight, ridge)


def select(
    regression: KernelRegression, grid: KernelGrid, logit_scale: float
) -> KernelChoice | None:
    """Beta, ridge and temperature of the lowest left-out log-loss, or None.

    First the ridge at the first beta is chosen, then beta. Only rows whose class has another
    image count; None where there are none.
    """
    rows, share = regression.rows, regression.images[1]
    if not len(rows):
        return None
    support = regression.support
    dtype = support.working_dtype
    y, a, text = support.y[rows], support.weight[rows].to(dtype), support.cosines(rows).to(dtype)
    a = a / share

    @cache
    def evaluate(i: int, j: int) -> KernelChoice:
        beta, ridge = grid.betas[i], grid.ridges[j]
        weight = ridge if grid.weight is None else grid.weight
        scores = logit_scale * (text + weight * regression.left_out(beta, ridge))
        temperature, loss = _temperature(scores, y, a, grid)
        loss += grid.penalty(beta, ridge)
        return KernelChoice(beta, ridge, temperature, loss, -loss / float(a.sum()))

    j = _downhill(grid.ridges, lambda j: evaluate(0, j).loss)
    i = _downhill(grid.betas, lambda i: evaluate(i, j).loss)
    return evaluate(i, j)


def _downhill(values: Sequence[float], loss: Callable[[int], float]) -> int:
    """Index of a value of the lowest loss among those beside it, from the first of them on."""
    order = sorted(range(len(values)), key=values.__getitem__)
    place = best = order.index(0)
    for step in (1, -1):
        while 0 <= place + step < len(order) and loss(order[place + step]) < loss(order[place]):
            place += step
        if place != best:
            break
    return order[place]


def _temperature(
    scores: Tensor, y: Tensor, weight: Tensor, grid: KernelGrid
) -> tuple[float, float]:
    """Temperature and penalised log-loss."""
    if grid.temperature is not None:
        return grid.temperature, float(weighted_log_loss(scores / grid.temperature, y, weight))
    t, loss = fit_log_temperature(scores, y, weight, centre=0.0, width=grid.temperature_width)
    return math.exp(t), loss
