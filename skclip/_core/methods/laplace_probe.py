r"""Laplace posteriors of a linear layer, jointly over classes.

At weights W the generalised Gauss-Newton matrix of the softmax cross-entropy, which for
linear logits is the Hessian, couples the classes:

.. math::
    G = \tau^2 \sum_n a_n \Lambda_n \otimes x_n x_n^\top, \qquad
    \Lambda_n = \mathrm{diag}(p_n) - p_n p_n^\top,

and the posterior precision under the prior :math:`N(T, I / \lambda)` is
:math:`G + \lambda I`. The Kronecker-factored approximation (Martens and Grosse, "Optimizing
neural networks with Kronecker-factored approximate curvature", ICML 2015; for Laplace,
Ritter, Botev and Barber, "A scalable Laplace approximation for neural networks", ICLR 2018)
replaces the mean of products by the product of means,

.. math::
    G \approx B \otimes A, \qquad B = \frac{\sum_n a_n \Lambda_n}{\sum_n a_n}, \quad
    A = \tau^2 \sum_n a_n x_n x_n^\top .

Everything is written in coordinates phi (n, r) of the span of the rows; outside it, both
matrices are zero and the posterior is the prior. Each class's variance outside is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import LinearSolution, solve_map
from skclip._core.linear.span import Span
from skclip._core.linear.temperature_scaling import weighted_log_loss
from skclip._core.methods.chunks import row_chunks
from skclip._core.model import Averaging, AveragingModel
from skclip._core.posterior.block import Frame
from skclip._core.posterior.draws import standard_normal

__all__ = [
    "DenseCurvature",
    "EvidenceMode",
    "KroneckerCurvature",
    "LaplaceProbeModel",
    "LogitPosterior",
    "best_precision",
    "evidence_mode",
    "log_evidence",
    "probit",
    "support_log_likelihood",
]

# Precisions, relative to the squared logit scale, between which the best one is searched.
_BRACKET = (1e-8, 1e8)
_BISECTIONS = 200
_EVIDENCE_STEPS = 60
# Of the log precision.
_LONGEST_STEP = 3.0
_ROWS_PER_CHUNK = 64


@dataclass(frozen=True)
class KroneckerCurvature:
    """B (c, c), and A = diag(energy) (r, r) in coordinates."""

    between: Tensor
    energy: Tensor

    @classmethod
    def at(cls, problem: LinearProblem, span: Span, W: Tensor) -> KroneckerCurvature:
        """That of weights W (c, d); rows are taken in chunks."""
        c, a = problem.n_classes, problem.sample_weight
        between, total = W.new_zeros(c, c), W.new_zeros(c)
        for rows in row_chunks(len(problem.X), problem.n_classes):
            P = torch.softmax(problem.logit_scale * (problem.X[rows] @ W.T), dim=1)
            weighted = a[rows, None] * P
            between.addmm_(P.T, weighted, alpha=-1.0)
            total += weighted.sum(dim=0)
        between.diagonal().add_(total)
        between = between / a.sum()
        energy = problem.logit_scale**2 * (a @ span.Z.square())
        return cls(0.5 * (between + between.T), energy)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        spectrum, axes = torch.linalg.eigh(self.between)
        return spectrum.clamp(min=0.0), axes

    @property
    def axes(self) -> Tensor:
        """Eigenvectors of B (c, c)."""
        return self._eigen[1]

    @cached_property
    def values(self) -> Tensor:
        """All eigenvalues of the curvature, of any order."""
        # A search for the precision asks for no eigenvectors, which take most of the time.
        spectrum = torch.linalg.eigvalsh(self.between).clamp(min=0.0)
        return torch.outer(spectrum, self.energy).flatten()

    def root(self, precision: float) -> Tensor:
        """(c, r) standard deviations on the axes of B and the coordinates."""
        return (precision + torch.outer(self._eigen[0], self.energy)).rsqrt()


@dataclass(frozen=True)
class DenseCurvature:
    """G (c r, c r) by its eigenvectors and eigenvalues; classes vary slowest."""

    axes: Tensor
    spectrum: Tensor
    n_classes: int

    @classmethod
    def at(cls, problem: LinearProblem, span: Span, W: Tensor) -> DenseCurvature:
        """That of weights W (c, d)."""
        tau, Z = problem.logit_scale, span.Z
        P = torch.softmax(tau * (problem.X @ W.T), dim=1)
        (_, c), r = P.shape, Z.shape[1]
        G = Z.new_empty(c, r, c, r)
        for k in range(c):
            # Row k of every Lambda_n: p_k (1[k = l] - p_l).
            weight = -P[:, k, None] * P
            weight[:, k] += P[:, k]
            weight *= (tau**2 * problem.sample_weight)[:, None]
            for other in range(c):
                G[k, :, other] = Z.T @ (weight[:, other, None] * Z)
        spectrum, axes = torch.linalg.eigh(G.reshape(c * r, c * r))
        return cls(axes, spectrum.clamp(min=0.0), c)

    @property
    def values(self) -> Tensor:
        return self.spectrum

    def root(self, precision: float) -> Tensor:
        """(c, r, m): the covariance is root @ root.T over the last axis."""
        scaled = self.axes * (precision + self.spectrum).rsqrt()
        return scaled.reshape(self.n_classes, -1, scaled.shape[1])


@dataclass(frozen=True)
class LogitPosterior:
    """Covariances (c, c) of the logits of rows.

    root (c, r) with axes (c, c), for a Kronecker product; root (c, r, m) with axes None, else.
    """

    root: Tensor
    axes: Tensor | None
    precision: float
    logit_scale: float
    temperature: float = 1.0

    def variance(self, phi: Tensor, outside_square: Tensor) -> Tensor:
        r"""(n, c) variances of the logits less their mean over classes, times c / (c - 1).

        The softmax does not see what the logits of a row have in common. Where they are
        independent and of equal variance, the factor gives back that variance.
        """
        c = len(self.root)
        outside = self._scale * outside_square / self.precision
        if self.axes is not None:
            own = self._on_axes(phi, outside_square)
            total = own @ (self.axes - self.axes.mean(dim=0)).square().T
            return total * (c / (c - 1))
        spread = [
            (part - part.mean(dim=1, keepdim=True)).square().sum(dim=2)
            for part in self._factors(phi)
        ]
        return self._scale * torch.cat(spread) * (c / (c - 1)) + outside[:, None]

    def draws(
        self, mean: Tensor, phi: Tensor, outside_square: Tensor, noise: Tensor
    ) -> Iterator[Tensor]:
        """Draws (n, c) around mean (n, c), one for each row of noise (s, c)."""
        if self.axes is not None:
            deviation = self._on_axes(phi, outside_square).sqrt()
            for z in noise.to(mean):
                yield torch.addmm(mean, deviation * z, self.axes.T)
            return
        root = self._symmetric_roots(phi, outside_square)
        for z in noise.to(mean):
            yield mean + root @ z

    @property
    def _scale(self) -> float:
        return self.temperature * self.logit_scale**2

    def _on_axes(self, phi: Tensor, outside_square: Tensor) -> Tensor:
        """(n, c) variances of the logits' components along the axes of B."""
        inside = phi.square() @ self.root.square().T
        return self._scale * (inside + outside_square[:, None] / self.precision)

    def _factors(self, phi: Tensor) -> Iterator[Tensor]:
        """Chunks (n', c, m) whose products with themselves are covariances (c, c)."""
        c, r, m = self.root.shape
        flat = self.root.permute(1, 0, 2).reshape(r, c * m)
        for rows in torch.split(phi, _ROWS_PER_CHUNK):
            yield (rows @ flat).reshape(len(rows), c, m)

    def _symmetric_roots(self, phi: Tensor, outside_square: Tensor) -> Tensor:
        """(n, c, c) symmetric square roots, which follow the classes in any order."""
        covariance = torch.cat([part @ part.mT for part in self._factors(phi)])
        eye = torch.eye(len(self.root), dtype=phi.dtype, device=phi.device)
        covariance = covariance + (outside_square / self.precision)[:, None, None] * eye
        values, vectors = torch.linalg.eigh(self._scale * covariance)
        roots: Tensor = (vectors * values.clamp(min=0.0).sqrt()[:, None, :]) @ vectors.mT
        return roots


@dataclass(frozen=True)
class LaplaceProbeModel(AveragingModel):
    """Weights W (c, d) with a posterior of their logits in `frame`.

    `predictive` is "samples", or "probit" for its closed form.
    """

    W: Tensor
    frame: Frame
    posterior: LogitPosterior
    logit_scale: float
    predictive: str
    averaging: Averaging

    temperature: ClassVar[float] = 1.0

    @property
    def n_classes(self) -> int:
        return len(self.W)

    @property
    def b(self) -> Tensor:
        """(c,) biases: none."""
        return torch.zeros_like(self.W[:, 0])

    def logits(self, X: Tensor) -> Tensor:
        return torch.addmm(self.b, X, self.W.T, alpha=self.logit_scale)

    def draws(
        self, X: Tensor, n_draws: int | None = None, seed: int | None = None
    ) -> Iterator[Tensor]:
        n, seed = self._count_and_seed(n_draws, seed)
        noise = standard_normal(n, self.n_classes, seed)
        return self.posterior.draws(self.logits(X), *self.frame.coordinates(X), noise)

    def log_proba(self, X: Tensor) -> Tensor:
        if self.predictive == "samples":
            return super().log_proba(X)
        return probit(self.logits(X), self.posterior.variance(*self.frame.coordinates(X)))


class EvidenceMode(NamedTuple):
    """A prior precision, the mode there, and how far its logarithm still wanted to move."""

    precision: float
    solution: LinearSolution
    gap: float


def probit(mean: Tensor, variance: Tensor) -> Tensor:
    """Log-probabilities (n, c) of the probit approximation to the average softmax.

    softmax of ``mean / sqrt(1 + pi / 8 variance)``: Gibbs, "Bayesian Gaussian processes for
    regression and classification", PhD thesis, Cambridge 1998, after MacKay's for two classes.
    """
    return torch.log_softmax(mean / (1.0 + math.pi / 8.0 * variance).sqrt(), dim=1)


def log_evidence(log_likelihood: float, values: Tensor, distance: float, precision: float) -> float:
    """Laplace's log marginal likelihood; `values` are eigenvalues of the curvature."""
    occam = 0.5 * float((values.double() / precision).log1p().sum())
    return log_likelihood - 0.5 * precision * distance - occam


def best_precision(values: Tensor, distance: float, logit_scale: float) -> float:
    r"""The precision of the largest evidence at fixed weights.

    The evidence is concave in :math:`t = \log \lambda`, with the slope
    :math:`\frac12 (\sum_i h_i / (h_i + \lambda) - \lambda D)`: effective parameters against
    the squared distance D from the prior mean (MacKay, "Bayesian interpolation", Neural
    Computation 1992).
    """
    values = values.double()
    low, high = (math.log(edge * logit_scale**2) for edge in _BRACKET)
    for _ in range(_BISECTIONS):
        t = 0.5 * (low + high)
        lam = math.exp(t)
        if float((values / (values + lam)).sum()) > lam * distance:
            low = t
        else:
            high = t
        if high - low < 1e-14 * max(1.0, abs(t)):
            break
    return math.exp(0.5 * (low + high))


def evidence_mode(
    problem: LinearProblem,
    span: Span,
    curvature_at: Callable[[Tensor], KroneckerCurvature | DenseCurvature],
    *,
    tol: float,
    max_iter: int,
) -> EvidenceMode:
    """Prior precision and mode such that neither wants to move, given the other.

    MacKay's iteration, mode at a precision, then the best precision at this mode, with
    secant steps in the logarithm of the precision. `curvature_at` takes W (c, d).
    """
    # About 1e-7 in float64, 1e-3 in float32.
    close = torch.finfo(problem.X.dtype).eps ** 0.45
    t = math.log(float(problem.prior_precision[0]))
    start: Tensor | None = None
    earlier: tuple[float, float] | None = None
    for _ in range(_EVIDENCE_STEPS):
        precision = torch.full_like(problem.prior_precision, math.exp(t))
        solution = solve_map(
            replace(problem, prior_precision=precision),
            tol=tol,
            max_iter=max_iter,
            span=span,
            start=start,
        )
        start = solution.coordinates
        distance = float(solution.coordinates.double().square().sum())
        values = curvature_at(solution.W).values
        gap = math.log(best_precision(values, distance, problem.logit_scale)) - t
        best = EvidenceMode(math.exp(t), solution, gap)
        if abs(gap) < close:
            break
        step = gap
        if earlier is not None and earlier[1] != gap:
            secant = -gap * (t - earlier[0]) / (gap - earlier[1])
            # The map moves towards its fixed point; a secant against it is noise.
            step = secant if secant * gap > 0 else gap
        earlier = (t, gap)
        t += max(-_LONGEST_STEP, min(_LONGEST_STEP, step))
    return best


def support_log_likelihood(problem: LinearProblem, W: Tensor) -> float:
    """Weighted log-likelihood of the support rows under weights (c, d)."""
    total = 0.0
    for rows in row_chunks(len(problem.X), problem.n_classes):
        scores = problem.logit_scale * (problem.X[rows] @ W.T)
        weight = problem.sample_weight[rows]
        total -= float(weighted_log_loss(scores, problem.y[rows], weight))
    return total
