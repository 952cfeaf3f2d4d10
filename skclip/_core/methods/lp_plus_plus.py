r"""Class-wise blending of a linear probe with the text, as in LP++.

Logits are :math:`x^\top w_c + b_c + \alpha_c x^\top t_c` with weights, bias and multiplier of
each class (Huang et al., "LP++: a surprisingly strong linear probe for few-shot CLIP",
CVPR 2024). They are linear in (W, b, alpha), so that cross-entropy is jointly convex. Two
solvers: :func:`descend` goes down the mean cross-entropy on quadratic majorisers, block
by block, and stops early; :func:`solve_blend` finds the optimum of

.. math::
    -\sum_n a_n \log \mathrm{softmax}_{y_n}(z_n)
    + \tfrac12 \sum_c \left( \lambda \|v_c\|^2 + \lambda \theta_c^2 + \rho\, \delta_c^2 \right),
    \qquad z_{nc} = \tau \left( x_n^\top v_c + \theta_c + (1 + \delta_c) x_n^\top t_c \right)

where the probe is :math:`w_c = \tau v_c`, the bias :math:`\tau \theta_c` and the multiplier
:math:`\alpha_c = \tau (1 + \delta_c)`. The penalty is a Gaussian prior around zero-shot
classification. Without one there is no optimum where classes can be separated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skclip._core.linear.objective import softmax_in_place
from skclip._core.linear.span import with_bias_column
from skclip._core.methods.chunks import row_chunks
from skclip._core.problem import Problem, weight_of_certificate
from skclip._core.solve import lbfgs, newton
from skclip._core.solve.status import Status

__all__ = ["Blend", "descend", "solve_blend", "start", "step_sizes"]

# The published multiplier starts at this times the mean cosine of an image and its own text.
_START_FACTOR = 250.0
# The published code updates the multipliers in every tenth iteration.
_ALPHA_EVERY = 10


@dataclass(frozen=True)
class Blend:
    """W (c, d), b (c,) and alpha (c,) of the logits ``X W' + b + alpha (X T')``.

    `losses` are the mean cross-entropies before every iteration of the descent, and after
    the last one; `gradient_norm` and `status` are the exact solver's.
    """

    W: Tensor
    b: Tensor
    alpha: Tensor
    n_iter: int
    losses: tuple[float, ...] = ()
    gradient_norm: float = math.nan
    status: Status | None = None


def step_sizes(problem: Problem) -> tuple[float, float]:
    """Steps of (W, b) and of alpha that never raise the mean cross-entropy.

    The Hessian of a row's loss in its logits is at most 1/2. So that of the mean loss in (W, b)
    is at most ``L = lambda_max(Z'Z) / (2 n)``, the rows of Z being those of X with a one
    appended, and in alpha at most ``L = max_c sum_i s_ic^2 / (2 n)`` with ``s = X T'``; a
    step up to 2 / L does not raise the loss. The steps are 2 / L for (W, b), as published
    but for the one, and 1 / (8 L) for alpha, as published.
    """
    a, T = problem.sample_weight.double(), problem.prior_mean.double()
    Z = with_bias_column(problem.X).double()
    Z = a.sqrt()[:, None] * Z
    gram = Z.T @ Z if len(Z) >= Z.shape[1] else Z @ Z.T
    energy = torch.linalg.eigvalsh(gram)[-1]
    rows = Z[:, :-1]
    largest = ((T @ (rows.T @ rows)) * T).sum(dim=1).max()
    return float(4.0 * a.sum() / energy), float(a.sum() / (4.0 * largest))


def start(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """W, b and alpha where the published code starts, but for its random bias, here zero.

    The weights are sums of the rows of each class; every multiplier is 250 times the mean,
    over classes, of the mean cosine of a class's images with its text.
    """
    a, y, T = problem.sample_weight, problem.y, problem.prior_mean
    W = torch.zeros_like(T).index_add_(0, y, a[:, None] * problem.X)
    own = (problem.X * T[y]).sum(dim=1)
    total = a.new_zeros(len(T)).index_add_(0, y, a)
    sums = a.new_zeros(len(T)).index_add_(0, y, a * own)
    seen = total > 0
    alpha = _START_FACTOR * (sums[seen] / total[seen]).mean()
    return W, W.new_zeros(len(T)), alpha.expand(len(T)).clone()


def descend(
    problem: Problem,
    n_iter: int,
    *,
    callback: Callable[[int, float], None] | None = None,
) -> Blend:
    """Block-coordinate majorise-minimise descent of the mean cross-entropy.

    Every iteration is a gradient step of (W, b); in every tenth one of alpha follows, from the
    new weights. `callback` is called with (iteration, loss before it).
    """
    rate, rate_alpha = step_sizes(problem)
    W, b, alpha = start(problem)
    share = problem.sample_weight / problem.sample_weight.sum()
    T = problem.prior_mean
    losses = []
    for iteration in range(n_iter):
        loss, slope, slope_of_bias = _loss_and_slopes(problem, share, W + alpha[:, None] * T, b)
        losses.append(loss)
        W = W - rate * slope
        b = b - rate * slope_of_bias
        if (iteration + 1) % _ALPHA_EVERY == 0:
            slope = _loss_and_slopes(problem, share, W + alpha[:, None] * T, b)[1]
            alpha = alpha - rate_alpha * (slope * T).sum(dim=1)
        if callback is not None:
            callback(iteration, loss)
    losses.append(_loss_and_slopes(problem, share, W + alpha[:, None] * T, b)[0])
    return Blend(W, b, alpha, n_iter, tuple(losses))


def _loss_and_slopes(
    problem: Problem, weight: Tensor, W: Tensor, b: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Sum of the weighted losses of logits ``X W' + b``, and its slopes in W (c, d) and b (c,).

    The slope in the multipliers is that in W times the text, summed over features, so that
    cosines of rows and text, an array (n, c), are never needed.
    """
    value, slope, slope_of_bias = 0.0, torch.zeros_like(W), torch.zeros_like(b)
    for where in row_chunks(len(problem.X), problem.n_classes):
        X, y, a = problem.X[where], problem.y[where], weight[where]
        scores = torch.addmm(b, X, W.T)
        loss = softmax_in_place(scores, y)
        value += float(torch.dot(loss.double(), a.double()))
        scores[torch.arange(len(y), device=y.device), y] -= 1.0
        scores.mul_(a[:, None])
        slope.addmm_(scores.T, X)
        slope_of_bias += scores.sum(dim=0)
    return value, slope, slope_of_bias


def solve_blend(
    problem: Problem,
    prior_precision: float,
    multiplier_precision: float,
    *,
    tol: float,
    max_iter: int,
    solver: Literal["lbfgs", "newton-cg"] = "lbfgs",
) -> Blend:
    """Optimum under the prior, to ``gradient_norm <= tol``.

    The certificate is the largest class-wise norm of the gradient in the scaled parameters
    ``tau (v, theta, delta)``, over the sum of the sample weights.
    """
    objective = _Objective(problem, prior_precision, multiplier_precision)
    tau = problem.logit_scale
    origin = torch.zeros_like(objective.penalty)
    if solver == "newton-cg":
        result = newton.minimize(objective, origin, tol=tol, max_iter=max_iter)
    else:
        result = lbfgs.minimize(
            objective.value_and_gradient,
            origin,
            1.0 / objective.diagonal(origin),
            objective.certificate,
            tol=tol,
            max_iter=max_iter,
        )
    v, theta, delta = objective.parts(result.point)
    return Blend(
        W=tau * v @ objective.axes.T,
        b=tau * theta,
        alpha=tau * (1.0 + delta),
        n_iter=result.n_iter,
        gradient_norm=result.gradient_norm,
        status=result.status,
    )


class _Objective:
    """The penalised loss at points (c, r + 2) of columns v, theta and delta.

    v is in an orthonormal basis, `axes` (d, r), of the span of the rows: along the other
    directions it is zero at the optimum. Along principal axes the curvature is nearly diagonal.
    """

    def __init__(self, problem: Problem, lam: float, rho: float) -> None:
        self.problem, self.tau = problem, problem.logit_scale
        a = problem.sample_weight
        self.axes = _principal_axes(a.sqrt()[:, None] * problem.X)
        self.certificate_weight = weight_of_certificate(a, problem.X)
        self.penalty = a.new_full((len(problem.prior_mean), self.axes.shape[1] + 2), lam)
        self.penalty[:, -1] = rho

    def parts(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return point[:, :-2], point[:, -2], point[:, -1]

    def weights(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """W (c, d) and b (c,) of all logits, text included; a shift of the point is linear."""
        v, theta, delta = self.parts(point)
        W = v @ self.axes.T + delta[:, None] * self.problem.prior_mean
        return self.tau * W, self.tau * theta

    def slopes(self, slope: Tensor, slope_of_bias: Tensor) -> Tensor:
        """Those of W and b as those of the point."""
        of_text = (slope * self.problem.prior_mean).sum(dim=1)
        parts = [slope @ self.axes, slope_of_bias[:, None], of_text[:, None]]
        return self.tau * torch.cat(parts, dim=1)

    def at(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """W and b of the logits at a point, where delta = 0 is the text itself."""
        W, b = self.weights(point)
        return W + self.tau * self.problem.prior_mean, b

    def value_and_gradient(self, point: Tensor) -> tuple[float, Tensor]:
        a = self.problem.sample_weight
        value, *slopes = _loss_and_slopes(self.problem, a, *self.at(point))
        gradient = self.penalty * point
        value += 0.5 * float((gradient * point).double().sum())
        return value, gradient.add_(self.slopes(*slopes))

    def diagonal(self, point: Tensor) -> Tensor:
        """Of the Hessian."""
        (W, b), T = self.at(point), self.problem.prior_mean
        out = self.penalty.clone()
        for where in row_chunks(len(self.problem.X), self.problem.n_classes):
            X, a = self.problem.X[where], self.problem.sample_weight[where, None]
            P = torch.softmax(torch.addmm(b, X, W.T), dim=1)
            doubt = P.sub_(P.square()).mul_(a)
            squares = with_bias_column(X @ self.axes).square_()
            out[:, :-1].addmm_(doubt.T, squares, alpha=self.tau**2)
            out[:, -1].add_((doubt * (X @ T.T).square_()).sum(dim=0), alpha=self.tau**2)
        return out

    def hessian(self, point: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Product with the Hessian, and its diagonal."""
        problem = self.problem
        W, b = self.at(point)

        def product(direction: Tensor) -> Tensor:
            V, shift = self.weights(direction)
            slope, slope_of_bias = torch.zeros_like(V), torch.zeros_like(shift)
            for where in row_chunks(len(problem.X), problem.n_classes):
                X, a = problem.X[where], problem.sample_weight[where, None]
                P = torch.softmax(torch.addmm(b, X, W.T), dim=1)
                moved = torch.addmm(shift, X, V.T).mul_(P)
                moved.addcmul_(P, moved.sum(dim=1, keepdim=True), value=-1.0).mul_(a)
                slope.addmm_(moved.T, X)
                slope_of_bias += moved.sum(dim=0)
            return self.penalty * direction + self.slopes(slope, slope_of_bias)

        return product, self.diagonal(point)

    def certificate(self, gradient: Tensor) -> float:
        return float(gradient.norm(dim=1).max()) / (self.tau * self.certificate_weight)


def _principal_axes(rows: Tensor) -> Tensor:
    """(d, r) orthonormal basis of the span of rows (n, d), which it decorrelates."""
    rows64 = rows.double()
    n, d = rows.shape
    small = rows64.T @ rows64 if n >= d else rows64 @ rows64.T
    energy, vectors = torch.linalg.eigh(small)
    keep = energy > energy[-1].clamp(min=0.0) * max(n, d) * torch.finfo(energy.dtype).eps
    basis: Tensor = vectors[:, keep]
    if n < d:
        basis = (rows64.T @ basis) / energy[keep].sqrt()
    return basis.to(dtype=rows.dtype)
