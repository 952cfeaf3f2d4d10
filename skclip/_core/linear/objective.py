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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skclip._core.linear.descent import descend
from skclip._core.linear.likelihood import Rows
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.span import Span, with_bias_column
from skclip._core.problem import weight_of_certificate
from skclip._core.solve import lbfgs, newton
from skclip._core.solve.status import Minimum, Status

__all__ = [
    "DEFAULT_TOL",
    "LinearSolution",
    "NATS_PER_ROW",
    "log_softmax_gap",
    "logits",
    "softmax_in_place",
    "solve_map",
]

# What is asked for where no tolerance is given: of the objective, and else of the gradient.
NATS_PER_ROW = 1e-5
DEFAULT_TOL = 1e-6

# How far a row moves its own logits per unit of its residual under the loosest of usual priors.
_USUAL_REACH = 5e3
_ROWS_PER_CHUNK = 1024
_LEAST_LOG_PROBABILITY = -60.0


@dataclass(frozen=True)
class LinearSolution:
    """Weights (c, d), intercept (c,), and what the solver says about them.

    `gradient_norm` is the certificate: the largest class-wise Euclidean norm of the
    gradient with respect to the scaled coordinates ``tau D`` (without a metric, of the
    scaled weights ``tau W`` and of the intercept), divided by the sum of the sample
    weights (:func:`weight_of_certificate`). Without a metric it bounds from above
    the quantity that scikit-learn's LogisticRegression compares with its ``tol``.
    `coordinates` start a later fit. `logits` (n, c) are those of the rows, but for a shift that
    all classes share, where the solver ends with them.
    """

    W: Tensor
    b: Tensor
    coordinates: Tensor
    objective: float
    gradient_norm: float
    n_iter: int
    status: Status
    logits: Tensor | None = None


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


def softmax_in_place(scores: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihoods (n,) of logits (n, c), which become probabilities.

    Probabilities below e^-60 are raised to it: denormal numbers are slow to multiply.
    """
    chosen = scores.gather(1, y[:, None])
    top = scores.amax(dim=1, keepdim=True)
    scores.sub_(top).clamp_(min=_LEAST_LOG_PROBABILITY).exp_()
    total = scores.sum(dim=1, keepdim=True)
    scores.div_(total)
    return (total.log_() + top - chosen).squeeze(1)


def solve_map(
    problem: LinearProblem,
    *,
    tol: float | None,
    max_iter: int,
    solver: str = "newton-cg",
    span: Span | None = None,
    start: Tensor | None = None,
    relative_tol: float = 0.0,
    callback: Callable[[int, float, float], None] | None = None,
    prior_logits: Tensor | None = None,
) -> LinearSolution:
    """Minimise J to ``gradient_norm <= tol``.

    Parameters
    ----------
    tol : float or None
        None asks for no more than moves a prediction: an objective within `NATS_PER_ROW` of its
        optimum per unit of weight, by Newton's decrement, to which "newton-cg" goes by
        :func:`~skclip._core.linear.descent.descend`; where that cannot be, 1e-6. Less of
        either where the prior is so loose that rows left out would feel the difference.
    solver : {"newton-cg", "lbfgs"}
    span : Span, optional
        Of this problem or one that differs in prior mean and precision only.
    start : Tensor, optional
        Coordinates of an earlier solution in the same span; the prior mean when None.
    relative_tol : float
        Stop, too, when the gradient is at most this share of the prior's own, which at the
        optimum balances that of the likelihood.
    prior_logits : Tensor of shape (n, c), optional
        Those of the problem, where they are known; their memory is used up.
    """
    if span is None:
        span = Span.of(problem)
    objective = _Objective(problem, span, prior_logits)
    coordinates = objective.origin() if start is None else start
    goal = DEFAULT_TOL * objective.tightness if tol is None else tol
    descended = 0
    if tol is None and solver == "newton-cg" and start is None and objective.suits_pairs:
        first, scores = objective.descend(max_iter, callback)
        if first.status is Status.CONVERGED:
            return _solution(objective, first, 0, scores)
        coordinates, descended = first.point, first.n_iter

    def sufficient(point: Tensor) -> float:
        return relative_tol * float((objective.penalty * point).norm())

    if solver == "lbfgs":
        result = lbfgs.minimize(
            objective.value_and_gradient,
            coordinates,
            1.0 / objective.hessian(coordinates)[1],
            objective.certificate,
            tol=goal,
            max_iter=max_iter,
            sufficient=sufficient if relative_tol > 0 else None,
            callback=callback,
        )
    else:
        result = newton.minimize(
            objective,
            coordinates,
            tol=goal,
            max_iter=max_iter - descended,
            sufficient=sufficient if relative_tol > 0 else None,
            callback=callback,
        )
    return _solution(objective, result, descended)


def _solution(
    objective: _Objective, result: Minimum, descended: int, scores: Tensor | None = None
) -> LinearSolution:
    """In weights; `descended` are iterations before those of the result."""
    W, b = objective.weights(result.point)
    return LinearSolution(
        W=W,
        b=b,
        coordinates=result.point,
        objective=result.objective,
        gradient_norm=result.gradient_norm,
        n_iter=descended + result.n_iter,
        status=result.status,
        logits=scores,
    )


class _Objective:
    """J in the coordinates of a span; where there is a bias the last column is theta.

    Rows are taken in chunks that stay in the processor's cache between their two matrix
    products. The probabilities of the point that was evaluated last are kept for its Hessian.
    """

    def __init__(
        self, problem: LinearProblem, span: Span, prior_logits: Tensor | None = None
    ) -> None:
        self.problem, self.span = problem, span
        self._prior_logits = prior_logits
        self.tau = problem.logit_scale
        self.Z = span.Z
        self.penalty = problem.prior_precision[:, None].expand(-1, span.Z.shape[1])
        if problem.has_bias:
            self.Z = with_bias_column(self.Z)
            bias_penalty = problem.prior_precision[:, None] / problem.bias_variance
            self.penalty = torch.cat([self.penalty, bias_penalty], dim=1)
        a = problem.sample_weight
        self.total_weight = float(a.double().sum())
        self.certificate_weight = weight_of_certificate(a, problem.X)
        self.weighted = self.Z if bool((a == 1).all()) else a[:, None] * self.Z
        # The labels' part of the gradient is the same at every point.
        self.labelled = torch.zeros_like(self.penalty).index_add_(0, problem.y, self.weighted)
        self.P_point: Tensor | None = None

    def take_prior_logits(self) -> Tensor:
        """(n, c) at the prior mean, which the coordinates add to; the caller's own."""
        known, self._prior_logits = self._prior_logits, None
        return self.problem.prior_logits() if known is None else known

    # What the descent has no use for, made when another solver asks.

    @cached_property
    def base(self) -> Tensor:
        """The prior mean's logits."""
        return self.take_prior_logits()

    @cached_property
    def P(self) -> Tensor:
        """(n, c) probabilities at `P_point`."""
        return torch.empty_like(self.base)

    @cached_property
    def scratch(self) -> Tensor:
        """For a chunk of rows."""
        return torch.empty_like(self.base[:_ROWS_PER_CHUNK])

    @property
    def suits_pairs(self) -> bool:
        """Whether every coordinate has a prior, and there are any."""
        return bool(self.penalty.numel() and (self.penalty > 0).all())

    def descend(
        self, max_iter: int, callback: Callable[[int, float, float], None] | None
    ) -> tuple[Minimum, Tensor]:
        """From the prior mean to an objective as near its optimum as predictions need.

        With the logits there.
        """
        scores = self.take_prior_logits()
        rows = Rows(self.problem, self.span, self.Z, self.weighted, self.labelled, self.penalty)

        def report(iteration: int, value: float, gradient: Tensor) -> None:
            if callback is not None:
                callback(iteration, value, self.certificate(gradient))

        # What is left is an estimate, of a Hessian without its smallest parts. Residuals are off by
        # the root of what the objective is off by.
        enough = 0.5 * NATS_PER_ROW * self.total_weight * self.tightness**2
        found = descend(
            rows,
            scores,
            enough=enough,
            tightness=self.tightness,
            max_iter=max_iter,
            callback=report,
        )
        status = Status.CONVERGED if found.left <= enough else Status.MAX_ITER
        certificate = self.certificate(found.gradient)
        return Minimum(found.point, found.objective, certificate, found.n_iter, status), scores

    @cached_property
    def tightness(self) -> float:
        """1 under a usual prior, less under one that is hardly there: what its reach has too much.

        What a row's logits do when it is left out, and what curvature matters, is in units of how
        far a unit of residual moves them.
        """
        if not self.suits_pairs:
            return 1.0
        own = self.tau**2 * float((self.Z.square() / self.penalty.amin(dim=0)).sum(dim=1).mean())
        return min(1.0, _USUAL_REACH / max(own, 1e-300))

    def origin(self) -> Tensor:
        """Coordinates of the prior mean."""
        return self.Z.new_zeros(len(self.problem.prior_mean), self.Z.shape[1])

    def weights(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """(W, b) from coordinates."""
        if not self.problem.has_bias:
            shift = self.span.weights(point)
            return self.problem.prior_mean + shift, point.new_zeros(len(point))
        shift = self.span.weights(point[:, :-1])
        b = self.tau * (point[:, -1] - shift @ self.span.centre)
        # Softmax ignores a common shift of the intercepts: fix it at mean zero.
        return self.problem.prior_mean + shift, b - b.mean()

    def value_and_gradient(self, point: Tensor) -> tuple[float, Tensor]:
        loss = torch.empty_like(self.base[:, 0])
        gradient = self.penalty * point
        decay = float((gradient * point).double().sum())
        gradient.sub_(self.labelled, alpha=self.tau)
        for rows in self._chunks():
            P = torch.addmm(
                self.base[rows], self.Z[rows], point.T, alpha=self.tau, out=self.P[rows]
            )
            loss[rows] = softmax_in_place(P, self.problem.y[rows])
            gradient.addmm_(P.T, self.weighted[rows], alpha=self.tau)
        self.P_point = point
        value = torch.dot(loss.double(), self.problem.sample_weight.double()) + 0.5 * decay
        return float(value), gradient

    def hessian(self, point: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        self._stay_at(point)
        # The floor keeps classes that no row doubts (p = 0 or 1) from dividing by zero.
        square = self.Z.square()
        floor = torch.finfo(point.dtype).eps * self.total_weight * square.mean()
        diagonal = self.penalty + self.tau**2 * floor
        if self.weighted is not self.Z:
            square.mul_(self.problem.sample_weight[:, None])
        for rows in self._chunks():
            P = self.P[rows]
            doubt = torch.addcmul(P, P, P, value=-1.0, out=self.scratch[: len(P)])
            diagonal.addmm_(doubt.T, square[rows], alpha=self.tau**2)

        def product(direction: Tensor) -> Tensor:
            self._stay_at(point)
            image = self.penalty * direction
            for rows in self._chunks():
                P = self.P[rows]
                moved = torch.mm(self.Z[rows], direction.T, out=self.scratch[: len(P)])
                moved.mul_(P)
                moved.addcmul_(P, moved.sum(dim=1, keepdim=True), value=-1.0)
                image.addmm_(moved.T, self.weighted[rows], alpha=self.tau**2)
            return image

        return product, diagonal

    def certificate(self, gradient: Tensor) -> float:
        return float(gradient.norm(dim=1).max()) / (self.tau * self.certificate_weight)

    def _stay_at(self, point: Tensor) -> None:
        if self.P_point is not point:
            self.value_and_gradient(point)

    def _chunks(self) -> Iterator[slice]:
        for first in range(0, len(self.Z), _ROWS_PER_CHUNK):
            yield slice(first, first + _ROWS_PER_CHUNK)
