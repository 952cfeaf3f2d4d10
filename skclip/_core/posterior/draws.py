r"""Averages over draws of the logits, and the parts of predictive uncertainty.

Logits are drawn, never weights: under a Gaussian posterior the logit of class c at x is
:math:`N(\mu_c(x), v_c(x))`, independent over classes. One set of standard normal numbers
(s, c) serves every row, so that a row's prediction depends on nothing else in its batch.
That is a posterior sample at each row by itself; draws at two rows are not jointly a
sample of one function.

The entropy H of the averaged probabilities is the sum of the average entropy of a draw
(aleatoric: the classes overlap here) and the mutual information of label and weights
(epistemic: more labels would help); Houlsby et al., "Bayesian active learning for
classification and preference learning", arXiv 1112.5745.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Decomposition", "RowDraws", "average", "decompose", "logit_draws", "standard_normal"]

_SOBOL_MAX_DIMENSION = torch.quasirandom.SobolEngine.MAXDIM
_SMALLEST_UNIFORM = 2.0**-31
# Numbers of all draws up to which they are kept, and of those that are handed out at once.
_KEPT, _BLOCK = 2**25, 2**20


class Decomposition(NamedTuple):
    """Of every row (n,): largest averaged probability, and three entropies in nats."""

    confidence: Tensor
    entropy: Tensor
    aleatoric: Tensor
    epistemic: Tensor


def standard_normal(n_samples: int, dimension: int, seed: int) -> Tensor:
    """(s, dimension) float64 standard normal draws on the CPU, spread evenly.

    Scrambled Sobol points, each followed by its negative: a draw by itself is exactly
    standard normal, an even number of draws has mean zero, and averages are nearer to
    their limit than those of independent draws.
    """
    half = (n_samples + 1) // 2
    if dimension <= _SOBOL_MAX_DIMENSION:
        engine = torch.quasirandom.SobolEngine(  # type: ignore[no-untyped-call]
            dimension, scramble=True, seed=seed
        )
        uniform = engine.draw(half, dtype=torch.float64)
        uniform = uniform.clamp(_SMALLEST_UNIFORM, 1.0 - _SMALLEST_UNIFORM)
        z = torch.special.ndtri(uniform)
    else:
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(half, dimension, generator=generator, dtype=torch.float64)
    return torch.stack([z, -z], dim=1).flatten(0, 1)[:n_samples]


@dataclass
class RowDraws:
    """Standard normal draws (s, n, c) from a seed, in pairs z, -z; `n_draws` must be even.

    Rows of different kinds have independent draws, those of one kind the same: what a fit learns
    from draws that all rows share fits these draws. They are the same at every use, and are made
    again where they are too many to keep.
    """

    n_draws: int
    kind: Tensor  # (n,), of every row, counted from 0
    n_classes: int
    seed: int
    _kept: list[Tensor] | None = field(default=None, repr=False)

    def blocks(self, like: Tensor) -> Iterator[Tensor]:
        """All draws in blocks (k, n, c), in the precision and on the device of `like`."""
        if self._kept is not None:
            yield from self._kept
            return
        size = len(self.kind) * self.n_classes
        pairs = max(1, _BLOCK // (2 * size))
        shape = int(self.kind.max()) + 1, self.n_classes
        generator = torch.Generator().manual_seed(self.seed)
        kept: list[Tensor] | None = [] if self.n_draws * size <= _KEPT else None
        for start in range(0, self.n_draws // 2, pairs):
            count = min(pairs, self.n_draws // 2 - start)
            # Drawn in one type everywhere, so that precision does not change the numbers.
            half = torch.randn(count, *shape, generator=generator).to(like)[:, self.kind]
            block = torch.cat([half, -half])
            if kept is not None:
                kept.append(block)
            yield block
        self._kept = kept


def logit_draws(mean: Tensor, std: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """Draws (n, c), one at a time, from mean (n, c), std (n, c) and noise (s, c)."""
    for z in noise.to(mean):
        yield torch.addcmul(mean, std, z)


def average(draws: Iterable[Tensor], what: str = "probabilities") -> Tensor:
    """Log-probabilities (n, c) of the averaged "probabilities" or "logits" of the draws."""
    total, count = None, 0
    for scores in draws:
        term = scores if what == "logits" else torch.log_softmax(scores, dim=1)
        if total is None:
            total = term
        elif what == "logits":
            total = total + term
        else:
            total = torch.logaddexp(total, term)
        count += 1
    if total is None:
        raise ValueError("At least one draw is needed to average; got none.")
    # Of probabilities the sum over classes is the count, up to the rounding of as many sums.
    return torch.log_softmax(total / count if what == "logits" else total, dim=1)


def decompose(draws: Iterable[Tensor]) -> Decomposition:
    """Uncertainty of the averaged probabilities of the draws."""
    total, aleatoric, count = torch.zeros(()), torch.zeros(()), 0
    for scores in draws:
        log_proba = torch.log_softmax(scores, dim=1)
        proba = log_proba.exp()
        # 0 log 0 = 0, also where the logarithm is minus infinity.
        spread = -(proba * log_proba.clamp(min=torch.finfo(proba.dtype).min)).sum(dim=1)
        total, aleatoric = (proba, spread) if count == 0 else (total + proba, aleatoric + spread)
        count += 1
    if not count:
        raise ValueError("At least one draw is needed to average; got none.")
    proba, aleatoric = total / count, aleatoric / count
    entropy = torch.special.entr(proba).sum(dim=1)
    # Concavity makes the difference non-negative; rounding may not.
    epistemic = (entropy - aleatoric).clamp(min=0.0) if count > 1 else torch.zeros_like(entropy)
    return Decomposition(proba.amax(dim=1), aleatoric + epistemic, aleatoric, epistemic)
