r"""Gaussian classes without one image each, for rows that they have not seen.

Without image i the scatter loses :math:`U_i^\top U_i`, its rows' own and that of its mean, and the
means move along one direction :math:`v_i` (the last row of :math:`V_i`, whose rows are those of
:math:`U_i` but for their weight): the own class's by :math:`s_i v_i`, and a class's without images,
which stands at the mean of the other means, by :math:`s_i v_i` over their number. With
:math:`D_i = (k G + f_i I)^{-1}`, k the weight of the scatter and :math:`f_i` the variance that
shrinkage adds, Woodbury's identity gives

.. math::
    \Sigma_{-i}^{-1} = D_i + D_i V_i^\top M_i V_i D_i, \qquad
    x^\top \Sigma_{-i}^{-1} \mu_{-i,c} = x^\top D_i \mu_c
        + (x^\top D_i V_i^\top) (M_i V_i D_i \mu_{-i,c} + s_{ic} e) ,

e being the last unit vector: few numbers of the row and the image, times factors of the classes.
What is left, :math:`x^\top D_i \mu_c`, depends on the image by :math:`f_i` alone, which hardly
varies. It is interpolated between Chebyshev's points, for :math:`1 / (\gamma + f)` with an error
known beforehand: relative to it, at most one over the Chebyshev polynomial at the pole.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skclip._core.left_out_logits import LeftOutFactors
from skclip._core.linear.leave_one_out import Groups
from skclip._core.methods.gaussian_da import GaussianClasses, image_batches, inverse_downdate

__all__ = ["left_out_factors"]

# Of the precision, relative, between Chebyshev's points.
_INTERPOLATION_ERROR = 1e-9
# Shares of the weight of a class, of the scatter and of a variance that are rounding errors.
_ROUNDING = 1e-9
# Share of a direction's scatter that an image leaves, below which it is lost.
_ROUNDING_OF_RANK = 1e-5


def left_out_factors(
    classes: GaussianClasses,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor,
    codes: Tensor,
    *,
    alpha: float,
    log_prior: Tensor | None,
) -> LeftOutFactors | None:
    """What every image takes with it from ``alpha g`` of new rows, exactly.

    Coordinates are the rows themselves. None where the support without some image has no scatter
    within classes, one class only, or a singular covariance, whose pseudo-inverse jumps.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        The rows that `classes` are the moments of, of labels y (n,), weights (n,) that sum to the
        same for every image, and images, `codes` (n,) 0, 1, ...
    log_prior : Tensor of shape (c,) or None
        None takes the shares of the classes, without the image.
    """
    a, rows = sample_weight.double(), classes.rotated(X)
    groups = Groups.of(codes, a)
    precision = classes.precision()
    if classes.is_total or int((classes.weight > 0).sum()) < 2 or not bool(precision.all()):
        return None
    parts = []
    every = torch.arange(len(groups.rows), device=rows.device)
    for where in image_batches(every, groups, X.shape[1], len(classes.weight)):
        index = groups.rows[where]
        change = _Change.of(classes, rows[index], a[index] * groups.present[where], y[index[:, 0]])
        if not bool((change.trace > _ROUNDING * classes.energy.sum()).all()):
            return None
        parts.append(_factors(classes, change, log_prior))
    V, factors, offsets, floor, level, jumps = (
        torch.cat(part) for part in zip(*parts, strict=True)
    )
    if bool(jumps.any()):
        return None
    mixes, shared = _interpolated(classes, groups, floor)
    whole = _constants(classes, precision[None], classes.weight[None], log_prior)
    directions = classes.axes @ V.flatten(0, 1).T
    shared = classes.axes @ shared.flatten(0, 1).T
    # Rows are not centred: what the origin adds is taken off again.
    along = (classes.origin @ directions).view(len(V), 1, -1)
    common = (classes.origin @ shared).view(mixes.shape[1], -1)
    offsets = offsets - whole - (along @ factors).squeeze(1) - mixes @ common
    # Biases have mean zero, and weights are those of classes relative to the origin.
    offsets -= offsets.mean(dim=1, keepdim=True)
    return LeftOutFactors(
        directions=directions,
        factors=(alpha * factors).float(),
        offsets=(alpha * offsets).float(),
        mixes=mixes.float(),
        shared=alpha * shared,
        levels=alpha * classes.axes @ level.T,
    )


class _Change(NamedTuple):
    """What g images take with them from the moments of c classes.

    The scatter loses V' diag(root^2) V of V (g, s, d), and is left with `trace` (g,); the means
    move along the last rows of V, by moves (g, c), and their origin by origin (g, d); the
    classes are left with weight (g, c).
    """

    V: Tensor
    root: Tensor
    trace: Tensor
    moves: Tensor
    origin: Tensor
    weight: Tensor

    @classmethod
    def of(cls, classes: GaussianClasses, x: Tensor, a: Tensor, label: Tensor) -> _Change:
        """Of images of rows x (g, s, d), weights a (g, s) and labels (g,)."""
        seen = classes.weight > 0
        n_seen = float(seen.sum())
        means = classes.means[label]
        left, total = a.sum(dim=1), classes.weight[label]
        rest = total - left
        goes = rest <= _ROUNDING * total
        rest = torch.where(goes, 0.0, rest)
        centre = (a[:, :, None] * x).sum(dim=1) / left[:, None]
        # A class that loses its only image moves to the mean of the other means.
        others = (classes.means[seen].sum(dim=0) - means) / (n_seen - 1.0)
        along = torch.where(goes[:, None], others, centre) - means
        # The scatter loses that within the image, and w t / (t - w) of its mean: weights left,
        # total. An image that is its class had no other part in it.
        pull = torch.where(goes, 0.0, left * total / rest)
        V, root = along[:, None], pull.sqrt()[:, None]
        if x.shape[1] > 1:  # an image of one row has no scatter of its own
            V = torch.cat([x - centre[:, None], V], dim=1)
            root = torch.cat([a.sqrt(), root], dim=1)
        lost = (root[:, :, None] * V).square().sum(dim=(1, 2))
        own = torch.where(goes, 1.0, -left / rest)
        moves = own[:, None] / n_seen * (~seen).double()
        moves.scatter_(1, label[:, None], own[:, None])
        weight = classes.weight.repeat(len(label), 1)
        weight.scatter_(1, label[:, None], rest[:, None])
        origin = (-left / (classes.total_weight - left))[:, None] * centre
        return cls(V, root, classes.energy.sum() - lost, moves, origin, weight)


def _factors(
    classes: GaussianClasses, change: _Change, log_prior: Tensor | None
) -> tuple[Tensor, ...]:
    """V D (g, s, d), factors (g, s, c), constants (g, c), floors f (g,) and levels (g, d).

    The last, (g,), says whether what is left of the scatter has lost a rank.
    """
    V, root, trace, moves, origin, weight = change
    share, floor = classes.shares(weight.sum(dim=1), trace)
    D = classes.inverse(share, floor)
    VD = V * D[:, None]
    gram = VD @ V.mT
    C = inverse_downdate(root[:, :, None] * gram * root[:, None], share)
    jumps = C.diagonal(dim1=1, dim2=2).sum(dim=1) * _ROUNDING_OF_RANK > share
    M = root[:, :, None] * C * root[:, None]
    # V D mu of the old means, and of the new ones.
    old = VD @ classes.means.T
    new = old + gram[:, :, -1:] * moves[:, None]
    factors = M @ new
    constants = _constants(classes, D, weight, log_prior)
    constants -= moves * (old[:, -1] + 0.5 * moves * gram[:, -1, -1:])
    constants -= 0.5 * (new * factors).sum(dim=1)
    factors[:, -1] += moves
    level = -D * origin - ((VD @ origin[:, :, None]).mT @ M @ VD).squeeze(1)
    return VD, factors, constants, floor, level, jumps


def _constants(
    classes: GaussianClasses, D: Tensor, weight: Tensor, log_prior: Tensor | None
) -> Tensor:
    """(g, c) ``log prior - mu D mu / 2`` for precisions D (g, d) and weights (g, c)."""
    if log_prior is None:
        seen = weight > 0
        mean = weight.sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True)
        log_prior = torch.where(seen, weight, mean).log()
    return log_prior - 0.5 * D @ classes.means.square().T


def _interpolated(classes: GaussianClasses, groups: Groups, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Mixes (g, k) of k shared directions (k, c, d), less those of the whole: x D mu for all."""
    left = groups.own[groups.rows[:, 0]]
    share, _ = classes.shares(classes.total_weight - left.mean(), classes.energy.sum())
    nodes, mixes = _nodes(share * classes.energy.amin(), floor)
    D = classes.inverse(share.expand(len(nodes)), nodes) - classes.precision()
    return mixes, D[:, None] * classes.means


def _nodes(pole: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Chebyshev's points (k,) in the range of `values` (g,), and the weights (g, k) of these.

    So many that ``1 / (p + f)`` is right to `_INTERPOLATION_ERROR` for every p from `pole` on.
    """
    low, high = values.amin(), values.amax()
    centre, radius = (high + low) / 2, (high - low) / 2
    if not float(radius) > _ROUNDING * float(pole + low):
        return centre[None], torch.ones_like(values)[:, None]
    away = float((pole + centre) / radius)
    k = math.ceil(math.acosh(1.0 / _INTERPOLATION_ERROR) / math.acosh(away))
    angles = torch.pi * (torch.arange(k, dtype=values.dtype, device=values.device) + 0.5) / k
    degree = torch.arange(1, k, dtype=values.dtype, device=values.device)
    own = ((values - centre) / radius).clamp(-1.0, 1.0).acos()
    # Of the discrete cosine transform: 1/k + 2/k sum_j T_j(t) T_j(t_k).
    product = (own[:, None] * degree).cos() @ (degree[:, None] * angles).cos()
    return centre + radius * angles.cos(), (1.0 + 2.0 * product) / k
