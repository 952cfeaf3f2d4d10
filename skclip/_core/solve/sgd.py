"""The stochastic-gradient recipes of the field's comparisons.

The common one: momentum 0.9, batches of 256 in a fresh shuffle per epoch, cosine decay of
the learning rate per epoch, a first epoch at a very small rate, and the last iterate as
the result. Some methods were published with Adam or AdamW instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Recipe", "train"]


@dataclass(frozen=True)
class Recipe:
    """Settings of a recipe; the defaults are those of the BayesAdapter paper's code.

    `optimizer` is "sgd" (with `momentum`), "adam" or "adamw" (with `eps`); `warmup_rate`,
    the rate of the first epoch, is None for no warm-up.
    """

    epochs: int = 300
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup_rate: float | None = 1e-5
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    eps: float = 1e-8

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if epoch == 0 and self.warmup_rate is not None:
            return self.warmup_rate
        return 0.5 * self.learning_rate * (1.0 + math.cos(math.pi * epoch / self.epochs))


def train(
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor, int], Tensor],
    n_samples: int,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    callback: Callable[[int, float], None] | None = None,
) -> float:
    """Minimise ``loss(rows, epoch)`` in place; returns the mean loss of the last epoch.

    Parameters
    ----------
    parameters : sequence of Tensor
        Leaves that require gradients; changed in place.
    loss : callable
        (row indices of a batch, epoch from 0) -> scalar Tensor.
    callback : callable, optional
        Called with (epoch, mean loss) after every epoch.

    Notes
    -----
    An epoch is ``max(1, floor(n / batch_size))`` batches, as in the field's code: rows
    that do not fill a last batch wait for another epoch's shuffle.
    """
    optimizer = _optimizer(parameters, recipe)
    device = parameters[0].device
    n_batches = max(1, n_samples // recipe.batch_size)
    mean_loss = math.nan
    for epoch in range(recipe.epochs):
        optimizer.param_groups[0]["lr"] = recipe.rate(epoch)
        order = torch.randperm(n_samples, generator=generator).to(device)
        running = 0.0
        for index in range(n_batches):
            rows = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            optimizer.zero_grad(set_to_none=True)
            value = loss(rows, epoch)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            running += float(value.detach())
        mean_loss = running / n_batches
        if callback is not None:
            callback(epoch, mean_loss)
    return mean_loss


def _optimizer(parameters: Sequence[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            list(parameters), lr=rate, momentum=recipe.momentum, weight_decay=decay
        )
    method = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return method(list(parameters), lr=rate, eps=recipe.eps, weight_decay=decay)
