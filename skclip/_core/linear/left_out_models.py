r"""The models without one image each, as steps from the whole one.

One Newton step away from the rows g of an image, the weights of class c change by
:math:`-A_c^{-1} \Phi_g^\top (I - h_g S_{gg})^{-1} f_g`, where :math:`A_c` is the curvature at the
mode, :math:`S_{gg}` the posterior covariance of the logits of these rows, h their curvature
and :math:`f = a (y - p)` their pull on the class (``leave_one_out.py`` has the same step for the
rows themselves). So the logits of a new row under all left-out models are its logits,
less its coordinates times one vector for each pair of an image and a class that it matters to.

Of CLIP's concentrated softmax few such pairs count: those of the image's own class, and those with
a noticeable curvature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skclip._core.left_out_logits import LeftOutPairs

__all__ = ["left_out_pairs"]

# Pairs of row and class with p (1 - p) up to this do not enter, but for the row's own class.
_THRESHOLD = 1e-4
# The Newton step divides by 1 - h s, which rounding can bring to 0 or below.
_SMALLEST_REMAINDER = 1e-3


def left_out_pairs(
    phi: Tensor,
    P: Tensor,
    y: Tensor,
    weight: Tensor,
    images: Tensor,
    *,
    scale: Tensor,
    temperature: float = 1.0,
) -> LeftOutPairs:
    """Steps from the mode of rows of classes y (n,), weights (n,) and images (n,) 0, 1, ...

    Parameters
    ----------
    phi : Tensor of shape (n, r)
        Coordinates of the rows.
    P : Tensor of shape (n, c)
        Probabilities at the mode, whose logits the model divides by `temperature`.
    scale : Tensor of shape (c, r)
        Standard deviations of the coordinates' prior, in logits.
    """
    directions, owners, classes = [], [], []
    for c in range(P.shape[1]):
        p = P[:, c]
        rows = torch.nonzero((p * (1 - p) > _THRESHOLD) | (y == c)).squeeze(1)
        if not len(rows):
            continue
        a, p = weight[rows], p[rows]
        columns, members = _directions(
            phi[rows] * scale[c], a * p * (1 - p), a * ((y[rows] == c).to(p) - p), images[rows]
        )
        directions.append(scale[c][:, None] * columns / temperature)
        owners.append(members)
        classes.append(torch.full_like(members, c))
    # Single precision is enough for differences of logits, and twice as fast.
    steps = torch.cat(directions, dim=1).float()
    return LeftOutPairs(steps, torch.cat(owners), torch.cat(classes))


def _directions(
    rows: Tensor, curvature: Tensor, force: Tensor, images: Tensor
) -> tuple[Tensor, Tensor]:
    """(r', g) steps of one class's weights for the g images among these rows, and the images."""
    # A^-1 rows' by Woodbury: V = rows' - rows' g (I + g K g)^-1 g K with g = sqrt(curvature).
    root = curvature.sqrt()
    K = rows @ rows.T
    inner = root[:, None] * K
    B = inner * root
    B.diagonal().add_(1.0)
    V = rows.T - (rows.T * root) @ torch.linalg.solve(B, inner)
    S = rows @ V
    members, place = torch.unique(images, return_inverse=True)
    if len(members) == len(images):
        remainder = (1.0 - curvature * S.diagonal()).clamp(min=_SMALLEST_REMAINDER)
        return -V * (force / remainder), images
    steps = torch.empty_like(V[:, : len(members)])
    for g in range(len(members)):
        where = torch.nonzero(place == g).squeeze(1)
        half, own = root[where], S[where][:, where]
        # (I - h S)^-1 f = f + g (I - g S g)^-1 g S f, and g S g is symmetric.
        values, vectors = torch.linalg.eigh(half[:, None] * own * half)
        remainder = (1.0 - values).clamp(min=_SMALLEST_REMAINDER)
        pulled = vectors @ ((vectors.T @ (half * (own @ force[where]))) / remainder)
        steps[:, g] = -V[:, where] @ (force[where] + half * pulled)
    return steps, members
