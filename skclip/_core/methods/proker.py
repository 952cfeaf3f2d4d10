"""Kernel ridge regression with leave-one-out residuals in closed form.

The regression is that of :mod:`skclip._core.methods.kernel_ridge`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from skclip._core.left_out_logits import LeftOutFactors
from skclip._core.linear.leave_one_out import Groups
from skclip._core.linear.temperature_scaling import fit_log_temperature, weighted_log_loss
from skclip._core.methods.kernel_ridge import (
    half_squares,
    inverse_kernel,
    kernel,
    left_out_fit,
    left_out_residuals,
    refined_solution,
    solve,
    system,
)
from skclip._core.methods.left_out_images import drawn, left_out_images
from skclip._core.model import FittedModel

__all__ = [
    "ExactRegression",
    "KernelChoice",
    "KernelGrid",
    "KernelModel",
    "KernelRegression",
    "Support",
    "left_out_factors",
    "select",
]

# Rows up to which candidates are compared in float64.
_ROWS_OF_FLOAT64 = 1000
# Images that are left out at the most: few numbers are chosen by them.
_MOST_LEFT_OUT = 2**12
# Rows, and classes, at the least, of the part of a support that candidates are compared on.
_ROWS_OF_PART, _CLASSES_OF_PART = 2**10, 2**6


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
    residual = left_out_residuals(Q, model.dual.double(), groups)
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

    @cached_property
    def part(self) -> Support | None:
        """Some of the classes with all of their images; None where half the rows are no more.

        Of fewer images per class the best ridge is another, of fewer classes hardly.
        """
        share = _ROWS_OF_PART / len(self.X)
        most = max(_CLASSES_OF_PART, math.ceil(share * self.n_classes))
        classes = drawn(self.n_classes, most).to(self.y.device)
        rows = torch.nonzero(torch.isin(self.y, classes)).squeeze(1)
        if not 0 < 2 * len(rows) <= len(self.X):
            return None
        codes = torch.unique(self.codes[rows], return_inverse=True)[1]
        y = torch.searchsorted(classes, self.y[rows])
        return Support(self.X[rows], y, self.weight[rows], codes, self.text[classes])

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

    @property
    def weight(self) -> float:
        """Of all rows whose image can be left out."""
        return float(self.support.weight[self.rows].sum()) / self.images[1]

    @property
    def draft(self) -> KernelRegression | None:
        """A much smaller regression whose losses rank beta and ridge alike, where there is one."""
        return None

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
    """All rows are keys: O(n^3) for every beta and ridge, and two or three n^2 numbers.

    Of many rows these are in float32, which tells candidates apart, and from which the dual
    coefficients are refined; in float64 where float32 has too few digits for the ridge.
    """

    support: Support

    @cached_property
    def images(self) -> tuple[Tensor, float]:
        support = self.support
        return left_out_images(support.groups, support.y, support.n_classes, _MOST_LEFT_OUT)

    @property
    def keys(self) -> Tensor:
        return self.support.X

    @cached_property
    def draft(self) -> KernelRegression | None:
        part = self.support.part
        return None if part is None else ExactRegression(part)

    @cached_property
    def _order(self) -> Tensor:
        """(n,) rows, of which the last are those that are left out."""
        rows = self.rows
        others = torch.ones_like(self.support.y, dtype=torch.bool)
        others[rows] = False
        return torch.cat([torch.nonzero(others).squeeze(1), rows])

    @cached_property
    def _ordered(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, targets and weights in this order."""
        order, support = self._order, self.support
        return support.X[order], support.targets(order), support.weight[order]

    @cached_property
    def _left_out_groups(self) -> Groups:
        """Of the last rows alone."""
        sizes = self.support.groups.present[self.images[0]].sum(dim=1)
        codes = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
        return Groups.of(codes, self.support.weight[self.rows])

    @cached_property
    def _half_squares(self) -> Tensor:
        X = self._ordered[0].to(self.support.working_dtype)
        return half_squares(X, X)

    def _kernel(self, beta: float) -> Tensor:
        if self.draft is None:  # many are asked for
            return (-beta * self._half_squares).exp_()
        X = self._ordered[0].to(self.support.working_dtype)
        return kernel(X, X, beta)

    @cached_property
    def _last(self) -> dict[tuple[float, float], Tensor]:
        return {}

    def _factor(self, beta: float, ridge: float) -> Tensor:
        """(n, n) of the system; the last one is kept."""
        if (beta, ridge) not in self._last:
            self._last.clear()
            X, _, a = self._ordered
            factor, failed = torch.linalg.cholesky_ex(system(self._kernel(beta), a, ridge))
            if failed:
                factor = torch.linalg.cholesky(system(kernel(X, X, beta), a, ridge))
            self._last[beta, ridge] = factor
        return self._last[beta, ridge]

    def left_out(self, beta: float, ridge: float) -> Tensor:
        factor = self._factor(beta, ridge)
        return left_out_fit(factor, self._ordered[1].to(factor.dtype), self._left_out_groups)

    def dual(self, beta: float, ridge: float) -> Tensor:
        X, targets, a = self._ordered
        factor = self._factor(beta, ridge)
        D: Tensor | None
        if factor.dtype == targets.dtype:
            D = torch.cholesky_solve(targets, factor)
        else:
            D = refined_solution(X, targets, a, beta, ridge, factor)
        if D is None:
            D = solve(kernel(X, X, beta), targets, a, ridge)
        return torch.empty_like(D).index_copy_(0, self._order, D)


def select(
    regression: KernelRegression, grid: KernelGrid, logit_scale: float
) -> KernelChoice | None:
    """Beta, ridge and temperature of the lowest left-out log-loss, or None.

    Where the regression has a draft, beta and ridge are the best pair for that one, and only the
    temperature is the regression's own. Else first the ridge at the first beta is chosen, then
    beta. Only rows whose class has another image count; None where there are none.
    """
    if not len(regression.rows):
        return None
    own = _Losses(regression, grid, logit_scale, regression.weight)
    draft = regression.draft
    if draft is not None and len(draft.rows):
        rough = _Losses(draft, grid, logit_scale, regression.weight)
        pairs = product(range(len(grid.betas)), range(len(grid.ridges)))
        return own(*min(pairs, key=lambda pair: rough(*pair).loss))
    j = _downhill(grid.ridges, lambda j: own(0, j).loss)
    i = _downhill(grid.betas, lambda i: own(i, j).loss)
    return own(i, j)


class _Losses:
    """Candidate -> what it comes to on left-out rows, whose weights sum to `weight`."""

    def __init__(
        self, regression: KernelRegression, grid: KernelGrid, logit_scale: float, weight: float
    ) -> None:
        self.regression, self.grid, self.logit_scale = regression, grid, logit_scale
        support, rows = regression.support, regression.rows
        dtype = support.working_dtype
        a = support.weight[rows]
        self.y, self.weight = support.y[rows], (a * (weight / a.sum())).to(dtype)
        self.text = support.cosines(rows).to(dtype)
        self._known: dict[tuple[int, int], KernelChoice] = {}

    def __call__(self, i: int, j: int) -> KernelChoice:
        if (i, j) not in self._known:
            self._known[i, j] = self._measure(self.grid.betas[i], self.grid.ridges[j])
        return self._known[i, j]

    def _measure(self, beta: float, ridge: float) -> KernelChoice:
        grid = self.grid
        weight = ridge if grid.weight is None else grid.weight
        fit = self.regression.left_out(beta, ridge).to(self.text.dtype)
        scores = self.logit_scale * (self.text + weight * fit)
        temperature, loss = _temperature(scores, self.y, self.weight, grid)
        loss += grid.penalty(beta, ridge)
        return KernelChoice(beta, ridge, temperature, loss, -loss / float(self.weight.sum()))


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
