r"""The models without one image each, as steps from the whole one.

One Newton step away from the rows g of an image, the weights of class c change by
:math:`-A_c^{-1} \Phi_g^\top (I - h_g S_{gg})^{-1} f_g`, where :math:`A_c` is the curvature at the
mode, :math:`S_{gg}` the posterior covariance of the logits of these rows, h their curvature
and :math:`f = a (y - p)` their pull on the class (``_core/linear/leave_one_out.py`` has the same
step for the rows themselves). So the logits of a new row under all left-out models are its logits,
less its coordinates times one vector for each pair of an image and a class that it matters to.

Of CLIP's concentrated softmax few such pairs count: those of the image's own class, and those with
a noticeable curvature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skclip._core.posterior.gaussian_model import GaussianModel

__all__ = ["LeftOutModels"]

# Pairs of row and class with p (1 - p) up to this do not enter, but for the row's own class.
_THRESHOLD = 1e-4
# The Newton step divides by 1 - h s, which rounding can bring to 0 or below.
_SMALLEST_REMAINDER = 1e-3


@dataclass(frozen=True)
class LeftOutModels:
    """Shifts of logits for k pairs of an image and a class.

    directions (r', k), times the coordinates of a row in the model's frame, are added to its
    logits; images (k,) and classes (k,) say what the pairs are, classes ascending.
    """

    directions: Tensor
    images: Tensor
    classes: Tensor

    @classmethod
    def of(
        cls, model: GaussianModel, X: Tensor, y: Tensor, weight: Tensor, images: Tensor
    ) -> LeftOutModels:
        """For the mode `model` of rows X (n, d) of classes y, weights and images (n,) 0, 1, ..."""
        P = torch.softmax(model.logits(X) * model.temperature, dim=1)
        phi, _ = model.frame.coordinates(X)
        ridge = torch.ones_like(phi[0])
        if model.frame.has_bias:
            ridge[-1] = 1.0 / model.bias_variance
        directions, owners, classes = [], [], []
        for c in range(model.n_classes):
            p = P[:, c]
            rows = torch.nonzero((p * (1 - p) > _THRESHOLD) | (y == c)).squeeze(1)
            if not len(rows):
                continue
            a, p = weight[rows], p[rows]
            scale = model.logit_scale / (float(model.prior_precision[c]) * ridge).sqrt()
            columns, members = _directions(
                phi[rows] * scale, a * p * (1 - p), a * ((y[rows] == c).to(p) - p), images[rows]
            )
            directions.append(scale[:, None] * columns / model.temperature)
            owners.append(members)
            classes.append(torch.full_like(members, c))
        # Single precision is enough for differences of logits, and twice as fast.
        steps = torch.cat(directions, dim=1).float()
        return cls(steps, torch.cat(owners), torch.cat(classes))


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
