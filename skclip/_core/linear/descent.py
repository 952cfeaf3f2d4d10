r"""From the prior mean to the optimum: quasi-Newton steps while far, Newton steps when near.

Far from the optimum a Newton step is a poor one, however exactly its linear system is solved: the
curvature changes along it. There limited-memory BFGS, preconditioned by the diagonal of the
Hessian, gains more per product; and there the few principal axes in which rows differ most have
nearly all that is to be gained, so that its products are with these coordinates only. Near the
optimum the steps of :mod:`~skclip._core.linear.doubtful_pairs` gain digits, in all coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from skclip._core.linear.doubtful_pairs import Pairs, robust_curvature
from skclip._core.linear.likelihood import Line, Rows, evaluate
from skclip._core.solve.lbfgs import InverseHessian
from skclip._core.solve.status import dot

__all__ = ["Descent", "descend"]

# Quasi-Newton steps; fewer leave more Newton steps, more gain less than one of these. And the
# principal axes that they take, the bias besides: twice as many cost more, half as many gain less.
_APPROACH, _AXES = 10, 64
# Newton steps after which pairs are chosen anew, and the curvature that counts then, in the end the
# last: confidence grows, so that a lower one leaves no more of them.
_STEPS_PER_CHOICE = 3
_THRESHOLDS = (1e-3, 3e-4, 1e-4)
# Length of a step that is not cut short; and what it leaves at least, because of small curvature
# that is neglected and a system that is solved in part.
_WHOLE = 0.5
_NEGLECTED = 0.3
# Where these do not do, steps by conjugate gradients on the whole Hessian may.
_MAX_STEPS = 30


@dataclass(frozen=True)
class Descent:
    """Where it ended: the point, value and gradient there, iterations, and what is left.

    `left` is about how far the value is above its optimum, in nats, by :func:`_left`; infinite
    where the last step was not solved for: then nothing is known.
    """

    point: Tensor
    objective: float
    gradient: Tensor
    n_iter: int
    left: float


@dataclass
class _State:
    """A point with its logits (n, c), value, gradient and the rows' log-normalisers (n,).

    `moved` is memory for other logits: new memory of that size is slow to come by.
    """

    rows: Rows
    scores: Tensor
    moved: Tensor
    point: Tensor
    value: float
    gradient: Tensor
    log_total: Tensor
    n_iter: int = 0

    @classmethod
    def at_prior_mean(cls, rows: Rows, scores: Tensor) -> _State:
        point = torch.zeros_like(rows.penalty)
        return cls(rows, scores, torch.empty_like(scores), point, *evaluate(rows, scores, point))

    def take_all_axes(self, rows: Rows) -> None:
        """Go on in the coordinates of `rows`, of which those so far are the last."""
        more = rows.Z.shape[1] - self.rows.Z.shape[1]
        self.rows = rows
        if more:
            self.point = functional.pad(self.point, (more, 0))
            self.value, self.gradient, self.log_total = evaluate(rows, self.scores, self.point)

    def newton_direction(self, pairs: Pairs) -> Tensor | None:
        """From the pairs in doubt; None where it is not found."""
        torch.mm(self.rows.Z, (self.gradient / self.rows.penalty).T, out=self.moved)
        return pairs.direction(self.rows, self.scores, self.log_total, self.gradient, self.moved)

    def step(self, direction: Tensor, slope: float) -> float:
        """Go along a direction as far as is good; the length, 0 where nothing decreases."""
        torch.mm(self.rows.Z, direction.T, out=self.moved)
        self.moved.mul_(self.rows.problem.logit_scale)
        line = Line.of(self.rows, self.scores, self.moved, self.point, direction)
        length = line.search(self.value, slope)
        if length > 0.0:
            self.scores.add_(self.moved, alpha=length)
            self.point = torch.add(self.point, direction, alpha=length)
            self.value, self.gradient, self.log_total = evaluate(self.rows, self.scores, self.point)
            self.n_iter += 1
        return length


def descend(
    rows: Rows,
    scores: Tensor,
    *,
    enough: float,
    tightness: float,
    max_iter: int,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Descent:
    """From the prior mean until at most `enough` is left, or a step does not decrease.

    Parameters
    ----------
    scores : Tensor of shape (n, c)
        Logits at the prior mean; those of the result afterwards.
    enough : float
        In nats, of the sum over rows.
    tightness : float
        Share, at most 1, of the curvature that counts under a usual prior that does under this.
    callback : callable, optional
        Gets (iteration, value, gradient), the latter in the coordinates that the step took.
    """
    state = _State.at_prior_mean(rows.in_last_axes(_AXES), scores)

    def report() -> None:
        if callback is not None:
            callback(state.n_iter, state.value, state.gradient)

    _approach(state, enough, min(_APPROACH, max_iter), report)
    state.take_all_axes(rows)
    left = _finish(state, enough, tightness, max_iter, report)
    return Descent(state.point, state.value, state.gradient, state.n_iter, left)


def _approach(state: _State, enough: float, max_iter: int, report: Callable[[], None]) -> None:
    """Limited-memory BFGS, until there is little left to gain."""
    inverse_hessian = InverseHessian(_curvature(state).reciprocal_())
    for _ in range(max_iter):
        direction = inverse_hessian.times(state.gradient).neg_()
        slope = dot(direction, state.gradient)
        before = state.gradient
        if -0.5 * slope <= enough or not (length := state.step(direction, slope)):
            return
        inverse_hessian.remember(direction.mul_(length), state.gradient - before)
        report()


def _curvature(state: _State) -> Tensor:
    """(c, r) diagonal of the Hessian."""
    rows, problem = state.rows, state.rows.problem
    diagonal = rows.penalty.clone()
    for where in rows.chunks():
        P = (state.scores[where] - state.log_total[where, None]).exp_()
        H = robust_curvature(P, problem.y[where], problem.sample_weight[where])
        diagonal.addmm_(H.T, rows.Z[where].square(), alpha=problem.logit_scale**2)
    return diagonal


def _finish(
    state: _State, enough: float, tightness: float, max_iter: int, report: Callable[[], None]
) -> float:
    """Newton's method; what is left after it."""
    left = before = math.inf
    for iteration in range(min(_MAX_STEPS, max_iter - state.n_iter)):
        if iteration % _STEPS_PER_CHOICE == 0:
            threshold = _THRESHOLDS[min(iteration // _STEPS_PER_CHOICE, len(_THRESHOLDS) - 1)]
            pairs = Pairs.of(state.rows, state.scores, state.log_total, tightness * threshold)
        direction = state.newton_direction(pairs)
        if direction is None:
            return math.inf
        slope = dot(direction, state.gradient)
        decrement = -0.5 * slope if slope < 0 else math.inf
        if not (length := state.step(direction, slope)):
            return decrement
        report()
        left = _left(decrement, before, length)
        if left <= enough:
            break
        before = decrement
    return left


def _left(decrement: float, before: float, length: float) -> float:
    """About how far the value is above its optimum after a Newton step of this length, in nats.

    Half the Newton decrement is how far it was before the step, but for the pairs that are not
    in doubt. Near the optimum a step takes a larger share of that than the step before did; far
    from it, or where the step was cut, nothing is sure to be gone but what the line search saw.
    """
    if before == math.inf or length < _WHOLE:
        return decrement
    return decrement * min(1.0, max(decrement / before, _NEGLECTED))
