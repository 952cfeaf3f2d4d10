"""Newton's method with steps by preconditioned conjugate gradients.

Truncated Newton (Nocedal and Wright, "Numerical optimization", 2nd edition, Springer 2006,
algorithm 7.1) for smooth, strictly convex functions: the linear system of each step is
solved only as accurately as the distance to the optimum deserves, which keeps the
superlinear convergence and lets a warm start pay off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from skclip._core.solve.status import Minimum, Status, dot

__all__ = ["SecondOrder", "minimize"]

_ARMIJO = 1e-4
# Rounding of the value, in units of its precision: what sums of a few numbers have, and what sums
# of many may, where a gradient that is half as long tells that the step was good.
_ROUNDING = 10
_MUCH_ROUNDING = 1000
_MAX_HALVINGS = 30
_MAX_CG_STEPS = 250
# Steps in a row that change neither value nor certificate beyond rounding.
_MAX_STALLED = 2


class SecondOrder(Protocol):
    """A function with its derivatives; tensors have the shape of the point."""

    def value_and_gradient(self, point: Tensor) -> tuple[float, Tensor]:
        """Value, and gradient in a tensor of its own."""

    def hessian(self, point: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Product with the Hessian at the point, and the diagonal of the Hessian."""

    def certificate(self, gradient: Tensor) -> float:
        """Non-negative measure of the gradient that `tol` is compared with."""


def minimize(
    function: SecondOrder,
    start: Tensor,
    *,
    tol: float,
    max_iter: int,
    sufficient: Callable[[Tensor], float] | None = None,
    callback: Callable[[int, float, float], None] | None = None,
) -> Minimum:
    """Minimise to ``certificate <= tol``.

    `sufficient`, if given, says which norm of the gradient at a point is small enough to
    stop all the same; `callback` gets (iteration, value, certificate).
    """
    point = start
    value, gradient = function.value_and_gradient(point)
    measure = first = function.certificate(gradient)
    slack = _ROUNDING * torch.finfo(start.dtype).eps
    stalled = 0
    for iteration in range(max_iter):
        if measure <= tol:
            return Minimum(point, value, measure, iteration, Status.CONVERGED)
        if sufficient is not None and float(gradient.norm()) <= sufficient(point):
            return Minimum(point, value, measure, iteration, Status.STOPPED)
        product, diagonal = function.hessian(point)
        accuracy = min(0.25, (measure / first) ** 0.5)
        direction = conjugate_gradients(product, -gradient, diagonal, accuracy)
        step = _line_search(function, point, value, direction, dot(direction, gradient), measure)
        if step is None:
            return Minimum(point, value, measure, iteration, Status.PRECISION)
        previous_value, previous_measure = value, measure
        point, value, gradient = step
        measure = function.certificate(gradient)
        if callback is not None:
            callback(iteration + 1, value, measure)
        no_lower = value >= previous_value - slack * abs(previous_value)
        stalled = stalled + 1 if no_lower and measure > 0.5 * previous_measure else 0
        if stalled == _MAX_STALLED and measure > tol:
            return Minimum(point, value, measure, iteration + 1, Status.PRECISION)
    status = Status.CONVERGED if measure <= tol else Status.MAX_ITER
    return Minimum(point, value, measure, max_iter, status)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], target: Tensor, diagonal: Tensor, accuracy: float
) -> Tensor:
    """Approximate solution of ``product(d) = target``, preconditioned by the diagonal.

    Stops when the residual is `accuracy` times the target's norm.
    """
    solution = torch.zeros_like(target)
    residual = target.clone()
    goal = accuracy * float(target.norm())
    scaled = residual / diagonal
    direction = scaled
    power = dot(residual, scaled)
    for _ in range(_MAX_CG_STEPS):
        image = product(direction)
        curvature = dot(direction, image)
        if not curvature > 0:  # rounding: the function is strictly convex
            break
        length = power / curvature
        solution.add_(direction, alpha=length)
        residual.sub_(image, alpha=length)
        if float(residual.norm()) <= goal:
            break
        scaled = residual / diagonal
        power, old = dot(residual, scaled), power
        direction = torch.add(scaled, direction, alpha=power / old)
    return solution


def _line_search(
    function: SecondOrder,
    point: Tensor,
    value: float,
    direction: Tensor,
    slope: float,
    measure: float,
) -> tuple[Tensor, float, Tensor] | None:
    """Halve a unit step until the value has decreased enough, up to its rounding error."""
    if not slope < 0:
        return None
    rounding = torch.finfo(point.dtype).eps * abs(value)
    step = 1.0
    for _ in range(_MAX_HALVINGS):
        new_point = torch.add(point, direction, alpha=step)
        new_value, new_gradient = function.value_and_gradient(new_point)
        if new_value <= value + _ARMIJO * step * slope + _ROUNDING * rounding:
            return new_point, new_value, new_gradient
        shorter = function.certificate(new_gradient) <= 0.5 * measure
        if shorter and new_value <= value + _MUCH_ROUNDING * rounding:
            return new_point, new_value, new_gradient
        step *= 0.5
    return None
