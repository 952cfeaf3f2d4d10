r"""Linear algebra of kernel ridge regression: its system, the solution, and leaving out.

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

import torch
from torch import Tensor

from skclip._core.linear.leave_one_out import Groups
from skclip._core.methods.chunks import row_chunks

__all__ = [
    "half_spread",
    "half_squares",
    "inverse_kernel",
    "kernel",
    "left_out_fit",
    "left_out_residuals",
    "refined_solution",
    "solve",
    "system",
]

# Sizes of a triangle that is inverted, and of one that is multiplied, as a whole.
_TRIANGLE, _PRODUCT = 128, 256
# Relative error of a refined solution, far below what moves a probability; and steps to get there.
_ERROR, _STEPS = 1e-6, 5


def half_spread(X: Tensor, sample_weight: Tensor) -> float:
    """Mean of half the squared distance of two rows; 1 where all rows are equal."""
    share = sample_weight / sample_weight.sum()
    spread = float(torch.dot(share, (X - share @ X).square().sum(dim=1)))
    return spread if spread > 0 else 1.0


def kernel(rows: Tensor, keys: Tensor, beta: float) -> Tensor:
    """(k, m) affinities of rows (k, d) and keys (m, d)."""
    return half_squares(rows, keys).mul_(-beta).exp_()


def half_squares(rows: Tensor, keys: Tensor) -> Tensor:
    """(k, m) halves of the squared distances."""
    origin = keys.mean(dim=0)  # distances do not depend on it, their rounding does
    return _half_squares(rows - origin, keys - origin)


def _half_squares(rows: Tensor, keys: Tensor) -> Tensor:
    half = 0.5 * rows.square().sum(dim=1)[:, None] + 0.5 * keys.square().sum(dim=1)
    return torch.addmm(half, rows, keys.T, alpha=-1.0).clamp_(min=0.0)


def system(K: Tensor, sample_weight: Tensor, ridge: float) -> Tensor:
    """``K + ridge diag(1 / a)`` of positive weights a, in the place of K.

    A factorisation of Cholesky's does not mind that rows of little weight have a large diagonal.
    """
    K.diagonal().add_(_stiffness(sample_weight, ridge, K.dtype))
    return K


def _stiffness(sample_weight: Tensor, ridge: float, dtype: torch.dtype) -> Tensor:
    """(n,) ridge over weight, as far as its square is a number."""
    largest = torch.finfo(dtype).max ** 0.5
    return (ridge / sample_weight.double()).clamp_(max=largest).to(dtype)


def solve(K: Tensor, targets: Tensor, sample_weight: Tensor, ridge: float) -> Tensor:
    """Dual coefficients D (n, c); weights must be positive, and K is overwritten."""
    factor = torch.linalg.cholesky(system(K, sample_weight, ridge))
    return torch.cholesky_solve(targets, factor)


def refined_solution(
    X: Tensor, targets: Tensor, sample_weight: Tensor, beta: float, ridge: float, factor: Tensor
) -> Tensor | None:
    """Dual coefficients D (n, c) in float64 by the system's Cholesky factor in float32.

    The factor solves for what is left of the targets in float64, until D is known to 1e-6 of its
    norm (iterative refinement: Wilkinson, "Rounding errors in algebraic processes", 1963): a
    product of the kernel, which is made again in chunks, and two triangles per step. None where
    five solutions do not get there, because the factor is too coarse.
    """
    X = X - X.mean(dim=0)
    stiffness = _stiffness(sample_weight, ridge, X.dtype)[:, None]
    D, left, before = torch.zeros_like(targets), targets, 1.0
    for step in range(_STEPS):
        change = torch.cholesky_solve(left.to(factor.dtype), factor).to(D.dtype)
        D += change
        size = float(change.norm() / D.norm())
        rate, before = size / before, size
        if step and rate * size <= _ERROR:
            return D
        left = targets - stiffness * D
        for where in row_chunks(len(X), len(X)):
            K = _half_squares(X[where], X).mul_(-beta).exp_()
            left[where] -= K @ D
    return None


def left_out_fit(factor: Tensor, targets: Tensor, groups: Groups) -> Tensor:
    """(m, c) values f of the last m rows by the fit without their group.

    `factor` (n, n) is the system's lower Cholesky factor, `targets` are (n, c), and `groups` of
    the m rows. The last block of Q is the inverse of the factor's last block, squared: where m is
    small, hardly more than the factor and a product of half of it and the targets is to be paid.
    """
    m = len(groups.own)
    half = _inverse_of_triangle(factor[-m:, -m:])
    own = targets[-m:]
    D: Tensor = half.T @ torch.linalg.solve_triangular(factor, targets, upper=False)[-m:]
    index, present = groups.rows, groups.present
    if index.shape[1] == 1:  # of single rows the diagonal of Q = half' half is all that counts
        return own - D / half.square().sum(dim=0)[:, None]
    residual = left_out_residuals(half.T @ half, D, groups)
    out = own.clone()
    out[index[present]] -= residual[present]
    return out


def left_out_residuals(Q: Tensor, D: Tensor, groups: Groups) -> Tensor:
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
    B = system(kernel(keys, keys, beta), sample_weight, ridge)
    Q: Tensor = torch.cholesky_inverse(torch.linalg.cholesky(B))
    return Q


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
