r"""Logits of new rows under the models without one image each, as changes of the whole model's.

A row x enters by its coordinates :math:`\phi(x)`, r numbers that the whole model's logits are
linear in, but for a text's (:meth:`~skclip._core.model.FittedModel.coordinates`). Of g images and
c classes two kinds of change are known:

- :class:`LeftOutPairs`: an image moves a class along a direction of their own; few pairs count.
- :class:`LeftOutFactors`: an image moves all classes, by few numbers times factors of the classes.

Both take O(g c) per row beyond the coordinates' products, and neither holds g sets of weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LeftOutFactors", "LeftOutPairs"]

_ROWS_PER_CHUNK = 1024


@dataclass(frozen=True)
class LeftOutPairs:
    """Changes of the logits of k pairs of an image and a class.

    directions (r, k), times the coordinates of a row, are added to its logits; images (k,) and
    classes (k,) say what the pairs are, classes ascending.
    """

    directions: Tensor
    images: Tensor
    classes: Tensor

    def shifts(self, phi: Tensor) -> Tensor:
        """(m, k) what is added to the logits of rows of coordinates (m, r)."""
        return phi.to(self.directions) @ self.directions

    def own_logits(self, logits: Tensor, phi: Tensor, images: Tensor) -> Tensor:
        """(n, c) logits in float64 of rows by the models without the image (n,) of each."""
        shifts = self.shifts(phi)
        rows, pairs = torch.nonzero(images[:, None] == self.images, as_tuple=True)
        moved = (rows, self.classes[pairs])
        return logits.double().index_put(moved, shifts[rows, pairs].double(), accumulate=True)

    def every_logits(
        self, logits: Tensor, phi: Tensor, n_images: int, n_rows: int
    ) -> Iterator[Tensor]:
        """Logits (m, g, c) of m <= n_rows rows at a time, by the models without each image."""
        shifts = self.shifts(phi)
        for first in range(0, len(phi), n_rows):
            rows = slice(first, first + n_rows)
            every = logits[rows].to(shifts)[:, None].repeat(1, n_images, 1)
            every[:, self.images, self.classes] += shifts[rows]
            yield every


@dataclass(frozen=True)
class LeftOutFactors:
    r"""Changes of the logits of all classes, of low rank for each image.

    With factors (g, s, c), offsets (g, c), mixes (g, k), directions (r, g s) and shared (r, k c),
    the model without image i adds to the logits of class c of a row

    .. math::
        \sum_s (\phi^\top d_{is})\, f_{isc} + o_{ic} + \sum_k m_{ik}\, \phi^\top a_{kc} ,

    the last of which is for what changes by a few numbers per image, alike for all rows.
    Coordinates times levels (r, g), or (r, 0) for none, are added to the logits of all classes,
    which no probability sees. Coordinates are multiplied in the precision of `directions`.
    """

    directions: Tensor
    factors: Tensor
    offsets: Tensor
    mixes: Tensor
    shared: Tensor
    levels: Tensor

    def own_logits(self, logits: Tensor, phi: Tensor, images: Tensor) -> Tensor:
        """(n, c) logits in float64 of rows by the models without the image (n,) of each."""
        out = torch.empty_like(logits, dtype=torch.float64)
        for first in range(0, len(phi), _ROWS_PER_CHUNK):
            rows = slice(first, first + _ROWS_PER_CHUNK)
            along, common = self._products(phi[rows])
            image = images[rows]
            own = along[torch.arange(len(image)), image][:, None].double()
            moved = own @ self.factors[image].double()
            moved += self.mixes[image][:, None].double() @ common.double()
            out[rows] = logits[rows].double() + self.offsets[image] + moved.squeeze(1)
            if self.levels.shape[1]:
                level = torch.linalg.vecdot(phi[rows].to(self.levels), self.levels.T[image])
                out[rows] += level[:, None]
        return out

    def every_logits(
        self, logits: Tensor, phi: Tensor, n_images: int, n_rows: int
    ) -> Iterator[Tensor]:
        """Logits (m, g, c) of m <= n_rows rows at a time, less what is alike for all classes.

        Each block is in the memory of the one before: new memory for each would take longer.
        """
        along, common = self._products(phi)
        # The whole model's logits are one more thing that all images share.
        common = torch.cat([logits.to(common)[:, None], common], dim=1)
        mixes = torch.cat([torch.ones_like(self.offsets[:, :1]), self.mixes], dim=1)
        memory = self.offsets.new_empty(min(n_rows, len(phi)), *self.offsets.shape)
        for first in range(0, len(phi), n_rows):
            rows = slice(first, first + n_rows)
            m = len(common[rows])
            every = memory[:m]
            offsets, mixed = self.offsets.expand(m, -1, -1), mixes.expand(m, -1, -1)
            torch.baddbmm(offsets, mixed, common[rows], out=every)
            for s in range(self.factors.shape[1]):
                every.addcmul_(along[rows, :, s, None], self.factors[None, :, s])
            yield every

    def _products(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """(m, g, s) and (m, k, c): coordinates times directions, and times what is shared."""
        g, s, c = self.factors.shape
        phi = phi.to(self.directions)
        along = (phi @ self.directions).to(self.factors).view(len(phi), g, s)
        common = (phi @ self.shared).to(self.factors)
        return along, common.view(len(phi), self.mixes.shape[1], c)
