"""What a solver returns: where it stopped, why, and how good that is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Minimum", "Status", "dot"]


class Status(enum.Enum):
    """Why the solver stopped; the value is the message."""

    CONVERGED = "the certificate is at most tol"
    STOPPED = "the caller's own test was met before the certificate fell below tol"
    MAX_ITER = "max_iter was reached before the certificate fell below tol"
    PRECISION = "no further decrease is possible in this floating-point precision"


@dataclass(frozen=True)
class Minimum:
    """Where the solver stopped, and how good that is."""

    point: Tensor
    objective: float
    certificate: float
    n_iter: int
    status: Status


def dot(left: Tensor, right: Tensor) -> float:
    """Inner product of two tensors of one shape."""
    return float((left * right).sum())
