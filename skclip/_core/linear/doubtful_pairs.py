r"""Newton steps whose linear system is solved for the pairs of a row and a class in doubt.

The Hessian of the linear form is the prior's precision plus, from row n, :math:`\tau^2 a_n
(\mathrm{diag}(p_n) - p_n p_n^\top)` in its logits. CLIP's softmax is concentrated: few pairs (n, c)
have a curvature :math:`h_{nc} = a_n p_{nc} (1 - p_{nc})` that matters. With V the map from
coordinates to the logits of these k pairs over :math:`\tau`, S (k, k) their curvature and
:math:`\Lambda` the prior's precisions, Woodbury's identity gives the Newton step from the gradient
g as

.. math::
    d = -\Lambda^{-1} (g + \tau^2 V^\top S w), \qquad
    (I + K S)\, w = -V \Lambda^{-1} g, \qquad K = \tau^2\, V \Lambda^{-1} V^\top

K has a small block for each class, S a small one for each row, so that a product of conjugate
gradients costs :math:`\sum_c m_c^2`, where a product with the Hessian costs 4 n r c. What is large
is done twice: the logits of :math:`\Lambda^{-1} g`, and those of the step, along which the line
search costs nothing.

A row that is surely wrong has a gradient and no curvature, and would go too far: its curvature
counts as at least a share of its residual, which at an optimum is less than the curvature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from skclip._core.linear.likelihood import Rows
from skclip._core.solve.status import dot

__all__ = ["Pairs", "robust_curvature"]

_RESIDUAL_SHARE = 0.1
# Accuracy of the step, as a share of its own size in the logits.
_ACCURACY = 0.1
_MAX_CG_STEPS = 200
# Of the blocks of K, or as much as a share of the logits has; and of the rows gathered for some.
_BYTES_OF_BLOCKS, _SHARE_OF_LOGITS = 2**28, 0.5
_BYTES_OF_ROWS = 2**24
# Entries of blocks that are padded rather than taken in another operation.
_PADDED = 2**14


def robust_curvature(P: Tensor, y: Tensor, sample_weight: Tensor) -> Tensor:
    """Curvature (n, c) of probabilities P (n, c), a share of the residual at least."""
    label = y[:, None]
    residual = P.scatter(1, label, 1.0 - P.gather(1, label))
    return _robust(P, residual).mul_(sample_weight[:, None])


def _robust(p: Tensor, residual: Tensor) -> Tensor:
    """p (1 - p), or a share of the residual's size where that is more."""
    return torch.maximum(torch.addcmul(p, p, p, value=-1.0), _RESIDUAL_SHARE * residual)


@dataclass(frozen=True)
class Pairs:
    """Pairs of a row and a class, in blocks of classes of similar size, padded with idle pairs.

    rows, classes and present (0 or 1), all (k,); order holds the classes one after the other, of
    which the pairs begin at first; blocks[i] (b, m, m) is K of the pairs at where[i].
    """

    rows: Tensor
    classes: Tensor
    present: Tensor
    order: Tensor
    first: Tensor
    blocks: list[Tensor]

    @classmethod
    def of(cls, rows: Rows, scores: Tensor, log_total: Tensor, threshold: float) -> Pairs:
        """Those with a curvature above the threshold, or above one that fits the memory."""
        row, label = _select(rows, scores, log_total, threshold)
        most = max(_BYTES_OF_BLOCKS / scores.element_size(), _SHARE_OF_LOGITS * scores.numel())
        counts = torch.bincount(label, minlength=scores.shape[1])
        while float(counts.double().square().sum()) > most:
            threshold *= 3.0
            row, label = _select(rows, scores, log_total, threshold)
            counts = torch.bincount(label, minlength=scores.shape[1])
        row, start = row[torch.argsort(label, stable=True)], counts.cumsum(0) - counts
        order = torch.argsort(counts, descending=True)
        sizes = [size for size in counts[order].tolist() if size]
        order = order[: len(sizes)]
        factor = rows.problem.logit_scale**2 / rows.problem.prior_precision
        padded, present, blocks, widths = [row[:0]], [row[:0] > 0], [], []
        for classes in _of_similar_size(sizes, rows.Z.shape[1] * rows.Z.element_size()):
            some, width = order[classes], sizes[classes.start]
            place = torch.arange(width, device=row.device)
            index = row[(start[some, None] + place).clamp(max=len(row) - 1)]
            products = rows.span.products(index, rows.problem.bias_variance)
            blocks.append(products.mul_(factor[some, None, None]))
            padded.append(index.view(-1))
            present.append((place < counts[some, None]).view(-1))
            widths += [width] * len(some)
        width = torch.tensor(widths, dtype=torch.long, device=row.device)
        return cls(
            rows=torch.cat(padded),
            classes=order.repeat_interleave(width),
            present=torch.cat(present).to(scores.dtype),
            order=order,
            first=width.cumsum(0) - width,
            blocks=blocks,
        )

    def direction(
        self, rows: Rows, scores: Tensor, log_total: Tensor, gradient: Tensor, pulled: Tensor
    ) -> Tensor | None:
        """The Newton step (c, r) from a point with these logits and this gradient.

        `pulled` (n, c) is ``Z (gradient / penalty)'``.
        None where conjugate gradients do not get there: with nearly no prior, K is worse
        conditioned than any number of steps can mend.
        """
        tau = rows.problem.logit_scale
        target = pulled[self.rows, self.classes].mul_(-tau)
        force = self._force(rows, scores, log_total, target)
        if force is None:
            return None
        return self._spread(rows, force).mul_(-tau).sub_(gradient).div_(rows.penalty)

    def _spread(self, rows: Rows, force: Tensor) -> Tensor:
        """(c, r) sums over the pairs of each class of the row times a force (k,)."""
        out, force = torch.zeros_like(rows.penalty), force * self.present
        if not len(self.order):
            return out
        if rows.Z.device.type in ("cpu", "cuda"):
            out[self.order] = functional.embedding_bag(
                self.rows, rows.Z, self.first, mode="sum", per_sample_weights=force
            )
            return out
        # Not every device has that operation.
        dense = force.new_zeros(len(rows.Z), len(out))
        dense.index_put_((self.rows, self.classes), force, accumulate=True)
        return dense.T @ rows.Z

    def _times_K(self, values: Tensor) -> Tensor:
        out, start = torch.empty_like(values), 0
        for block in self.blocks:
            b, m, _ = block.shape
            where = slice(start, start + b * m)
            # From the left, which symmetry allows, this is several times faster.
            out[where] = torch.bmm(values[where].view(b, 1, m), block).view(-1)
            start = where.stop
        return out

    def _force(
        self, rows: Rows, scores: Tensor, log_total: Tensor, target: Tensor
    ) -> Tensor | None:
        """S w (k,) of ``(I + K S) w = target``, by conjugate gradients in the product w' S w.

        None where they do not get there.
        """
        problem = rows.problem
        a = problem.sample_weight[self.rows]
        p = (scores[self.rows, self.classes] - log_total[self.rows]).exp() * self.present
        residual = (problem.y[self.rows] == self.classes).to(p.dtype) * self.present - p
        own = a * _robust(p, residual.abs())
        own, weighted = own + a * p * p, a * p
        total = torch.empty_like(problem.sample_weight)

        def times_S(w: Tensor) -> Tensor:
            total.zero_().index_add_(0, self.rows, p * w)
            return own * w - weighted * total[self.rows]

        w, r = torch.zeros_like(target), target
        Sr = times_S(r)
        q, Sq, Sw = r, Sr, torch.zeros_like(w)
        power = dot(r, Sr)
        for _ in range(_MAX_CG_STEPS):
            if not power > 0:
                return Sw
            image = self._times_K(Sq).add_(q)
            S_image = times_S(image)
            length = power / dot(q, S_image)
            w = torch.add(w, q, alpha=length)
            Sw = torch.add(Sw, Sq, alpha=length)
            r = torch.sub(r, image, alpha=length)
            Sr = torch.sub(Sr, S_image, alpha=length)
            power, old = dot(r, Sr), power
            if power <= _ACCURACY**2 * dot(w, Sw):
                return Sw
            q = torch.add(r, q, alpha=power / old)
            Sq = torch.add(Sr, Sq, alpha=power / old)
        return None


def _select(
    rows: Rows, scores: Tensor, log_total: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Rows and classes (k,) of the pairs that count."""
    problem, found = rows.problem, []
    for where in rows.chunks():
        P = (scores[where] - log_total[where, None]).exp_()
        H = robust_curvature(P, problem.y[where], problem.sample_weight[where])
        row, column = (threshold < H).nonzero(as_tuple=True)
        found.append((row + where.start, column))
    row, column = (torch.cat(part) for part in zip(*found, strict=True))
    return row, column


def _of_similar_size(sizes: list[int], bytes_per_pair: int) -> Iterator[slice]:
    """Runs of descending sizes of which little is padded, and the rows fit the memory."""
    start = 0
    while start < len(sizes):
        most = max(1, _BYTES_OF_ROWS // (sizes[start] * bytes_per_pair))
        end, padded = start + 1, 0
        while end < len(sizes) and end - start < most:
            padded += sizes[start] ** 2 - sizes[end] ** 2
            if padded > _PADDED and 4 * sizes[end] <= 3 * sizes[start]:
                break
            end += 1
        yield slice(start, end)
        start = end
