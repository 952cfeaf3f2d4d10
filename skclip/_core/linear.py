r"""Maximum a posteriori weights of the linear form, a convex generalised linear model.

.. math::
    J(W, b) = -\sum_n a_n \log \mathrm{softmax}_{y_n}(\tau W x_n + b)
              + \tfrac12 \sum_c \lambda_c \|w_c - t_c\|^2

Only the part of ``W - T`` that lies in span(X) is not zero at the optimum (a
representer theorem), so the problem is solved for coordinates ``D`` (c, r) in an
orthonormal basis of span(X); there the curvature is nearly diagonal, which both
solvers use as preconditioner.
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
    in inverse squared weight units, zero for no prior; logit_scale > 0.
    """

    X: Tensor
    y: Tensor
    sample_weight: Tensor
    prior_mean: Tensor
    prior_precision: Tensor
    logit_scale: float
    fit_intercept: bool = False


@dataclass(frozen=True)
class LinearSolution:
    """Weights (c, d), intercept (c,), and what the solver says about them.

    `gradient_norm` is the certificate: the largest class-wise Euclidean norm of the
    gradient with respect to the scaled weights ``tau W`` (and of the intercept's
    gradient), divided by the sum of the sample weights. It bounds from above the
    quantity that scikit-learn's LogisticRegression compares with its ``tol``.
    """

    W: Tensor
    b: Tensor
    objective: float
    gradient_norm: float
    n_iter: int
    status: Status


@dataclass(frozen=True)
class Span:
    """An orthonormal basis of span(X), after centring where there is an intercept.

    X = Z @ basis.T + centre, with Z (n, r), basis (d, r) and centre (d,); the columns of
    Z are orthogonal under the sample weights, with squared norms `energy` (r,).
    """

    Z: Tensor
    basis: Tensor
    centre: Tensor
    energy: Tensor

    @classmethod
    def of(cls, X: Tensor, sample_weight: Tensor, *, centred: bool) -> Span:
        """Weighted principal axes of X by one symmetric eigenproblem of size min(n, d)."""
        weight = sample_weight.double() / sample_weight.double().sum()
        rows = X.double()
        centre = weight @ rows if centred else torch.zeros_like(rows[0])
        # sqrt(a) x: eigenvectors of its Gram matrix diagonalise X' diag(a) X.
        scaled = sample_weight.double().sqrt()[:, None] * (rows - centre)
        n, d = scaled.shape
        if n >= d:
            energy, basis = torch.linalg.eigh(scaled.T @ scaled)
            keep = energy > _rank_cutoff(energy, max(n, d))
            energy, basis = energy[keep], basis[:, keep]
        else:
            energy, left = torch.linalg.eigh(scaled @ scaled.T)
            keep = energy > _rank_cutoff(energy, max(n, d))
            energy, left = energy[keep], left[:, keep]
            basis = (scaled.T @ left) / energy.sqrt()
        Z = (rows - centre) @ basis
        return cls(Z.to(X.dtype), basis.to(X.dtype), centre.to(X.dtype), energy.to(X.dtype))


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
    start: tuple[Tensor, Tensor] | None = None,
    callback: Callable[[int, float, float], None] | None = None,
) -> LinearSolution:
    """Minimise J to ``gradient_norm <= tol``.

    Parameters
    ----------
    solver : {"newton-cg", "lbfgs"}
    span : Span, optional
        Made by an earlier call on the same X, sample weights and `fit_intercept`.
    start : (W, b), optional
        Where to start (a warm start); the prior mean and zero when None.
    """
    if span is None:
        span = Span.of(problem.X, problem.sample_weight, centred=problem.fit_intercept)
    objective = _Objective(problem, span)
    coordinates = objective.coordinates(start)
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
    return LinearSolution(W, b, result.objective, result.certificate, result.n_iter, result.status)


class _Objective:
    """J in the coordinates of a span; with an intercept the last column is b / tau."""

    def __init__(self, problem: LinearProblem, span: Span) -> None:
        self.problem, self.span = problem, span
        self.tau = problem.logit_scale
        self.Z, energy = span.Z, span.energy
        lam = problem.prior_precision[:, None].expand(-1, span.Z.shape[1])
        if problem.fit_intercept:
            ones = torch.ones_like(self.Z[:, :1])
            self.Z = torch.cat([self.Z, ones], dim=1)
            lam = torch.cat([lam, torch.zeros_like(lam[:, :1])], dim=1)
            energy = torch.cat([energy, problem.sample_weight.sum()[None]])
        self.penalty, self.energy = lam, energy
        # The prior's logits; what the centre adds to every row goes into the intercept.
        self.base = self.tau * (problem.X @ problem.prior_mean.T)
        self.total_weight = float(problem.sample_weight.double().sum())

    def coordinates(self, start: tuple[Tensor, Tensor] | None) -> Tensor:
        """(c, r) or (c, r + 1) coordinates of (W, b) relative to the prior mean."""
        c = len(self.problem.prior_mean)
        if start is None:
            return self.Z.new_zeros(c, self.Z.shape[1])
        W, b = start
        shift = W - self.problem.prior_mean
        D = shift @ self.span.basis
        if not self.problem.fit_intercept:
            return D
        offset = b / self.tau + shift @ self.span.centre
        return torch.cat([D, offset[:, None]], dim=1)

    def weights(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """(W, b) from coordinates."""
        if not self.problem.fit_intercept:
            shift = point @ self.span.basis.T
            return self.problem.prior_mean + shift, point.new_zeros(len(point))
        shift = point[:, :-1] @ self.span.basis.T
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
