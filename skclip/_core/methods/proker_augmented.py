r"""Kernel ridge regression on the support and one more row, whatever label that row has.

With a row x of label y, affinities k with the n keys, :math:`q = Q k` and
:math:`\sigma = 1 + \lambda - k^\top q`, the inverse of the larger kernel matrix has the diagonal
:math:`Q'_{jj} = Q_{jj} + q_j^2 / \sigma`, which does not depend on y, and the dual coefficients of
the keys are :math:`D_j - (q_j / \sigma)(e_y - t(x) - f(x))`, with the cosines t with the text and
the fit f of the support alone. Key j has, without itself, the value of its target less
:math:`D'_j / Q'_{jj}`: the label enters the logits of each key in its own class only. So all n + 1
left-out models of all c labels take O(n^2 + n c) per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skclip._core.methods.kernel_ridge import inverse_kernel
from skclip._core.methods.proker import KernelModel

__all__ = ["AugmentedKernel", "AugmentedLogits"]


class AugmentedLogits(NamedTuple):
    """Of m rows: `keys` (m, n, c) are the logits of the keys, by models without them that know the
    row, but for its label, which adds `bump` (m, n) to that class's; `rows` (m, c) are the logits
    of the rows by the support alone."""

    keys: Tensor
    bump: Tensor
    rows: Tensor


@dataclass(frozen=True)
class AugmentedKernel:
    """inverse (n, n) is Q in float64; targets (n, c) and dual (n, c) are in logits.

    targets are what keys have where their residual is nothing, and dual what one over the diagonal
    of the inverse takes from it; `gain` is a logit per unit of the fitted residual.
    """

    inverse: Tensor
    targets: Tensor
    dual: Tensor
    gain: float
    ridge: float

    @classmethod
    def of(cls, model: KernelModel, y: Tensor, ridge: float, weight: float) -> AugmentedKernel:
        """Of a model whose keys are single images of labels y (n,); its residual has `weight`."""
        scale = model.logit_scale / model.temperature
        dual = model.dual.double()
        keys = model.keys.double()
        cosines = torch.zeros_like(dual) if model.text is None else keys @ model.text.double().T
        own = torch.nn.functional.one_hot(y, model.n_classes) - cosines
        targets = scale * (cosines + weight * own)
        Q = inverse_kernel(keys, torch.ones_like(keys[:, 0]), model.beta, ridge)
        return cls(Q, targets.float(), (scale * dual).float(), scale * weight, ridge)

    def logits(self, model: KernelModel, X: Tensor, n_rows: int) -> Iterator[AugmentedLogits]:
        """Of m <= n_rows rows at a time."""
        K = model.coordinates(X).double()
        rows = model.logits(X).float()
        cosines = 0.0 if model.text is None else X @ model.text.T
        scale = model.logit_scale / model.temperature
        # In logits: weight times cosines and fit.
        known = (rows + (self.gain - scale) * cosines).float()
        q = K @ self.inverse
        sigma = 1.0 + self.ridge - torch.linalg.vecdot(K, q)
        diagonal = self.inverse.diagonal() + q.square() / sigma[:, None]
        reach = (q / sigma[:, None] / diagonal).float()
        share = (1.0 / diagonal).float()
        for first in range(0, len(X), n_rows):
            m = slice(first, first + n_rows)
            keys = torch.addcmul(self.targets, share[m, :, None], self.dual, value=-1.0)
            keys.addcmul_(reach[m, :, None], known[m, None], value=-1.0)
            yield AugmentedLogits(keys, self.gain * reach[m], rows[m])
