"""Linear weights that start at the text: a convex problem to its optimum, or a recipe."""

from typing import Any

import torch
from torch.nn import functional as F

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import LinearSolution, solve_map
from skclip._core.model import LinearModel
from skclip._core.posterior.cosine import CosineProblem
from skclip._core.problem import Problem
from skclip.adapters.base import warn_unless_converged
from skclip.prompts import RAW_TEXT_NORM
from skclip.utils.messages import listing

__all__ = [
    "ITERATIONS",
    "convergence",
    "cosine_model",
    "cosine_problem",
    "linear_model",
    "raw_start",
    "solve_convex",
    "start_at",
]

# Solvers of convex problems, and their iterations where max_iter is None.
ITERATIONS = {"lbfgs": 1000, "newton-cg": 100}


def solve_convex(
    problem: LinearProblem, solver: str, max_iter: int | None, tol: float
) -> tuple[LinearModel, dict[str, Any]]:
    """The model at the optimum, and the attributes: how good that is, and what pulled it."""
    solution = solve_map(problem, tol=tol, max_iter=max_iter or ITERATIONS[solver], solver=solver)
    warn_unless_converged(solution, tol)
    fitted = convergence(solution) | {"prior_precision_": problem.prior_precision}
    return linear_model(problem, solution.W, solution.b), fitted


def convergence(solution: LinearSolution) -> dict[str, Any]:
    return {"n_iter_": max(1, solution.n_iter), "gradient_norm_": solution.gradient_norm}


def linear_model(problem: Problem, W: torch.Tensor, b: torch.Tensor | None = None) -> LinearModel:
    """Weights (c, d), and biases (c,) or none, at the logit scale of the problem."""
    return LinearModel(W, torch.zeros_like(W[:, 0]) if b is None else b, problem.logit_scale)


def start_at(problem: Problem, prototype_norm: float | None) -> torch.Tensor:
    """(c, d) prototypes as a recipe starts from them, of norm `prototype_norm`."""
    if prototype_norm is None:
        return problem.prior_mean
    norms = problem.prior_mean.norm(dim=1, keepdim=True)
    return problem.prior_mean * (prototype_norm / norms)


def raw_start(problem: Problem, prototype_norm: float | None) -> torch.Tensor:
    """(c, d) prototypes at the norm of raw text embeddings.

    That is `prototype_norm`, or their own; 8.8 where `prototype_norm` is None and their own
    is 1.
    """
    norms = problem.prior_mean.norm(dim=1)
    zero = (norms == 0).nonzero().flatten().tolist()
    if zero:
        raise ValueError(
            "Rows of prototypes must not be zero, as their direction is the start; got zeros "
            f"in row(s) {listing(zero)}. Drop these classes, or give them a prototype."
        )
    if prototype_norm is None and bool(((norms - 1).abs() < 1e-2).all()):
        return RAW_TEXT_NORM * problem.prior_mean
    return start_at(problem, prototype_norm)


def cosine_problem(problem: Problem, prototype_norm: float | None) -> CosineProblem:
    """Rows and start of a recipe on cosine logits."""
    start = raw_start(problem, prototype_norm)
    return CosineProblem.of(problem, prior_mean=start, prior_std=torch.ones_like(start[:, 0]))


def cosine_model(problem: Problem, W: torch.Tensor) -> LinearModel:
    """A recipe's last iterate on cosine logits, as linear logits of unit weights."""
    return linear_model(problem, F.normalize(W, dim=1))
