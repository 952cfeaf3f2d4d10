r"""Kernel ridge regression on few keys, where a kernel matrix of all rows is too large.

With m of the n rows as landmarks Z, the function :math:`f(x) = k(x, Z) D` that minimises the
squared error of the targets E plus :math:`\lambda` times its squared norm has

.. math::
    D = (K_{ZX} A K_{XZ} + \lambda K_{ZZ})^{-1} K_{ZX} A E

(Nystroem's method, Rudi, Camoriano, Rosasco, "Less is more: Nystroem computational
regularization", NeurIPS 2015): O(n m^2) instead of O(n^3), in chunks of rows. With
:math:`K_{ZZ} = L L^\top` it is a ridge regression on the features
:math:`\varphi(x) = L^{-1} k(Z, x)`, so that the residual of the rows g of an image by the fit
without them is

.. math::
    (I - \Phi_g M^{-1} \Phi_g^\top A_g)^{-1} r_g, \qquad M = \Phi^\top A \Phi + \lambda I

which is exact with the landmarks as they are: of an image that is one, the label is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from skclip._core.methods.chunks import row_chunks
from skclip._core.methods.kernel_ridge import kernel
from skclip._core.methods.left_out_images import drawn, left_out_images
from skclip._core.methods.proker import KernelRegression, Support

__all__ = ["LandmarkRegression"]

# Columns of a block of a matrix's product with itself.
_BLOCK = 512
# Rows times classes of left-out values, of which there are a few copies in float32.
_MOST_LEFT_OUT = 2**25
# Added to the unit diagonal of the landmarks' kernel: they may all but coincide.
_JITTER = 1e-6


@dataclass(frozen=True)
class _AtBeta:
    """At one beta: L (m, m), its ridge regression's Gram matrix (m, m) and right side (m, c)."""

    factor: Tensor
    gram: Tensor
    target: Tensor

    @classmethod
    def of(cls, support: Support, landmarks: Tensor, beta: float) -> Self:
        m, (n, d) = len(landmarks), support.X.shape
        gram = support.X.new_zeros(m, m)
        of_labels = support.X.new_zeros(support.n_classes, m)
        of_rows = support.X.new_zeros(m, d)
        for where in row_chunks(n, m):
            X, a = support.X[where], support.weight[where, None]
            B = kernel(X, landmarks, beta)
            of_labels.index_add_(0, support.y[where], a * B)
            of_rows.addmm_(B.T, a * X)
            _add_gram(gram, B.mul_(a.sqrt()))
        gram = gram.triu() + gram.triu(1).T
        K = kernel(landmarks, landmarks, beta)
        K.diagonal().add_(_JITTER)
        L = torch.linalg.cholesky(K)
        half = torch.linalg.solve_triangular(L, gram, upper=False)
        gram = torch.linalg.solve_triangular(L, half.T, upper=False)
        # Cosines enter as (B' A X) T', so that no (n, c) matrix of them is made.
        right = of_labels.T - of_rows @ support.text.T
        return cls(L, 0.5 * (gram + gram.T), torch.linalg.solve_triangular(L, right, upper=False))

    def solved(self, ridge: float) -> tuple[Tensor, Tensor]:
        """C with ``C C' = M``, and C^-1 of the right side."""
        M = self.gram.clone()
        M.diagonal().add_(ridge)
        C = torch.linalg.cholesky(M)
        return C, torch.linalg.solve_triangular(C, self.target, upper=False)


def _add_gram(out: Tensor, B: Tensor) -> None:
    """Add the upper triangle of ``B' B``, in blocks, to `out`."""
    for first in range(0, B.shape[1], _BLOCK):
        out[first : first + _BLOCK, first:].addmm_(B[:, first : first + _BLOCK].T, B[:, first:])


@dataclass(frozen=True)
class LandmarkRegression(KernelRegression):
    """Some rows are keys: O(n m^2) for every beta, O(m^3 + m^2 c) for every ridge."""

    support: Support
    landmarks: Tensor

    @classmethod
    def drawn(cls, support: Support, n_landmarks: int) -> Self:
        """With rows of different images as landmarks, the same ones every time."""
        first = support.groups.rows[:, 0]
        places = drawn(len(first), n_landmarks).to(first.device)
        return cls(support, support.X[first[places]])

    @cached_property
    def images(self) -> tuple[Tensor, float]:
        support, size = self.support, self.support.groups.rows.shape[1]
        most = _MOST_LEFT_OUT // (size * support.n_classes)
        return left_out_images(support.groups, support.y, support.n_classes, most)

    @property
    def keys(self) -> Tensor:
        return self.landmarks

    @cached_property
    def _known(self) -> dict[float, _AtBeta]:
        return {}

    def _at(self, beta: float) -> _AtBeta:
        """Sums over all rows, made once for every beta."""
        if beta not in self._known:
            self._known[beta] = _AtBeta.of(self.support, self.landmarks, beta)
        return self._known[beta]

    def dual(self, beta: float, ridge: float) -> Tensor:
        at = self._at(beta)
        C, half = at.solved(ridge)
        w = torch.linalg.solve_triangular(C.T, half, upper=True)
        D: Tensor = torch.linalg.solve_triangular(at.factor.T, w, upper=True)
        return D

    def left_out(self, beta: float, ridge: float) -> Tensor:
        support, groups, kept = self.support, self.support.groups, self.images[0]
        index, present = groups.rows[kept], groups.present[kept, :, None]
        at, dtype = self._at(beta), support.working_dtype
        C, half = (part.to(dtype) for part in at.solved(ridge))
        L = at.factor.to(dtype)
        # (m, k): a column is C^-1 phi.
        phi = kernel(support.X[index.flatten()], self.landmarks, beta).to(dtype).T
        for triangle in (L, C):
            phi = torch.linalg.solve_triangular(triangle, phi, upper=False)
        rows = phi.T.reshape(*index.shape, -1) * present
        targets = support.targets(index.flatten()).to(dtype).reshape(*index.shape, -1)
        residual = (targets - rows @ half) * present
        remainder = -(rows @ rows.mT) * support.weight[index].to(dtype)[:, None]
        remainder.diagonal(dim1=1, dim2=2).add_(1.0)
        out: Tensor = targets - torch.linalg.solve(remainder, residual)
        return out[present.squeeze(2)]
