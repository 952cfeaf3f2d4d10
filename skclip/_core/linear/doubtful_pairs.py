r"""Newton's method whose linear system is solved for the pairs of a row and a class in doubt.

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
is done three times in an iteration: the gradient, the step, and the logits of the step, along
which the line search costs nothing.

A row that is surely wrong has a gradient and no curvature, and would go too far: its curvature
counts as at least a share of its residual, which at an optimum is less than the curvature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skclip._core.problem import Problem
from skclip._core.solve.status import dot

__all__ = ["Descent", "Rows", "descend"]

# Iterations at which the pairs are chosen (beside every third), and the curvature that counts from
# there: confidence grows, so that a lower one leaves no more of them.
_THRESHOLDS = {0: 1e-2, 1: 1e-3, 3: 1e-3, 6: 3e-4, 9: 1e-4}
_RESIDUAL_SHARE = 0.1
# Accuracy of the step, as a share of its own size in the logits.
_ACCURACY = 0.1
_MAX_CG_STEPS = 200
_MAX_TRIALS = 30
# Share of the slope that may be left.
_FLAT = 0.3
_ARMIJO = 1e-4
# Of the blocks of K, of the rows gathered for some of them, and of what stays in a cache.
_BYTES_OF_BLOCKS = 2**28
_BYTES_OF_ROWS = 2**24
_NUMBERS_PER_CHUNK = 2**18


@dataclass(frozen=True)
class Rows:
    """What the likelihood and the prior need, in coordinates D (c, r).

    Z (n, r); weighted (n, r), Z times the weights; labelled (c, r), the sums of it by class;
    penalty (c, r), the prior's precisions, equal over classes but for a factor, all positive.
    """

    problem: Problem
    Z: Tensor
    weighted: Tensor
    labelled: Tensor
    penalty: Tensor

    def chunks(self) -> Iterator[slice]:
        """Of rows, so that rows times classes stay in the processor's cache."""
        n, c = len(self.Z), self.problem.n_classes
        step = min(max(_NUMBERS_PER_CHUNK // c, 64), 1024)
        for first in range(0, n, step):
            yield slice(first, first + step)


@dataclass(frozen=True)
class Descent:
    """Where it ended: the point, value and gradient there, iterations, and the last promise.

    `decrement` is half the Newton decrement, in nats, before the last step: about how far the value
    was above its optimum then, and more than it is after it. It is infinite where the step was not
    solved for, or does not decrease the value: then nothing is promised.
    """

    point: Tensor
    objective: float
    gradient: Tensor
    n_iter: int
    decrement: float


def descend(
    rows: Rows,
    scores: Tensor,
    *,
    enough: float,
    max_iter: int,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Descent:
    """From the prior mean until a step promises at most `enough`, or does not decrease.

    Parameters
    ----------
    scores : Tensor of shape (n, c)
        Logits at the prior mean; those of the result afterwards.
    enough : float
        In nats, of the sum over rows.
    callback : callable, optional
        Gets (iteration, value, gradient).
    """
    tau = rows.problem.logit_scale
    point = torch.zeros_like(rows.penalty)
    value, gradient, log_total = _evaluate(rows, scores, point)
    moved = torch.empty_like(scores)
    iteration, decrement, threshold = 0, math.inf, 0.0
    pairs: _Pairs | None = None
    while iteration < max_iter and decrement > enough:
        threshold = _THRESHOLDS.get(iteration, threshold)
        if pairs is None or iteration in _THRESHOLDS or iteration % 3 == 0:
            pairs = _Pairs.of(rows, scores, log_total, threshold)
        torch.mm(rows.Z, (gradient / rows.penalty).T, out=moved).mul_(-tau)
        force = pairs.force(rows, scores, log_total, moved[pairs.rows, pairs.classes])
        if force is None:
            decrement = math.inf
            break
        moved.zero_()
        moved.view(-1).index_add_(0, pairs.rows * moved.shape[1] + pairs.classes, force)
        direction = (moved.T @ rows.Z).mul_(-tau).sub_(gradient).div_(rows.penalty)
        torch.mm(rows.Z, direction.T, out=moved).mul_(tau)
        slope = dot(direction, gradient)
        decrement = -0.5 * slope if slope < 0 else math.inf
        step = _Line.of(rows, scores, moved, point, direction).search(value, slope)
        if step == 0.0:
            break
        scores.add_(moved, alpha=step)
        point = torch.add(point, direction, alpha=step)
        value, gradient, log_total = _evaluate(rows, scores, point)
        iteration += 1
        if callback is not None:
            callback(iteration, value, gradient)
    return Descent(point, value, gradient, iteration, decrement)


def _evaluate(rows: Rows, scores: Tensor, point: Tensor) -> tuple[float, Tensor, Tensor]:
    """Value, gradient (c, r), and log-normalisers (n,) of the rows."""
    problem, tau = rows.problem, rows.problem.logit_scale
    log_total = torch.empty_like(problem.sample_weight)
    gradient = rows.penalty * point
    value = 0.5 * float((gradient * point).double().sum())
    gradient.sub_(rows.labelled, alpha=tau)
    for where in rows.chunks():
        P, log_total[where] = _softmax(scores[where])
        gradient.addmm_(P.T, rows.weighted[where], alpha=tau)
    loss = log_total - scores.gather(1, problem.y[:, None]).squeeze(1)
    return (
        value + float(torch.dot(loss.double(), problem.sample_weight.double())),
        gradient,
        log_total,
    )


def _softmax(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of logits (n, c), those below e^-60 raised to it, and log-normalisers (n,)."""
    top = scores.amax(dim=1, keepdim=True)
    # Denormal numbers are slow to multiply.
    P = (scores - top).clamp_(min=-60.0).exp_()
    total = P.sum(dim=1, keepdim=True)
    P.div_(total)
    return P, (total.log_() + top).squeeze(1)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a row and a class, in blocks of classes of similar size, padded with idle pairs.

    rows, classes and present (0 or 1), all (k,); blocks[i] (b, m, m) is K of the pairs at
    where[i], in the order of classes.
    """

    rows: Tensor
    classes: Tensor
    present: Tensor
    where: list[slice]
    blocks: list[Tensor]

    @classmethod
    def of(cls, rows: Rows, scores: Tensor, log_total: Tensor, threshold: float) -> _Pairs:
        """Those with a curvature above the threshold, or above one that fits the memory."""
        row, label = _select(rows, scores, log_total, threshold)
        most = _BYTES_OF_BLOCKS // scores.element_size()
        counts = torch.bincount(label, minlength=scores.shape[1])
        while float(counts.double().square().sum()) > most:
            threshold *= 3.0
            row, label = _select(rows, scores, log_total, threshold)
            counts = torch.bincount(label, minlength=scores.shape[1])
        order = torch.argsort(label, stable=True)
        row, first = row[order], counts.cumsum(0) - counts
        by_size = torch.argsort(counts, descending=True)
        sizes = counts[by_size].tolist()
        where: list[slice] = []
        parts, blocks, start = [], [], 0
        scaled = rows.Z * (rows.penalty[0, 0] / rows.penalty[0]).sqrt()
        factor = rows.problem.logit_scale**2 / rows.penalty[:, 0]
        while start < len(sizes) and sizes[start]:
            m = sizes[start]
            most_classes = max(1, _BYTES_OF_ROWS // (m * scaled.shape[1] * scaled.element_size()))
            end = start + 1
            while end < len(sizes) and end - start < most_classes and 4 * sizes[end] > 3 * m:
                end += 1
            classes = by_size[start:end]
            place = torch.arange(m, device=row.device)
            present = place < counts[classes, None]
            index = row[(first[classes, None] + place).clamp(max=len(row) - 1)]
            part = scaled[index]
            blocks.append(torch.bmm(part, part.mT).mul_(factor[classes, None, None]))
            parts.append((index, classes[:, None].expand(-1, m), present))
            before = where[-1].stop if where else 0
            where.append(slice(before, before + index.numel()))
            start = end
        flat = [torch.cat([row[:0], *(part[i].reshape(-1) for part in parts)]) for i in range(3)]
        return cls(flat[0], flat[1], flat[2].to(scores.dtype), where, blocks)

    def times_K(self, values: Tensor) -> Tensor:
        out = torch.empty_like(values)
        for where, block in zip(self.where, self.blocks, strict=True):
            b, m, _ = block.shape
            # From the left, which symmetry allows, this is several times faster.
            out[where] = torch.bmm(values[where].view(b, 1, m), block).view(-1)
        return out

    def force(self, rows: Rows, scores: Tensor, log_total: Tensor, target: Tensor) -> Tensor | None:
        """S w (k,) of ``(I + K S) w = target``, by conjugate gradients in the product w' S w.

        None where they do not get there: with nearly no prior, K is worse conditioned than any
        number of steps can mend.
        """
        problem = rows.problem
        a = problem.sample_weight[self.rows]
        p = (scores[self.rows, self.classes] - log_total[self.rows]).exp() * self.present
        residual = (problem.y[self.rows] == self.classes).to(p.dtype) * self.present - p
        own = a * torch.maximum(p - p * p, _RESIDUAL_SHARE * residual.abs())
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
            image = self.times_K(Sq).add_(q)
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
    found = []
    for where in rows.chunks():
        P = (scores[where] - log_total[where, None]).exp_()
        H = (P - P * P).mul_(rows.problem.sample_weight[where, None])
        label = rows.problem.y[where, None]
        own = _RESIDUAL_SHARE * rows.problem.sample_weight[where, None] * (1.0 - P.gather(1, label))
        wrong = _RESIDUAL_SHARE * rows.problem.sample_weight[where, None] * P
        H = torch.maximum(H, wrong)
        H.scatter_(1, label, torch.maximum(H.gather(1, label), own))
        row, column = (threshold < H).nonzero(as_tuple=True)
        found.append((row + where.start, column))
    row, column = (torch.cat(part) for part in zip(*found, strict=True))
    return row, column


@dataclass(frozen=True)
class _Line:
    """The objective along a direction, whose logits are known.

    The prior's part is ``(square + 2 t cross + t^2 curvature) / 2``.
    """

    rows: Rows
    scores: Tensor
    moved: Tensor
    square: float
    cross: float
    curvature: float

    @classmethod
    def of(
        cls, rows: Rows, scores: Tensor, moved: Tensor, point: Tensor, direction: Tensor
    ) -> _Line:
        pull = rows.penalty * direction
        return cls(
            rows,
            scores,
            moved,
            float((rows.penalty * point * point).double().sum()),
            float((pull * point).double().sum()),
            float((pull * direction).double().sum()),
        )

    def at(self, t: float) -> tuple[float, float]:
        """Value and slope."""
        problem = self.rows.problem
        value = 0.5 * (self.square + 2 * t * self.cross + t * t * self.curvature)
        slope = self.cross + t * self.curvature
        y = problem.y[:, None]
        for where in self.rows.chunks():
            moved, a = self.moved[where], problem.sample_weight[where]
            z = torch.add(self.scores[where], moved, alpha=t)
            own = z.gather(1, y[where]).squeeze(1)
            P, log_total = _softmax(z)
            gain = torch.linalg.vecdot(P, moved) - moved.gather(1, y[where]).squeeze(1)
            value += float(torch.dot((log_total - own).double(), a.double()))
            slope += float(torch.dot(gain, a))
        return value, slope

    def search(self, value: float, slope: float) -> float:
        """A step where the slope is mostly gone; 0 where none decreases the value."""
        if not slope < 0:
            return 0.0
        slack = 10 * torch.finfo(self.scores.dtype).eps * abs(value)
        low, low_slope, high, high_slope, t = 0.0, slope, math.inf, math.inf, 1.0
        best, best_value = 0.0, value + slack
        for _ in range(_MAX_TRIALS):
            new_value, new_slope = self.at(t)
            if new_value <= min(value + _ARMIJO * t * slope + slack, best_value):
                best, best_value = t, new_value
            if best == t and abs(new_slope) <= _FLAT * abs(slope):
                break
            # False position; an end that stays counts for half (the Illinois rule).
            if new_slope < 0:
                low, low_slope, high_slope = t, new_slope, 0.5 * high_slope
            else:
                high, high_slope, low_slope = t, new_slope, 0.5 * low_slope
            if high == math.inf:
                t *= 3.0 if new_slope < 0.5 * slope else 1.5
            else:
                t = (low * high_slope - high * low_slope) / (high_slope - low_slope)
        return best
