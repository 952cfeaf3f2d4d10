"""What a solver returns: where it stopped, why, and how good that is."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Minimum", "Report", "Status", "dot"]


class Status(enum.Enum):
    """Why the solver stopped; the value is the message."""

    CONVERGED = "the certificate is at most tol"
    STOPPED = "the caller's own test was met before the certificate fell below tol"
    MAX_ITER = "max_iter was reached before the certificate fell below tol"
    PRECISION = "no further decrease is possible in this floating-point precision"


class Report(Protocol):
    """What is told of a solver: the certificate of its result, iterations, why it ended."""

    @property
    def gradient_norm(self) -> float: ...
    @property
    def n_iter(self) -> int: ...
    @property
    def status(self) -> Status: ...


@dataclass(frozen=True)
class Minimum:
    """Where the solver stopped, and how good that is; gradient_norm is the caller's certificate."""

    point: Tensor
    objective: float
    gradient_norm: float
    n_iter: int
    status: Status


def dot(left: Tensor, right: Tensor) -> float:
    """Inner product of two tensors of one shape."""
    return float(torch.dot(left.flatten(), right.flatten()))
