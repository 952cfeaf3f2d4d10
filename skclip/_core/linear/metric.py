r"""The shape of the prior: a metric on features from the support set and the text.

The prior covariance of a class's weights is :math:`M M^\top / \lambda` with

.. math::
    M = \Big[(1 - r) I + r \tfrac{d}{\mathrm{tr} S} S\Big]^{-1/4}
        \Big[(1 - u) I + u \tfrac{d}{\mathrm{tr} S_T} S_T\Big]^{1/2}

S is the pooled within-class scatter of the support rows: directions in which images of
one class differ are poor evidence, as in linear discriminant analysis, whose exponent
would be -1/2. :math:`S_T` is the covariance of the prototypes: directions in which texts
differ are where classes differ. Both are shrunk towards the identity by what is known
about them, :math:`r = \nu / (\nu + d)` with the residual degrees of freedom
:math:`\nu = \sum_n a_n - c`, zero at one shot, and :math:`u = (c - 1) / (c - 1 + d)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["support_metric"]

_WITHIN_EXPONENT = -0.25
_TEXT_EXPONENT = 0.5


def support_metric(X: Tensor, y: Tensor, sample_weight: Tensor, prototypes: Tensor) -> Tensor:
    """M (d, d) from X (n, d), y (n,), weights (n,) and prototypes (c, d); float64 inside."""
    a, rows, T = sample_weight.double(), X.double(), prototypes.double()
    c, d = T.shape
    count = a.new_zeros(c).index_add(0, y, a)
    means = T.new_zeros(c, d).index_add(0, y, a[:, None] * rows)
    residual = rows - (means / count.clamp(min=1e-300)[:, None])[y]
    freedom = max(float(a.sum() - (count > 0).sum()), 0.0)
    within = a.sqrt()[:, None] * residual
    M = _shrunk_power(within, freedom / (freedom + d), _WITHIN_EXPONENT)
    M = M @ _shrunk_power(T - T.mean(dim=0), (c - 1) / (c - 1 + d), _TEXT_EXPONENT)
    return M.to(dtype=X.dtype)


def _shrunk_power(rows: Tensor, share: float, exponent: float) -> Tensor:
    """Power of the scatter ``rows' rows`` (d, d), of mean eigenvalue 1, shrunk to the identity."""
    n, d = rows.shape
    identity = torch.eye(d, dtype=rows.dtype, device=rows.device)
    trace = float(rows.square().sum())
    if share <= 0 or trace <= 1e-12:
        return identity
    rows = rows * (share * d / trace) ** 0.5
    rest = 1.0 - share
    if n >= d:
        values, vectors = torch.linalg.eigh(rows.T @ rows)
    else:
        values, left = torch.linalg.eigh(rows @ rows.T)
        keep = values > values.amax() * d * torch.finfo(values.dtype).eps
        values = values[keep]
        vectors = (rows.T @ left[:, keep]) / values.sqrt()
    # Outside the span of the rows the scatter is zero.
    change = (rest + values.clamp(min=0.0)).pow(exponent) - rest**exponent
    power: Tensor = torch.addmm(identity, vectors * change, vectors.T, beta=rest**exponent)
    return power
