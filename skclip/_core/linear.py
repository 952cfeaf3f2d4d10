r"""Maximum a posteriori weights of the linear form, a convex generalised linear model.

.. math::
    J(W, b) = -\sum_n a_n \log \mathrm{softmax}_{y_n}(\tau W x_n + b)
              + \tfrac12 \sum_c \lambda_c \left( \|M^{-1}(w_c - t_c)\|^2
              + \theta_c^2 / v \right), \qquad \theta_c = b_c / \tau + (w_c - t_c)^\top m

The prior of the weights is :math:`N(t_c, M M^\top / \lambda_c)`, isotropic when the metric M
is absent; :math:`\theta_c` is the bias at the weighted mean m of the support rows, with
prior variance :math:`v / \lambda_c`. Only the part of :math:`M^{-1}(W - T)` that lies in the
span of the centred rows times M is not zero at the optimum (a representer theorem), so
the problem is solved for coordinates ``D`` (c, r) in an orthonormal basis of it. There
the curvature is nearly diagonal, which both solvers use as preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skclip._core import lbfgs, newton
from skclip._core.optimum import Status

__all__ = ["LinearProblem", "LinearSolution", "Span", "logits", "log_softmax_gap", "solve_map"]


@dataclass(frozen=True)
class LinearProblem:
    """Data and prior of one fit; all tensors share device and dtype.

    X (n, d); y (n,) int64; sample_weight (n,); prior_mean (c, d); prior_precision (c,)
    in inverse squared weight units; logit_scale > 0; metric (d, d) or None for the
    identity; bias_variance: 0 for no bias, infinity for a bias without prior.
    """

    X: Tensor
    y: Tensor
    sample_weight: Tensor
    prior_mean: Tensor
    prior_precision: Tensor
    logit_scale: float
    bias_variance: float = 0.0
    metric: Tensor | None = None

    @property
    def has_bias(self) -> bool:
        return self.bias_variance > 0


@dataclass(frozen=True)
class LinearSolution:
    """Weights (c, d), intercept (c,), and what the solver says about them.

    `gradient_norm` is the certificate: the largest class-wise Euclidean norm of the
    gradient with respect to the scaled coordinates ``tau D`` (without a metric, of the
    scaled weights ``tau W`` and of the intercept), divided by the sum of the sample
    weights. Without a metric it bounds from above the quantity that scikit-learn's
    LogisticRegression compares with its ``tol``. `coordinates` start a later fit.
    """

    W: Tensor
    b: Tensor
    coordinates: Tensor
    objective: float
    gradient_norm: float
    n_iter: int
    status: Status


@dataclass(frozen=True)
class Span:
    """An orthonormal basis of the span of the rows ``(x - centre) M``.

    ``(X - centre) @ M = Z @ basis.T`` with Z (n, r) and basis (d, r); `axes` = M @ basis
    (d, r) takes a row to its coordinates and coordinates to weights. The columns of Z are
    orthogonal under the sample weights, with squared norms `energy` (r,). The centre is
    the weighted mean of the rows where there is a bias, else zero.
    """

    Z: Tensor
    basis: Tensor
    axes: Tensor
    centre: Tensor
    energy: Tensor

    @classmethod
    def of(cls, problem: LinearProblem) -> Span:
        """Weighted principal axes by one symmetric eigenproblem of size min(n, d)."""
        a = problem.sample_weight.double()
        rows = problem.X.double()
        centre = (a / a.sum()) @ rows if problem.has_bias else torch.zeros_like(rows[0])
        rows = rows - centre
        metric = None if problem.metric is None else problem.metric.double()
        if metric is not None:
            rows = rows @ metric
        # sqrt(a) x: eigenvectors of its Gram matrix diagonalise X' diag(a) X.
        scaled = a.sqrt()[:, None] * rows
        n, d = scaled.shape
        if n >= d:
            energy, basis = torch.linalg.eigh(scaled.T @ scaled)
            keep = energy > _rank_cutoff(energy, n)
            energy, basis = energy[keep], basis[:, keep]
        else:
            energy, left = torch.linalg.eigh(scaled @ scaled.T)
            keep = energy > _rank_cutoff(energy, d)
            energy, left = energy[keep], left[:, keep]
            basis = (scaled.T @ left) / energy.sqrt()
        axes = basis if metric is None else metric @ basis
        parts = (rows @ basis, basis, axes, centre, energy)
        return cls(*(part.to(problem.X.dtype) for part in parts))


def _rank_cutoff(energy: Tensor, size: int) -> Tensor:
    """Eigenvalues of a Gram matrix below this are rounding errors."""
    return energy.max().clamp(min=0.0) * size * torch.finfo(energy.dtype).eps


def logits(X: Tensor, W: Tensor, b: Tensor, logit_scale: float) -> Tensor:
    """(n, c) logits ``tau * X @ W.T + b``."""
    return torch.addmm(b, X, W.T, alpha=logit_scale)


def log_softmax_gap(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (n,) and probabilities (n, c), sharing one exponential."""
    top = scores.amax(dim=1, keepdim=True)
    P = (scores - top).exp_()
    total = P.sum(dim=1, keepdim=True)
    loss = total.log().squeeze(1) + top.squeeze(1) - scores.gather(1, y[:, None]).squeeze(1)
    return loss, P.div_(total)


def solve_map(
    problem: LinearProblem,
    *,
    tol: float,
    max_iter: int,
    solver: str = "newton-cg",
    span: Span | None = None,
    start: Tensor | None = None,
    callback: Callable[[int, float, float], None] | None = None,
) -> LinearSolution:
    """Minimise J to ``gradient_norm <= tol``.

    Parameters
    ----------
    solver : {"newton-cg", "lbfgs"}
    span : Span, optional
        Of this problem or one that differs in prior mean and precision only.
    start : Tensor, optional
        Coordinates of an earlier solution in the same span; the prior mean when None.
    """
    if span is None:
        span = Span.of(problem)
    objective = _Objective(problem, span)
    coordinates = objective.origin() if start is None else start
    if solver == "lbfgs":
        result = lbfgs.minimize(
            objective.value_and_gradient,
            coordinates,
            1.0 / objective.hessian(coordinates)[1],
            objective.certificate,
            tol=tol,
            max_iter=max_iter,
            callback=callback,
        )
    else:
        result = newton.minimize(
            objective, coordinates, tol=tol, max_iter=max_iter, callback=callback
        )
    W, b = objective.weights(result.point)
    return LinearSolution(
        W=W,
        b=b,
        coordinates=result.point,
        objective=result.objective,
        gradient_norm=result.certificate,
        n_iter=result.n_iter,
        status=result.status,
    )


class _Objective:
    """J in the coordinates of a span; where there is a bias the last column is theta."""

    def __init__(self, problem: LinearProblem, span: Span) -> None:
        self.problem, self.span = problem, span
        self.tau = problem.logit_scale
        self.Z = span.Z
        self.penalty = problem.prior_precision[:, None].expand(-1, span.Z.shape[1])
        if problem.has_bias:
            self.Z = torch.cat([self.Z, torch.ones_like(self.Z[:, :1])], dim=1)
            bias_penalty = problem.prior_precision[:, None] / problem.bias_variance
            self.penalty = torch.cat([self.penalty, bias_penalty], dim=1)
        # The prior mean's logits, which the coordinates add to.
        self.base = self.tau * (problem.X @ problem.prior_mean.T)
        self.total_weight = float(problem.sample_weight.double().sum())

    def origin(self) -> Tensor:
        """Coordinates of the prior mean."""
        return self.Z.new_zeros(len(self.problem.prior_mean), self.Z.shape[1])

    def weights(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """(W, b) from coordinates."""
        if not self.problem.has_bias:
            shift = point @ self.span.axes.T
            return self.problem.prior_mean + shift, point.new_zeros(len(point))
        shift = point[:, :-1] @ self.span.axes.T
        b = self.tau * (point[:, -1] - shift @ self.span.centre)
        # Softmax ignores a common shift of the intercepts: fix it at mean zero.
        return self.problem.prior_mean + shift, b - b.mean()

    def value_and_gradient(self, point: Tensor) -> tuple[float, Tensor]:
        scores = torch.addmm(self.base, self.Z, point.T, alpha=self.tau)
        loss, P = log_softmax_gap(scores, self.problem.y)
        a = self.problem.sample_weight
        P[torch.arange(len(P), device=P.device), self.problem.y] -= 1.0
        P.mul_(a[:, None])
        decay = self.penalty * point
        value = torch.dot(loss.double(), a.double()) + 0.5 * (decay * point).double().sum()
        return float(value), torch.addmm(decay, P.T, self.Z, alpha=self.tau)

    def hessian(self, point: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        P = torch.softmax(torch.addmm(self.base, self.Z, point.T, alpha=self.tau), dim=1)
        aP = self.problem.sample_weight[:, None] * P
        curvature = (aP * (1 - P)).T @ self.Z.square()
        # The floor keeps classes that no row doubts (p = 0 or 1) from dividing by zero.
        floor = torch.finfo(point.dtype).eps * self.total_weight * self.Z.square().mean()
        diagonal = self.tau**2 * (curvature + floor) + self.penalty

        def product(direction: Tensor) -> Tensor:
            moved = torch.mm(self.Z, direction.T)
            moved.sub_((P * moved).sum(dim=1, keepdim=True)).mul_(aP)
            return torch.addmm(self.penalty * direction, moved.T, self.Z, alpha=self.tau**2)

        return product, diagonal

    def certificate(self, gradient: Tensor) -> float:
        return float(gradient.norm(dim=1).max()) / (self.tau * self.total_weight)
