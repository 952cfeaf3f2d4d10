r"""Gaussian variational posterior of the linear form, without learning rates.

.. math::
    F(q) = \sum_n a_n E_q \log \mathrm{softmax}_{y_n}(z_n) - \beta \sum_c
    \mathrm{KL}\big(N(m_c, \beta A_c^{-1}) \,\|\, N(\bar m_c, \beta P_c^{-1})\big)

with prior precision :math:`P_c` (an isotropic prior has :math:`P_c = \lambda_c I`). At
:math:`\beta = 1` this is the evidence lower bound; a smaller temperature scales both
covariances, so that the anchor of the mean stays and :math:`\beta \to 0` is the mode.

The logits of a row are independent Gaussians, so the expectations are averages over
draws of logits, with gradients :math:`y - E[p]` in their means and :math:`-E[p (1 - p)] / 2`
in their variances. Two steps alternate: Newton's method on the means with the spread
fixed, and the fixed point :math:`A_c = P_c + \tau^2 \sum_n a_n E[p_{nc} (1 - p_{nc})]
\phi_n \phi_n^\top` (a natural-gradient step of length one), shortened where it would
lower F. The draws are common to all steps, so F is a deterministic function that never
decreases, and independent over rows that are no copies, so that the optimum fits them as
little as can be. The bound that is reported is an average over new ones: it knows nothing of
those that the optimum was found with, so that its expectation is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import log_softmax_gap
from skclip._core.linear.span import Span, with_bias_column
from skclip._core.posterior.block import BlockGaussian
from skclip._core.posterior.draws import RowDraws
from skclip._core.problem import weight_of_certificate
from skclip._core.solve import newton
from skclip._core.solve.status import Status

__all__ = [
    "FramedRows",
    "Observations",
    "VariationalSolution",
    "divergence",
    "maximize_bound",
    "n_bound_draws",
]

_NEWTON_STEPS = 4
_STEP_LENGTHS = (1.0, 0.5, 0.25, 0.0625)
_DRAW_BUDGET = 2**22
# Rows whose places are nearer than this, relative to the farthest, are copies.
_SAME_PLACE = 1e-5
# Draws of the reported bound, relative to those of the steps.
_FRESH = 4
# Rows times classes up to a size, and the share of a class's curvature that rows must hold.
# On CLIP features 0.999 widens variances by 0.1 % on average and 0.8 % at most, 0.99 by 1 %
# and 7 %; the cost per class grows with the cube of the number of rows.
_KEEP = ((2**12, 1.0), (2**20, 0.999), (math.inf, 0.99))


@dataclass(frozen=True, kw_only=True)
class FramedRows:
    """Rows in the coordinates of a frame, of which a posterior takes the curvature.

    phi (n, r'); outside_square (n,), zero where the frame holds the rows; sample_weight (n,);
    logit_scale. Optional: counted (n, c), the share of a row's curvature that a class's precision
    takes.
    """

    phi: Tensor
    outside_square: Tensor
    sample_weight: Tensor
    logit_scale: float
    counted: Tensor | None = None

    @classmethod
    def in_span(cls, problem: LinearProblem, span: Span) -> FramedRows:
        """In the frame of their own span, which knows their coordinates."""
        return cls(
            phi=with_bias_column(span.Z) if problem.has_bias else span.Z,
            outside_square=torch.zeros_like(problem.sample_weight),
            sample_weight=problem.sample_weight,
            logit_scale=problem.logit_scale,
        )

    def logit_variance(self, posterior: BlockGaussian) -> Tensor:
        """(n, c) at temperature 1."""
        return self.logit_scale**2 * posterior.variance(self.phi, self.outside_square)

    def absorbed_by(
        self,
        prior: BlockGaussian,
        curvature: Tensor,
        kind: str,
        *,
        keep: float | None = None,
        max_rank: int | None = None,
    ) -> BlockGaussian:
        """Posterior precision from curvature (n, c) in the logits; see `absorb`.

        Where `keep` is None it falls with the size of the problem: all rows of a small one.
        """
        if keep is None:
            keep = next(share for size, share in _KEEP if curvature.numel() <= size)
        weight = self.logit_scale**2 * curvature
        if self.counted is not None:
            weight = weight * self.counted
        return prior.absorb(self.phi, weight, kind, keep=keep, max_rank=max_rank)


@dataclass(frozen=True, kw_only=True)
class Observations(FramedRows):
    """What the likelihood needs, too.

    base (n, c), logits at the prior mean; y (n,). Optional: linear (c, r'), the gradient of a
    linear term of the loss.
    """

    base: Tensor
    y: Tensor
    linear: Tensor | None = None

    @classmethod
    def of(cls, rows: FramedRows, problem: LinearProblem) -> Observations:
        """Of a problem, relative to its prior mean."""
        known = {field.name: getattr(rows, field.name) for field in fields(rows)}
        return cls(**known, base=problem.prior_logits(), y=problem.y)

    def logits(self, point: Tensor) -> Tensor:
        return torch.addmm(self.base, self.phi, point.T, alpha=self.logit_scale)


@dataclass(frozen=True)
class VariationalSolution:
    """Means (c, r') relative to the prior's, precisions at temperature 1, and the bound.

    curvature (n, c) is ``a E[p (1 - p)]``, probabilities (n, c) are E[p]. The bound is on draws
    that nothing was fitted to; history holds F after every iteration, on those that the
    iterations use, which is larger. gradient_norm is that of the mean as in
    :class:`~skclip._core.linear.objective.LinearSolution`.
    """

    point: Tensor
    posterior: BlockGaussian
    curvature: Tensor
    probabilities: Tensor
    bound: float
    history: list[float] = field(repr=False)
    gradient_norm: float
    n_iter: int
    status: Status


def n_bound_draws(n_rows: int, n_classes: int) -> int:
    """Draws of the logits: 64 on small problems, fewer on large ones, at least 8."""
    return max(8, min(64, 2 * (_DRAW_BUDGET // (2 * n_rows * n_classes))))


def maximize_bound(
    data: Observations,
    prior: BlockGaussian,
    kind: str,
    *,
    beta: float,
    seed: int,
    tol: float,
    max_iter: int,
    start: Tensor | None = None,
    n_draws: int | None = None,
    max_rank: int | None = None,
) -> VariationalSolution:
    """Maximise F over Gaussians of a kind until it gains less than `tol` per unit of weight.

    Parameters
    ----------
    kind : {"isotropic", "diagonal", "full"}
    beta : float
        Temperature, above 0.
    seed : int
        Of the draws.
    tol : float
        Also the certificate of the mean.
    start : Tensor of shape (c, r'), optional
        Means to start from; the prior's when None.
    """
    n, c = data.base.shape
    n_draws = n_draws or n_bound_draws(n, c)
    which = kinds_of_rows(data)
    objective = GaussianObjective(data, prior, RowDraws(n_draws, which, c, seed))
    certificate_weight = weight_of_certificate(data.sample_weight, data.phi)

    def posterior_of(curvature: Tensor) -> BlockGaussian:
        return data.absorbed_by(prior, curvature, kind, max_rank=max_rank)

    def bound_at(point: Tensor, posterior: BlockGaussian) -> float:
        objective.std = (beta * data.logit_variance(posterior)).sqrt()
        value, _ = objective.value_and_gradient(point)
        return -value - beta * float(divergence(posterior, prior).sum())

    point = prior.diagonal.new_zeros(prior.diagonal.shape) if start is None else start
    objective.std = torch.zeros_like(data.base)
    curvature = objective.curvature(point)
    posterior = posterior_of(curvature)
    bound = bound_at(point, posterior)
    history: list[float] = []
    status = Status.MAX_ITER
    while len(history) < max_iter:
        previous = bound
        point = newton.minimize(objective, point, tol=tol, max_iter=_NEWTON_STEPS).point
        bound = bound_at(point, posterior)
        target = objective.curvature(point)
        for length in _STEP_LENGTHS:
            trial_curvature = torch.lerp(curvature, target, length)
            trial = posterior_of(trial_curvature)
            value = bound_at(point, trial)
            if value >= bound:
                curvature, posterior, bound = trial_curvature, trial, value
                break
        objective.std = (beta * data.logit_variance(posterior)).sqrt()
        history.append(bound)
        if bound - previous <= tol * certificate_weight:
            status = Status.CONVERGED
            break
    _, gradient = objective.value_and_gradient(point)
    probabilities = objective.probabilities(point)
    objective.noise = RowDraws(_FRESH * n_draws, which, c, seed + 1)
    return VariationalSolution(
        point,
        posterior,
        curvature,
        probabilities,
        bound_at(point, posterior),
        history,
        objective.certificate(gradient),
        len(history),
        status,
    )


def kinds_of_rows(data: Observations) -> Tensor:
    """(n,) a number of every row, equal for copies, whatever their order and the basis.

    Rows without weight count nothing and change no number of the others.
    """
    c, counts = data.base.shape[1], data.sample_weight > 0
    a, y = data.sample_weight[counts], data.y[counts]
    total = a.new_zeros(c).index_add(0, y, a)
    phi = data.phi[counts]
    phi = phi - (a / a.sum()) @ phi
    means = phi.new_zeros(c, phi.shape[1]).index_add(0, y, a[:, None] * phi)
    means /= total.clamp(min=torch.finfo(total.dtype).tiny)[:, None]
    # Along any direction that the rows themselves determine.
    place = phi @ (torch.cos(torch.arange(c).to(total)) @ means)
    step = _SAME_PLACE * place.abs().max().clamp(min=torch.finfo(total.dtype).tiny)
    both = torch.stack([y.to(total), (place / step).round()], dim=1)
    kind = torch.zeros_like(data.y)
    kind[counts] = torch.unique(both, dim=0, return_inverse=True)[1]
    return kind


def divergence(posterior: BlockGaussian, prior: BlockGaussian) -> Tensor:
    """(c,) Kullback-Leibler divergences from posterior to prior when their means agree."""
    dimension = posterior.diagonal.shape[1] + posterior.n_outside
    return 0.5 * (posterior.trace_of(prior) - dimension + posterior.log_det() - prior.log_det())


class GaussianObjective:
    """Expected log-loss plus the prior's quadratic form, a function of the means.

    With `std` (n, c) None it is the negative log posterior under a Gaussian prior, whose
    precision may have any compact form.
    """

    def __init__(
        self, data: Observations, prior: BlockGaussian, noise: RowDraws | None = None
    ) -> None:
        self.data, self.prior, self.noise = data, prior, noise
        self.std: Tensor | None = None
        self.total_weight = float(data.sample_weight.double().sum())
        self.certificate_weight = weight_of_certificate(data.sample_weight, data.phi)

    def value_and_gradient(self, point: Tensor) -> tuple[float, Tensor]:
        data = self.data
        loss, P, _ = self._expectations(point)
        P[torch.arange(len(P), device=P.device), data.y] -= 1.0
        P.mul_(data.sample_weight[:, None])
        decay = self.prior.multiply(point)
        value = torch.dot(loss.double(), data.sample_weight.double())
        value = value + 0.5 * (decay * point).double().sum()
        if data.linear is not None:
            value = value + (data.linear * point).double().sum()
            decay = decay + data.linear
        return float(value), torch.addmm(decay, P.T, data.phi, alpha=data.logit_scale)

    def hessian(self, point: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Upper bound of the Hessian: E[p p'] is replaced by E[p] E[p]', exact without spread."""
        data, tau = self.data, self.data.logit_scale
        _, P, _ = self._expectations(point)
        aP = data.sample_weight[:, None] * P
        square = data.phi.square()
        floor = torch.finfo(point.dtype).eps * self.total_weight * square.mean()
        diagonal = tau**2 * ((aP * (1 - P)).T @ square + floor)
        diagonal = diagonal + self.prior.marginal_precision()

        def product(direction: Tensor) -> Tensor:
            moved = torch.mm(data.phi, direction.T)
            moved.sub_((P * moved).sum(dim=1, keepdim=True)).mul_(aP)
            decay = self.prior.multiply(direction)
            return torch.addmm(decay, moved.T, data.phi, alpha=tau**2)

        return product, diagonal

    def certificate(self, gradient: Tensor) -> float:
        return float(gradient.norm(dim=1).max()) / (self.data.logit_scale * self.certificate_weight)

    def curvature(self, point: Tensor) -> Tensor:
        """(n, c) ``a E[p (1 - p)]``."""
        return self.data.sample_weight[:, None] * self._expectations(point)[2]

    def probabilities(self, point: Tensor) -> Tensor:
        """E[p] (n, c)."""
        return self._expectations(point)[1]

    def _expectations(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E[loss] (n,), E[p] (n, c) and E[p (1 - p)] (n, c)."""
        scores = self.data.logits(point)
        if self.std is None or self.noise is None:
            loss, P = log_softmax_gap(scores, self.data.y)
            return loss, P, P * (1 - P)
        n, c = scores.shape
        loss, P, H = scores.new_zeros(n), torch.zeros_like(scores), torch.zeros_like(scores)
        for z in self.noise.blocks(scores):
            drawn = (scores + self.std * z).flatten(0, 1)
            drawn_loss, drawn = log_softmax_gap(drawn, self.data.y.repeat(len(z)))
            loss += drawn_loss.view(-1, n).sum(dim=0)
            P += drawn.view(-1, n, c).sum(dim=0)
            H += (drawn * (1 - drawn)).view(-1, n, c).sum(dim=0)
        s = self.noise.n_draws
        return loss / s, P / s, H / s
