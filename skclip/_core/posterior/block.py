r"""Gaussian posteriors, one independent block per class, in compact form.

The weights of class c are :math:`w_c = \bar w_c + M u_c` and its bias at the centre is
:math:`\bar\theta_c + u_{c0}`; a :class:`Frame` holds what takes a row x to the coordinates
:math:`\phi` that multiply u. The precision of u is

.. math::
    A_c = \mathrm{diag}(p_c) + U_c^\top U_c

inside the frame and :math:`o_c I` outside it. A posterior covariance of classes times d
times d is never formed: of a class with m informative rows, U holds min(m, r) rows.
Rows of U are kept orthogonal in the metric :math:`\mathrm{diag}(p_c)^{-1}`, so that with
:math:`s_i = \|U_i\, \mathrm{diag}(p_c)^{-1/2}\|^2`

.. math::
    A_c^{-1} = \mathrm{diag}(1 / p_c) - R_c^\top R_c, \quad
    R_i = \frac{U_i\, \mathrm{diag}(1 / p_c)}{\sqrt{1 + s_i}}, \quad
    \log |A_c| = \sum_j \log p_{cj} + \sum_i \log(1 + s_i).

Cross-class blocks of the curvature are left out (the block-diagonal Laplace
approximation): row n tells class c as much as :math:`\tau^2 a_n p_{nc} (1 - p_{nc})`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.span import Span, weights_of, with_bias_column

__all__ = ["BlockGaussian", "Frame", "bias_precision", "prior_of"]

_BYTES_PER_CHUNK = 64 * 2**20
# Variance, in squared logits, that a bias without prior has in a Gaussian posterior.
_FLAT_BIAS_VARIANCE = 100.0


@dataclass(frozen=True)
class Frame:
    """Coordinates of rows: ``phi(x) = [(x - centre) M basis, 1]``, the 1 where there is a bias.

    basis (d, r) has orthonormal columns; metric (d, d) is M, or None for the identity;
    centre (d,).
    """

    basis: Tensor
    metric: Tensor | None
    centre: Tensor
    has_bias: bool

    @classmethod
    def of(cls, problem: LinearProblem, span: Span) -> Frame:
        """The span of the rows of a problem."""
        return cls(span.basis, problem.metric, span.centre, problem.has_bias)

    @property
    def n_outside(self) -> int:
        """Dimensions of the feature space that the frame does not reach."""
        return self.basis.shape[0] - self.basis.shape[1]

    def coordinates(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """phi (n, r') of X (n, d), and the squared length (n,) of what is outside the frame."""
        rows = self._rows(X)
        phi = rows @ self.basis
        outside = rows.square().sum(dim=1) - phi.square().sum(dim=1)
        # Below this the difference is rounding.
        noise = 16 * torch.finfo(X.dtype).eps * rows.square().sum(dim=1)
        outside = torch.where(outside > noise, outside, torch.zeros_like(outside))
        if self.has_bias:
            phi = with_bias_column(phi)
        return phi, outside

    def weights(self, points: Tensor, logit_scale: float) -> tuple[Tensor, Tensor]:
        """What coordinates (c, r') add to the weights (c, d) and to the intercepts (c,)."""
        if not self.has_bias:
            return weights_of(points, self.basis, self.metric), points.new_zeros(len(points))
        shift = weights_of(points[:, :-1], self.basis, self.metric)
        return shift, logit_scale * (points[:, -1] - shift @ self.centre)

    def extended(self, X: Tensor) -> Frame:
        """The frame that also holds the rows of X; old coordinates keep their place."""
        rows = self._rows(X).double()
        basis = self.basis.double()
        rest = rows - rows @ basis @ basis.T
        values, vectors = torch.linalg.eigh(rest.T @ rest)
        cutoff = rows.square().sum() * max(rows.shape) * torch.finfo(rows.dtype).eps
        extra = vectors[:, values > cutoff][:, : self.n_outside]
        extra = torch.linalg.qr(extra - basis @ (basis.T @ extra)).Q
        return replace(self, basis=torch.cat([basis, extra], dim=1).to(self.basis.dtype))

    def _rows(self, X: Tensor) -> Tensor:
        rows = X - self.centre
        return rows if self.metric is None else rows @ self.metric


@dataclass(frozen=True)
class BlockGaussian:
    """Precisions of all classes; see the module for the symbols.

    diagonal (c, r') is p; outside (c,) is o, in n_outside dimensions; the rows of factor
    (k, r') are those of all U, and owner (k,) is the class of each, ascending. With
    has_bias the last coordinate is the bias.
    """

    diagonal: Tensor
    outside: Tensor
    n_outside: int
    factor: Tensor
    owner: Tensor
    has_bias: bool

    # -- the covariance -------------------------------------------------------------

    def variance(self, phi: Tensor, outside_square: Tensor) -> Tensor:
        """(n, c) variances of ``<phi, u_c>`` plus those of what is outside the frame."""
        total = torch.addmm(
            outside_square[:, None] / self.outside, phi.square(), self.diagonal.reciprocal().T
        )
        step = max(1, _BYTES_PER_CHUNK // (max(len(phi), 1) * phi.element_size()))
        for R, owner in zip(
            torch.split(self.reduction(), step), torch.split(self.owner, step), strict=True
        ):
            total.T.index_add_(0, owner, (R @ phi.T).square_(), alpha=-1.0)
        return total.clamp_(min=0.0)

    def log_det(self) -> Tensor:
        """(c,) log determinants of the precisions, outside included."""
        total = self.diagonal.log().sum(dim=1) + self.n_outside * self.outside.log()
        return total.index_add(0, self.owner, self._gain().log1p())

    def trace_of(self, prior: BlockGaussian) -> Tensor:
        """(c,) traces of the prior's precision times this covariance, outside included."""
        R = self.reduction()
        marginal = self.diagonal.reciprocal()
        marginal = marginal.index_add(0, self.owner, R.square(), alpha=-1.0)
        total = (prior.diagonal * marginal).sum(dim=1)
        total = total + self.n_outside * prior.outside / self.outside
        if not len(prior.factor):
            return total
        U = prior.factor.square() / self.diagonal[prior.owner]
        total = total.index_add(0, prior.owner, U.sum(dim=1))
        for c in sorted(set(prior.owner.tolist())):
            overlap = R[self.owner == c] @ prior.factor[prior.owner == c].T
            total[c] -= overlap.square().sum()
        return total

    def multiply(self, points: Tensor) -> Tensor:
        """(c, r') products of the precisions with points (c, r')."""
        image = self.diagonal * points
        if not len(self.factor):
            return image
        moved = (self.factor * points[self.owner]).sum(dim=1)
        return image.index_add(0, self.owner, moved[:, None] * self.factor)

    def marginal_precision(self) -> Tensor:
        """(c, r') diagonals of the precisions."""
        return self.diagonal.index_add(0, self.owner, self.factor.square())

    def _gain(self) -> Tensor:
        return (self.factor.square() / self.diagonal[self.owner]).sum(dim=1)

    def reduction(self) -> Tensor:
        """R (k, r')."""
        return self.factor / self.diagonal[self.owner] / (1.0 + self._gain()).sqrt()[:, None]

    # -- learning -------------------------------------------------------------------

    def absorb(
        self,
        phi: Tensor,
        weight: Tensor,
        kind: str,
        *,
        keep: float = 0.999,
        max_rank: int | None = None,
    ) -> BlockGaussian:
        """This precision plus ``sum_n weight[n, c] phi_n phi_n'``, in the form of a kind.

        Parameters
        ----------
        phi : Tensor of shape (n, r')
        weight : Tensor of shape (n, c)
            Curvature of row n in the coordinates of class c.
        kind : {"isotropic", "diagonal", "full"}
            "diagonal" keeps the diagonal of the precision; "isotropic" its mean over all
            dimensions of the weights (frame and outside), and the bias by itself. Of all
            covariances of its form that has the smallest divergence to the posterior.
        keep : float
            "full" leaves out the rows of least curvature that together hold at most the
            share ``1 - keep`` of the curvature of a class.
        max_rank : int or None
            Largest number of rows of U per class; the least informative are dropped.
        """
        if kind == "full":
            return self._absorb_full(phi, weight, keep, max_rank)
        diagonal = torch.addmm(self.marginal_precision(), weight.T, phi.square())
        outside = self.outside
        if kind == "isotropic":
            r = diagonal.shape[1] - int(self.has_bias)
            total = diagonal[:, :r].sum(dim=1) + self.n_outside * outside
            outside = total / max(r + self.n_outside, 1)
            diagonal = torch.cat([outside[:, None].expand(-1, r), diagonal[:, r:]], dim=1)
        return replace(
            self, diagonal=diagonal, outside=outside, factor=phi[:0], owner=self.owner[:0]
        )

    def _absorb_full(
        self, phi: Tensor, weight: Tensor, keep: float, max_rank: int | None
    ) -> BlockGaussian:
        parts = []
        for c in range(len(self.diagonal)):
            rows = _informative(weight[:, c], keep)
            U = weight[rows, c].sqrt()[:, None] * phi[rows]
            if len(self.factor):
                U = torch.cat([self.factor[self.owner == c], U])
            parts.append(_orthogonal(U, self.diagonal[c], max_rank))
        sizes = torch.tensor([len(part) for part in parts], device=phi.device)
        owner = torch.repeat_interleave(torch.arange(len(parts), device=phi.device), sizes)
        return replace(self, factor=torch.cat(parts), owner=owner)

    def extended(self, n_new: int) -> BlockGaussian:
        """The same in a frame that has `n_new` more axes, before the bias."""
        r = self.diagonal.shape[1] - int(self.has_bias)
        new = self.outside[:, None].expand(-1, n_new)
        none = self.factor.new_zeros(len(self.factor), n_new)
        return replace(
            self,
            diagonal=torch.cat([self.diagonal[:, :r], new, self.diagonal[:, r:]], dim=1),
            factor=torch.cat([self.factor[:, :r], none, self.factor[:, r:]], dim=1),
            n_outside=self.n_outside - n_new,
        )


def bias_precision(prior_precision: Tensor, bias_variance: float, logit_scale: float) -> Tensor:
    """(c,) prior precisions of the bias; one without prior gets a spread of 10 logits.

    A flat prior has no normalised posterior where no row informs a class.
    """
    flat = logit_scale**2 / _FLAT_BIAS_VARIANCE
    return (prior_precision / bias_variance).clamp(min=flat)


def prior_of(problem: LinearProblem, span: Span) -> BlockGaussian:
    """The prior of a problem, in the coordinates of its span."""
    lam = problem.prior_precision
    diagonal = lam[:, None].expand(-1, span.Z.shape[1])
    if problem.has_bias:
        bias = bias_precision(lam, problem.bias_variance, problem.logit_scale)
        diagonal = torch.cat([diagonal, bias[:, None]], dim=1)
    none = torch.zeros(0, dtype=torch.int64, device=lam.device)
    return BlockGaussian(
        diagonal=diagonal,
        outside=lam,
        n_outside=span.basis.shape[0] - span.basis.shape[1],
        factor=diagonal[:0],
        owner=none,
        has_bias=problem.has_bias,
    )


def _informative(weight: Tensor, keep: float) -> Tensor:
    """Indices of the rows, heaviest first, that hold the share `keep` of the weight."""
    values, rows = weight.sort(descending=True)
    before = values.double().cumsum(0) - values
    return rows[(before < keep * values.double().sum()) & (values > 0)]


def _orthogonal(U: Tensor, diagonal: Tensor, max_rank: int | None) -> Tensor:
    """Rows with the same ``U'U``, orthogonal in the metric ``1 / diagonal``, largest first."""
    scale = diagonal.sqrt()
    G = U / scale
    m, r = G.shape
    if m <= r:
        gain, left = torch.linalg.eigh(G @ G.T)
        rows = left.T @ G
    else:
        gain, right = torch.linalg.eigh(G.T @ G)
        rows = gain.clamp(min=0.0).sqrt()[:, None] * right.T
    keep = torch.nonzero(gain > torch.finfo(gain.dtype).eps * (1.0 + gain.sum())).squeeze(1)
    keep = keep.flip(0)[:max_rank]
    orthogonal: Tensor = rows[keep] * scale
    return orthogonal
