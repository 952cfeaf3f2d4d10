"""Coordinates of the support rows in which the linear form is solved for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skclip._core.linear.linear_problem import LinearProblem

__all__ = ["Span", "weights_of", "with_bias_column"]

# Share of the largest energy below which single precision does not tell axes from rounding errors,
# and the prior variance of a row's logit along one that may be lost.
_UNCLEAR = 2e-6
_REACH_OF_UNCLEAR = 0.1
# Rows, in units of coordinates, up to which products of all pairs of rows cost less than those that
# are asked for one class at a time.
_FEW_ROWS = 2


@dataclass(frozen=True)
class Span:
    """An orthonormal basis of the span of the rows ``(x - centre) M``.

    ``(X - centre) @ M = Z @ basis.T`` with Z (n, r) and basis (d, r); the columns of Z are
    orthogonal under the sample weights, with squared norms `energy` (r,). The metric M is (d, d),
    or None for the identity; the centre is the weighted mean of the rows where there is a bias,
    else zero. gram (n, n) is ``Z @ Z.T`` where it is known.
    """

    Z: Tensor
    basis: Tensor
    metric: Tensor | None
    centre: Tensor
    energy: Tensor
    gram: Tensor | None = None

    def weights(self, coordinates: Tensor) -> Tensor:
        """(c, d) from coordinates (c, r); M times the basis is not formed, as d is often more."""
        return weights_of(coordinates, self.basis, self.metric)

    def products(self, rows: Tensor, bias_variance: float) -> Tensor:
        """(b, m, m) inner products of the coordinates of rows (b, m), plus the bias' variance.

        Times ``tau^2 / lambda``, the prior covariance of these rows' logits of a class.
        """
        n, r = self.Z.shape
        if n <= _FEW_ROWS * r:
            # Positions in memory, and short ones, are several times as fast as pairs of indices.
            short = rows.int() if n * n < 2**31 else rows
            where = n * short[:, :, None] + short[:, None, :]
            products = self._all_products.view(-1).index_select(0, where.view(-1))
            return products.view(where.shape).add_(bias_variance)
        part = self.Z[rows]
        return torch.bmm(part, part.mT).add_(bias_variance)

    @cached_property
    def _all_products(self) -> Tensor:
        return self.Z @ self.Z.T if self.gram is None else self.gram

    @classmethod
    def of(cls, problem: LinearProblem) -> Span:
        """Weighted principal axes by one symmetric eigenproblem of size min(n, d).

        Where there are fewer rows than features the axes come from a division by the roots of their
        energies, which needs double precision if small ones matter under the prior.
        """
        dtype = problem.X.dtype
        span = cls._computed_in(problem, dtype)
        if dtype is not torch.float64 and len(problem.X) < problem.X.shape[1]:
            # Energies ascend, and there may be none.
            unclear = _UNCLEAR * float(span.energy[-1:].sum())
            if (
                problem.logit_scale**2 * unclear
                > _REACH_OF_UNCLEAR * problem.prior_precision.amin()
            ):
                span = cls._computed_in(problem, torch.float64)
        if span.Z.dtype is dtype:
            return span
        tensors = (span.Z, span.basis, span.centre, span.energy)
        Z, basis, centre, energy = (tensor.to(dtype) for tensor in tensors)
        gram = None if span.gram is None else span.gram.to(dtype)
        return cls(Z, basis, problem.metric, centre, energy, gram)

    @classmethod
    def _computed_in(cls, problem: LinearProblem, dtype: torch.dtype) -> Span:
        """In numbers of this type."""
        a, rows = problem.sample_weight.to(dtype), problem.X.to(dtype)
        metric = None if problem.metric is None else problem.metric.to(dtype)
        n, d = rows.shape
        centre = (a / a.sum()) @ rows if problem.has_bias else torch.zeros_like(rows[0])
        rows = rows - centre
        if metric is not None:
            rows = rows @ metric
        # sqrt(a) x: eigenvectors of its Gram matrix diagonalise X' diag(a) X.
        scaled = a.sqrt()[:, None] * rows
        share = max(n, d) * torch.finfo(torch.float64).eps
        if n >= d:
            energy, basis = torch.linalg.eigh(scaled.T @ scaled)
            # An orthonormal basis loses nothing by axes that are rounding errors.
            keep = _above(energy, share if dtype is torch.float64 else 1e-9)
            basis = basis[:, keep]
            return cls(rows @ basis, basis, metric, centre, energy[keep])
        gram = scaled @ scaled.T
        energy, left = torch.linalg.eigh(gram)
        keep = _above(energy, share if dtype is torch.float64 else _UNCLEAR)
        energy, left = energy[keep], left[:, keep]
        basis = (scaled.T @ left) / energy.sqrt()
        if not bool((a > 0).all()):
            return cls(rows @ basis, basis, metric, centre, energy)
        inverse = a.rsqrt()
        Z = left.mul_(energy.sqrt()).mul_(inverse[:, None])
        gram.mul_(inverse[:, None]).mul_(inverse)
        return cls(Z, basis, metric, centre, energy, gram)


def _above(energy: Tensor, share: float) -> Tensor:
    """Which energies are more than a share of the largest."""
    return energy > energy.amax().clamp(min=0.0) * share


def weights_of(coordinates: Tensor, basis: Tensor, metric: Tensor | None) -> Tensor:
    """(c, d) from coordinates (c, r) in a basis (d, r) of rows times the metric (d, d)."""
    shift = coordinates @ basis.T
    return shift if metric is None else shift @ metric.T


def with_bias_column(Z: Tensor) -> Tensor:
    """Coordinates (n, r) and a column of ones, also where rows span nothing (r = 0)."""
    return torch.cat([Z, Z.new_ones(len(Z), 1)], dim=1)
