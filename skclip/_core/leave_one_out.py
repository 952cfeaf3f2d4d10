r"""Leave-one-out logits without refitting.

With :math:`p` the fitted probabilities, :math:`h = p (1 - p)` and the block-diagonal
Laplace covariance :math:`\Sigma_c = (\lambda_c I + \tau^2 X^\top \mathrm{diag}(a h_c) X)^{-1}`,
one Newton step away from the row gives (Rad and Maleki, "A scalable estimate of the
out-of-sample prediction error via approximate leave-one-out cross-validation", JRSS B 2020,
applied class by class)

.. math::
    z^{\mathrm{loo}}_{nc} = z_{nc} - \frac{m_n q_{nc} (y_{nc} - p_{nc})}{1 - m_n h_{nc} q_{nc}},
    \qquad q_{nc} = \tau^2 x_n^\top \Sigma_c x_n .

A row of weight a > 1 stands for a rows, of which one is left out (m = min(a, 1)), so
that a weight of two and the row twice mean the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skclip._core.linear import LinearProblem, Span

__all__ = ["leave_one_out_logits", "leverage", "fit_log_temperature", "weighted_log_loss"]

# The Newton step divides by 1 - h q, which rounding can bring to 0 or below.
_SMALLEST_REMAINDER = 1e-3
_BYTES_PER_CHUNK = 256 * 2**20


def leverage(problem: LinearProblem, span: Span, H: Tensor) -> Tensor:
    """q (n, c): posterior variance of every logit of every row, block-diagonal Laplace.

    `H` (n, c) is the curvature ``a p (1 - p)``. Time O(c n r min(n, r)), memory bounded
    by a chunk of classes.
    """
    Z, lam = span.Z, problem.prior_precision
    if problem.fit_intercept:
        Z = torch.cat([Z, torch.ones_like(Z[:, :1])], dim=1)
    n, r = Z.shape
    q = torch.empty_like(H)
    ridge = torch.ones(r, dtype=Z.dtype, device=Z.device)
    jitter = torch.finfo(Z.dtype).eps * problem.logit_scale**2 * H.sum(0).max()
    if problem.fit_intercept:
        ridge[-1] = 0.0
    chunk = max(1, int(_BYTES_PER_CHUNK // (Z.element_size() * r * (n + r))))
    for first in range(0, H.shape[1], chunk):
        part = slice(first, first + chunk)
        weighted = H[:, part].T.clamp(min=0).sqrt()[:, :, None] * (problem.logit_scale * Z)
        S = weighted.mT @ weighted  # (chunk, r, r)
        S += torch.diag_embed(lam[part, None] * ridge + jitter)
        factor = torch.linalg.cholesky(S)
        solved = torch.linalg.solve_triangular(factor, Z.T.expand(len(S), r, n), upper=False)
        q[:, part] = problem.logit_scale**2 * solved.square().sum(dim=1).T
    return q


def leave_one_out_logits(
    scores: Tensor, P: Tensor, q: Tensor, y: Tensor, sample_weight: Tensor
) -> Tensor:
    """z_loo (n, c) from the fitted logits, probabilities and leverages."""
    residual = -P.clone()
    residual[torch.arange(len(y), device=y.device), y] += 1.0
    moved = sample_weight.clamp(max=1.0)[:, None] * q
    remainder = (1.0 - moved * P * (1.0 - P)).clamp(min=_SMALLEST_REMAINDER)
    return scores - moved * residual / remainder


def weighted_log_loss(scores: Tensor, y: Tensor, sample_weight: Tensor) -> Tensor:
    """Sum over rows of a_n times the negative log-likelihood."""
    loss = torch.nn.functional.cross_entropy(scores, y, reduction="none")
    return torch.dot(sample_weight, loss)


def fit_log_temperature(
    scores: Tensor,
    y: Tensor,
    sample_weight: Tensor,
    *,
    centre: float,
    width: float,
    max_iter: int = 50,
) -> tuple[float, float]:
    """Temperature that minimises the log-loss of ``scores / T``, with a weak prior.

    Returns (log T, penalised loss), the minimum over u = -log T of
    ``sum_n a_n loss_n(exp(u) z_n) + ((u + centre) / width)^2 / 2``, by a Newton iteration
    on u that is safeguarded by bisection.
    """
    low, high = -5.0, 5.0
    u = -centre
    z = scores - scores.amax(dim=1, keepdim=True)
    chosen = z.gather(1, y[:, None]).squeeze(1)
    for _ in range(max_iter):
        beta = float(torch.tensor(u, dtype=torch.float64).exp())
        P = torch.softmax(beta * z, dim=1)
        mean = (P * z).sum(dim=1)
        variance = (P * z.square()).sum(dim=1) - mean.square()
        first = beta * float(torch.dot(sample_weight, mean - chosen))
        slope = first + (u + centre) / width**2
        curvature = beta**2 * float(torch.dot(sample_weight, variance)) + 1.0 / width**2
        # d2/du2 has the extra term `first`; leaving it out keeps the step a descent step.
        low, high = (u, high) if slope < 0 else (low, u)
        new = u - slope / curvature
        new = new if low < new < high else 0.5 * (low + high)
        if abs(new - u) < 1e-10:
            break
        u = new
    beta = float(torch.tensor(u, dtype=torch.float64).exp())
    loss = float(weighted_log_loss(beta * z, y, sample_weight))
    return -u, loss + 0.5 * ((u + centre) / width) ** 2
