"""What classifiers share whose weights start at the text and stay near it."""

import torch
from torch.nn import functional as F

from skclip._core.linear.objective import solve_map
from skclip._core.posterior.cosine import CosineProblem
from skclip.adapters.linear import warn_unless_converged
from skclip.adapters.recipe import RecipeMixin
from skclip.prompts import RAW_TEXT_NORM
from skclip.utils.messages import listing

__all__ = ["TextAnchorMixin"]

# Solvers of the convex problems, and their iterations where max_iter is None.
_ITERATIONS = {"lbfgs": 1000, "newton-cg": 100}


class TextAnchorMixin(RecipeMixin):
    """Two ways to fit: a convex problem to its optimum, or a recipe on cosine logits.

    A subclass has the parameters of RecipeMixin and `prototypes`, `solver` and `tol`.
    """

    def _prepare_near_text(self, X, y, sample_weight):
        """The Task, after checking that there is text."""
        if self.prototypes is None:
            raise ValueError(
                f"{type(self).__name__} starts at the text prototypes; got prototypes=None. Pass "
                "an array, Prototypes or ClassPrompts."
            )
        return self._prepare(X, y, sample_weight)

    @property
    def _is_convex(self):
        """Whether `solver` takes a convex problem to its optimum, rather than a recipe."""
        return self.solver in _ITERATIONS

    def _raw_start(self, task):
        """(c, d) prototypes at the norm of raw text embeddings.

        That is `prototype_norm`, or their own; 8.8 where `prototype_norm` is None and
        their own is 1.
        """
        norms = task.prior_mean.norm(dim=1)
        zero = (norms == 0).nonzero().flatten().tolist()
        if zero:
            raise ValueError(
                "Rows of prototypes must not be zero, as their direction is the start; got zeros "
                f"in row(s) {listing(zero)}. Drop these classes, or give them a prototype."
            )
        if self.prototype_norm is None and bool(((norms - 1).abs() < 1e-2).all()):
            return RAW_TEXT_NORM * task.prior_mean
        return self._start(task)

    def _fit_optimum(self, problem):
        """Solve a convex LinearProblem and store its solution."""
        max_iter = self.max_iter or _ITERATIONS[self.solver]
        solution = solve_map(problem, tol=self.tol, max_iter=max_iter, solver=self.solver)
        warn_unless_converged(solution, self.tol)
        self._store_linear(solution.W)
        self.n_iter_ = max(1, solution.n_iter)
        self.gradient_norm_ = solution.gradient_norm
        return self

    def _cosine_problem(self, task):
        """Rows and start of a recipe on cosine logits."""
        start = self._raw_start(task)
        return CosineProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=start,
            prior_std=torch.ones_like(start[:, 0]),
            logit_scale=task.logit_scale,
        )

    def _store_trained(self, W, recipe, *, cosine=True):
        """Store the last iterate of a recipe, of unit rows where logits are cosines."""
        self._store_linear(F.normalize(W, dim=1) if cosine else W)
        self.n_iter_ = recipe.epochs
        # An earlier fit of this object may have had a certificate.
        vars(self).pop("gradient_norm_", None)
        return self
