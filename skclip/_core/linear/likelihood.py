"""What the likelihood of the linear form and its prior need of the rows, in coordinates.

The logits of the rows are kept beside the point: along a direction they move by one product, and a
line search costs no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.span import Span

__all__ = ["Line", "Rows", "evaluate"]

# Rows times classes of them stay in a cache.
_NUMBERS_PER_CHUNK = 2**18
_MAX_TRIALS = 30
# Share of the slope that may be left.
_FLAT = 0.3
_ARMIJO = 1e-4


@dataclass(frozen=True)
class Rows:
    """What the likelihood and the prior need, in coordinates D (c, r).

    Z (n, r), those of the span and a column of ones where there is a bias; weighted (n, r), Z times
    the weights; labelled (c, r), the sums of it by class; penalty (c, r), the prior's precisions,
    equal over classes but for a factor, all positive. Energies of the coordinates ascend.
    """

    problem: LinearProblem
    span: Span
    Z: Tensor
    weighted: Tensor
    labelled: Tensor
    penalty: Tensor

    def in_last_axes(self, most: int) -> Rows:
        """With at most so many coordinates, those in which rows differ most, and the bias."""
        size = min(most + self.problem.has_bias, self.Z.shape[1])
        if size == self.Z.shape[1]:
            return self
        parts = (self.Z, self.weighted, self.labelled, self.penalty)
        return Rows(self.problem, self.span, *(part[:, -size:].contiguous() for part in parts))

    def chunks(self) -> Iterator[slice]:
        """Of rows, so that rows times classes stay in the processor's cache."""
        n, c = len(self.Z), self.problem.n_classes
        step = min(max(_NUMBERS_PER_CHUNK // c, 64), 1024)
        for first in range(0, n, step):
            yield slice(first, first + step)


def evaluate(rows: Rows, scores: Tensor, point: Tensor) -> tuple[float, Tensor, Tensor]:
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
class Line:
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
    ) -> Line:
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
