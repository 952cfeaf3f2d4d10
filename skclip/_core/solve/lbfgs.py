"""Preconditioned L-BFGS with an optimality certificate.

Limited-memory BFGS (Liu and Nocedal, "On the limited memory BFGS method for large scale
optimization", Mathematical Programming 1989) whose initial inverse Hessian is a given
diagonal, scaled by the latest step, instead of a multiple of the identity.

The stopping test is the caller's: a function of the gradient, so that the certificate is
stated in units that mean something to a user.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from skclip._core.solve.status import Minimum, Status, dot

__all__ = ["InverseHessian", "minimize"]

_ARMIJO = 1e-4
_MEMORY = 20
_MAX_HALVINGS = 30


class InverseHessian:
    """The inverse of a Hessian, from a diagonal (positive) and the latest steps.

    diagonal has the shape of the point; it is scaled by what the latest step tells of it.
    """

    def __init__(self, diagonal: Tensor) -> None:
        self.diagonal = diagonal
        self._steps: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=_MEMORY)

    def __bool__(self) -> bool:
        """Whether it knows any step."""
        return bool(self._steps)

    def forget(self) -> None:
        """Back to the diagonal."""
        self._steps.clear()

    def remember(self, move: Tensor, change: Tensor) -> None:
        """Keep a step and the change of the gradient, if they show positive curvature."""
        curvature = dot(move, change)
        eps = torch.finfo(move.dtype).eps
        if curvature > eps * float(move.norm()) * float(change.norm()):
            self._steps.append((move, change, 1.0 / curvature))

    def times(self, gradient: Tensor) -> Tensor:
        """Two-loop recursion, with the scaled diagonal in the middle."""
        direction = gradient.clone()
        weights = []
        for move, change, rho in reversed(self._steps):
            weight = rho * dot(move, direction)
            direction.sub_(change, alpha=weight)
            weights.append(weight)
        direction.mul_(self.diagonal)
        if self._steps:
            # The latest step tells how far off the diagonal is as a whole.
            _, change, rho = self._steps[-1]
            direction.div_(rho * dot(change, self.diagonal * change))
        for (move, change, rho), weight in zip(self._steps, reversed(weights), strict=True):
            direction.add_(move, alpha=weight - rho * dot(change, direction))
        return direction


def minimize(
    value_and_gradient: Callable[[Tensor], tuple[float, Tensor]],
    start: Tensor,
    inverse_curvature: Tensor,
    certificate: Callable[[Tensor], float],
    *,
    tol: float,
    max_iter: int,
    sufficient: Callable[[Tensor], float] | None = None,
    callback: Callable[[int, float, float], None] | None = None,
) -> Minimum:
    """Minimise a smooth convex function.

    Parameters
    ----------
    value_and_gradient : callable
        Point -> (value, gradient of the point's shape).
    start, inverse_curvature : Tensor of one shape
        The first point; the diagonal of the initial inverse Hessian, positive.
    certificate : callable
        Gradient -> non-negative number; the solver stops when it is at most `tol`.
    sufficient : callable, optional
        Point -> norm of the gradient that is small enough to stop all the same.
    callback : callable, optional
        Called with (iteration, value, certificate) after every iteration.
    """
    point = start
    value, gradient = value_and_gradient(point)
    measure = certificate(gradient)
    inverse_hessian = InverseHessian(inverse_curvature)
    slack = 10 * torch.finfo(start.dtype).eps
    restarted_at = math.inf
    for iteration in range(max_iter):
        if measure <= tol:
            return Minimum(point, value, measure, iteration, Status.CONVERGED)
        if sufficient is not None and float(gradient.norm()) <= sufficient(point):
            return Minimum(point, value, measure, iteration, Status.STOPPED)
        direction = inverse_hessian.times(gradient).neg_()
        slope = dot(direction, gradient)
        step = _line_search(value_and_gradient, point, value, direction, slope, slack)
        if step is None:
            # A stale model of the curvature is started again, once per real decrease.
            if not inverse_hessian or value >= restarted_at - slack * abs(value):
                return Minimum(point, value, measure, iteration, Status.PRECISION)
            restarted_at = value
            inverse_hessian.forget()
            continue
        new_point, new_value, new_gradient = step
        inverse_hessian.remember(new_point - point, new_gradient - gradient)
        point, value, gradient = new_point, new_value, new_gradient
        measure = certificate(gradient)
        if callback is not None:
            callback(iteration + 1, value, measure)
    status = Status.CONVERGED if measure <= tol else Status.MAX_ITER
    return Minimum(point, value, measure, max_iter, status)


def _line_search(
    value_and_gradient: Callable[[Tensor], tuple[float, Tensor]],
    point: Tensor,
    value: float,
    direction: Tensor,
    slope: float,
    slack: float,
) -> tuple[Tensor, float, Tensor] | None:
    """Backtrack from a unit step until the value has decreased enough.

    `slack` is the relative rounding error of the value: within it a step is also
    accepted when the slope has flattened, which a convex function allows (the
    approximate Wolfe condition of Hager and Zhang, SIAM J. Optim. 2005).
    """
    if not slope < 0:
        return None
    step = 1.0
    for _ in range(_MAX_HALVINGS):
        new_point = point + step * direction
        new_value, new_gradient = value_and_gradient(new_point)
        new_slope = dot(direction, new_gradient)
        decreased = new_value <= value + _ARMIJO * step * slope
        flat = new_value <= value + slack * abs(value) and abs(new_slope) <= 0.9 * abs(slope)
        if decreased or flat:
            return new_point, new_value, new_gradient
        # Minimiser of the parabola through both slopes, kept within reason.
        shrink = slope / (slope - new_slope) if new_slope > slope else 0.5
        step *= min(max(shrink, 0.1), 0.5)
    return None
