r"""The shape of the prior: a metric on features from the support set and the text, if any.

With a text the prior covariance of a class's weights is :math:`M M^\top / \lambda` with

.. math::
    M = \Big[(1 - r) I + r \tfrac{d}{\mathrm{tr} S} S\Big]^{-1/4}
        \Big[(1 - u) I + u \tfrac{d}{\mathrm{tr} S_T} S_T\Big]^{1/2}

S is the pooled within-class scatter of the support rows: directions in which images of
one class differ are poor evidence, as in linear discriminant analysis, whose exponent
would be -1/2. :math:`S_T` is the covariance of the prototypes: directions in which texts
differ are where classes differ. Both are shrunk towards the identity by what is known
about them, :math:`r = \nu / (\nu + d)` with the residual degrees of freedom
:math:`\nu = \sum_n a_n - c`, zero at one shot, and :math:`u = (c - 1) / (c - 1 + d)`.

Without a text the metric is that of linear discriminant analysis, shrunk likewise, after each
column was divided by its standard deviation:
:math:`M = D^{-1/2} [(1 - r) I + r \tfrac{d}{\mathrm{tr} S} S]^{-1/2}`, S the scatter within
classes of the divided rows. A firm prior of this shape leads to the discriminants of that
method, a weak one to those of logistic regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["support_metric", "whitening_metric"]

_WITHIN_EXPONENT = -0.25
_TEXT_EXPONENT = 0.5
_WHITENING_EXPONENT = -0.5
_LEAST_TRACE = 1e-12
# Of an eigenvalue in single precision, as a share of what shrinkage adds to it.
_LARGEST_ERROR = 1e-4


def support_metric(X: Tensor, y: Tensor, sample_weight: Tensor, prototypes: Tensor) -> Tensor:
    """M (d, d) from X (n, d), y (n,), weights (n,) and prototypes (c, d)."""
    c, d = prototypes.shape
    within, share = _within(X, y, sample_weight, c)
    M = _shrunk_power(within, share, _WITHIN_EXPONENT).matrix()
    text = prototypes - prototypes.mean(dim=0)
    return _shrunk_power(text, (c - 1) / (c - 1 + d), _TEXT_EXPONENT).after(M)


def whitening_metric(
    X: Tensor, y: Tensor, sample_weight: Tensor, n_classes: int
) -> tuple[Tensor, float]:
    """M (d, d), and the factor of the scatter within classes in the inverse of M M'."""
    a, rows = sample_weight.double(), X.double()
    mean = (a / a.sum()) @ rows
    variance = (a / a.sum()) @ (rows - mean).square()
    # A column that does not vary stays as it is, on the scale of those that do.
    typical = variance.mean()
    varies = variance > 1e-20 * mean.square()
    scale = torch.where(varies, typical / variance.clamp(min=1e-300), torch.ones_like(variance))
    scale = scale.sqrt()
    within, share = _within((rows - mean) * scale, y, a, n_classes)
    M = scale[:, None] * _shrunk_power(within, share, _WHITENING_EXPONENT).matrix()
    trace = float(within.square().sum())
    factor = share * X.shape[1] / trace if trace > _LEAST_TRACE else 0.0
    return M.to(dtype=X.dtype), factor


def _within(rows: Tensor, y: Tensor, a: Tensor, n_classes: int) -> tuple[Tensor, float]:
    """Residuals times the roots of their weights (n, d), and how much is known of their scatter."""
    d = rows.shape[1]
    count = a.new_zeros(n_classes).index_add(0, y, a)
    means = rows.new_zeros(n_classes, d).index_add(0, y, a[:, None] * rows)
    residual = rows - (means / count.clamp(min=1e-300)[:, None])[y]
    freedom = max(float(a.sum() - (count > 0).sum()), 0.0)
    return a.sqrt()[:, None] * residual, freedom / (freedom + d)


@dataclass(frozen=True)
class _Power:
    """The symmetric matrix ``scale I + vectors diag(gain) vectors'`` of size (d, d)."""

    scale: float
    vectors: Tensor
    gain: Tensor

    def matrix(self) -> Tensor:
        d = len(self.vectors)
        identity = torch.eye(d, dtype=self.vectors.dtype, device=self.vectors.device)
        return torch.addmm(identity, self.vectors * self.gain, self.vectors.T, beta=self.scale)

    def after(self, M: Tensor) -> Tensor:
        """The product of M (d, d) and this, which is fast where there are few vectors."""
        moved = (M @ self.vectors) * self.gain
        return torch.addmm(M, moved, self.vectors.T, beta=self.scale)


def _shrunk_power(rows: Tensor, share: float, exponent: float) -> _Power:
    """Power of the scatter ``rows' rows`` (d, d), of mean eigenvalue 1, shrunk to the identity."""
    n, d = rows.shape
    trace = float(rows.square().sum())
    if share <= 0 or trace <= _LEAST_TRACE:
        return _Power(1.0, rows[:0].T, rows[:0, 0])
    rows = rows * (share * d / trace) ** 0.5
    rest = 1.0 - share
    if n >= d:
        values, vectors = torch.linalg.eigh(rows.T @ rows)
        change = (rest + values.clamp(min=0.0)).pow(exponent) - rest**exponent
        return _Power(rest**exponent, vectors, change)
    values, left = torch.linalg.eigh(rows @ rows.T)
    if float(values.amax()) * torch.finfo(rows.dtype).eps > _LARGEST_ERROR * rest:
        values, left = torch.linalg.eigh(rows.double() @ rows.double().T)
    # Outside the span of the rows the scatter is zero. Its axes are ``rows' left`` over the roots
    # of the values, by which the change is divided instead: it vanishes with them.
    ratio = values.clamp(min=0.0) / rest
    slope = torch.expm1(exponent * ratio.log1p()) / ratio.clamp(min=1e-30)
    gain = rest ** (exponent - 1.0) * torch.where(ratio > 1e-6, slope, exponent)
    return _Power(rest**exponent, rows.T @ left.to(rows.dtype), gain.to(rows.dtype))
