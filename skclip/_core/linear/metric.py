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

import torch
from torch import Tensor

__all__ = ["support_metric", "whitening_metric"]

_WITHIN_EXPONENT = -0.25
_TEXT_EXPONENT = 0.5
_WHITENING_EXPONENT = -0.5
_LEAST_TRACE = 1e-12


def support_metric(X: Tensor, y: Tensor, sample_weight: Tensor, prototypes: Tensor) -> Tensor:
    """M (d, d) from X (n, d), y (n,), weights (n,) and prototypes (c, d)."""
    c, d = prototypes.shape
    within, share = _within(X, y, sample_weight, c)
    M = _shrunk_power(within, share, _WITHIN_EXPONENT)
    text = prototypes - prototypes.mean(dim=0)
    return M @ _shrunk_power(text, (c - 1) / (c - 1 + d), _TEXT_EXPONENT)


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
    M = scale[:, None] * _shrunk_power(within, share, _WHITENING_EXPONENT)
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


def _shrunk_power(rows: Tensor, share: float, exponent: float) -> Tensor:
    """Power of the scatter ``rows' rows`` (d, d), of mean eigenvalue 1, shrunk to the identity."""
    n, d = rows.shape
    dtype = rows.dtype
    identity = torch.eye(d, dtype=dtype, device=rows.device)
    trace = float(rows.square().sum())
    if share <= 0 or trace <= _LEAST_TRACE:
        return identity
    rows = rows * (share * d / trace) ** 0.5
    rest = 1.0 - share
    if n >= d:
        values, vectors = torch.linalg.eigh(rows.T @ rows)
    else:
        # Vectors of small values come from a division by them, which needs all digits.
        rows = rows.double()
        values, left = torch.linalg.eigh(rows @ rows.T)
        keep = values > values.amax() * d * torch.finfo(values.dtype).eps
        values, left = values[keep].to(dtype), left[:, keep]
        vectors = (rows.T @ left).to(dtype) / values.sqrt()
    # Outside the span of the rows the scatter is zero.
    change = (rest + values.clamp(min=0.0)).pow(exponent) - rest**exponent
    power: Tensor = torch.addmm(identity, vectors * change, vectors.T, beta=rest**exponent)
    return power
