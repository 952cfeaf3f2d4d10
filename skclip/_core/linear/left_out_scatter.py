r"""What the left-out logits owe to a metric that has seen the row.

Where the prior's metric is the whitening of the support rows' own scatter (no text), a row is
its own witness: the directions in which it differs from its class are shrunk. With
:math:`(M M^\top)^{-1} = D + s \sum_n a_n r_n r_n^\top` over residuals r, leaving out an image g
takes :math:`V V^\top` from it, of as many columns as g has rows and one for the mean of its
class; by Woodbury's identity the prior covariance of logits becomes

.. math::
    k_{-g}(x, x') = k(x, x') + \tau^2\, x^\top M M^\top V (I - V^\top M M^\top V)^{-1}
        V^\top M M^\top x'.

The mode is a sum over rows, :math:`W - T = (\tau / \lambda) M M^\top \sum_n a_n (y_n - p_n) x_n`.
The rows that stay keep their residuals y - p, and act through the new covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skclip._core.linear.linear_problem import LinearProblem

__all__ = ["scatter_shift"]


def scatter_shift(
    problem: LinearProblem, centre: Tensor, scores: Tensor, rows: Tensor, present: Tensor
) -> Tensor:
    """What is added (n, c) to left-out logits for a metric without the row's image.

    Parameters
    ----------
    centre : Tensor of shape (d,)
        Of the rows, as that of their span.
    scores : Tensor of shape (n, c)
        Fitted logits.
    rows, present : Tensor of shape (g, s)
        Rows of each image, padded.
    """
    if problem.metric is None or not problem.scatter_share:
        return torch.zeros_like(scores)
    a, y = problem.sample_weight, problem.y
    n, c = scores.shape
    Z = (problem.X - centre) @ problem.metric
    total = a.new_zeros(c).index_add(0, y, a)
    means = Z.new_zeros(c, Z.shape[1]).index_add(0, y, a[:, None] * Z)
    R = Z - (means / total.clamp(min=torch.finfo(a.dtype).tiny)[:, None])[y]
    # A row of weight a > 1 stands for a rows, of which one is left out.
    left = (a if rows.shape[1] > 1 else a.clamp(max=1.0))[rows] * present
    gone = left.sum(dim=1)
    rest = total[y[rows[:, 0]]] - gone
    # The mean of the class moves by that of the image; where the class goes, its scatter does.
    pull = torch.where(
        rest > 1e-9 * gone, 1.0 / rest.clamp(min=torch.finfo(a.dtype).tiny), torch.zeros_like(rest)
    )
    mean = (left[..., None] * R[rows]).sum(dim=1, keepdim=True) * pull.sqrt()[:, None, None]
    V = torch.cat([left.sqrt()[..., None] * R[rows], mean], dim=1) * problem.scatter_share**0.5
    force = -torch.softmax(scores, dim=1)
    force[torch.arange(n, device=y.device), y] += 1.0
    own = V @ Z[rows].mT @ (left[..., None] * force[rows])
    others = V @ (Z.T @ (a[:, None] * force)) - own
    remainder = torch.eye(V.shape[1], dtype=V.dtype, device=V.device) - V @ V.mT
    shift = Z[rows] @ V.mT @ torch.linalg.solve(remainder, others)
    out = torch.zeros_like(scores)
    out[rows[present]] = shift[present]
    return out * (problem.logit_scale**2 / problem.prior_precision)
