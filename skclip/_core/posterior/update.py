"""Learning from more rows: the posterior becomes the prior, and classes may be new."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skclip._core.posterior.block import BlockGaussian, bias_precision
from skclip._core.posterior.fit import (
    PosteriorFit,
    PosteriorSettings,
    Solver,
    single_precision,
)
from skclip._core.posterior.gaussian_model import ClassMeans, GaussianModel
from skclip._core.posterior.laplace import laplace, max_rank
from skclip._core.posterior.variational import GaussianObjective, Observations, maximize_bound
from skclip._core.problem import Problem
from skclip._core.solve import newton
from skclip._core.solve.status import Report

__all__ = ["update"]


def update(
    model: GaussianModel,
    problem: Problem,
    position: Tensor,
    settings: PosteriorSettings,
    solver: Solver,
) -> PosteriorFit:
    """The model after more rows.

    Maximises the likelihood of the rows times the Gaussian that the model is, and adds the
    curvature of the rows to its precision.

    Parameters
    ----------
    model : GaussianModel
        On the device and in the precision of the problem.
    problem : Problem
        New rows only; its prior mean holds the text of all classes, old and new.
    position : Tensor of shape (c_old,)
        Codes, among all classes, of those that the model knows.
    """
    W, b = _means_with_new_classes(model, problem, position)
    batch = _Batch(problem.X, problem.y, problem.sample_weight)
    if _has_new_classes(model, problem, position):
        batch = batch.with_old_means(model, position, W, b)
    frame = model.frame.extended(batch.X)
    prior = _with_new_classes(model, problem, position)
    prior = prior.extended(frame.basis.shape[1] - model.frame.basis.shape[1])
    phi, _ = frame.coordinates(batch.X)
    data = Observations(
        phi=phi,
        outside_square=torch.zeros_like(batch.sample_weight),
        base=torch.addmm(b, batch.X, W.T, alpha=problem.logit_scale),
        y=batch.y,
        sample_weight=batch.sample_weight,
        logit_scale=problem.logit_scale,
        counted=batch.counted,
        linear=None if batch.pull is None else problem.logit_scale * batch.pull.T @ phi,
    )
    point, posterior, report, bound = _step(model, data, prior, settings, solver)
    shift, more = frame.weights(point, problem.logit_scale)
    b = b + more
    updated = replace(
        model,
        W=W + shift,
        b=b - b.mean(),
        b_shift=float(b.mean()),
        frame=frame,
        posterior=single_precision(posterior),
        averaging=settings.averaging,
        prior_precision=_precisions(model, problem, position),
        class_means=ClassMeans.of(problem, model.class_means, position),
    )
    return PosteriorFit(updated, report, [], bound=bound)


@dataclass(frozen=True)
class _Batch:
    """Rows of one call; see Observations for `counted`; pull (n, c) is label minus target."""

    X: Tensor
    y: Tensor
    sample_weight: Tensor
    counted: Tensor | None = None
    pull: Tensor | None = None

    def with_old_means(
        self, model: GaussianModel, position: Tensor, W: Tensor, b: Tensor
    ) -> _Batch:
        """The batch and, as rows, the mean of each class so far, for the sake of new classes.

        The likelihood of an old row is now its old one, which the Gaussian holds, times the
        probability that it is of no new class, which nothing holds: without it a batch of
        new classes alone would claim all rows. Each class mean stands for its rows. Its
        target is the model's own prediction, and only classes without rows so far take
        its curvature, so that nothing is counted twice.
        """
        seen = model.class_means.total > 0
        X, weight = model.class_means.mean[seen], model.class_means.total[seen]
        y = position[seen]
        unknown = torch.ones(len(W), dtype=torch.bool, device=X.device)
        unknown[position] = False
        scores = torch.addmm(b, X, W.T, alpha=model.logit_scale)
        pull = -torch.softmax(scores.masked_fill(unknown, -torch.inf), dim=1)
        pull[torch.arange(len(y), device=X.device), y] += 1.0
        fresh = X.new_ones(len(W))
        fresh[y] = 0.0
        rows = torch.ones_like(self.X[:, :1])
        return _Batch(
            torch.cat([self.X, X]),
            torch.cat([self.y, y]),
            torch.cat([self.sample_weight, weight]),
            torch.cat([rows * torch.ones_like(fresh), fresh.expand(len(X), -1)]),
            torch.cat([rows * torch.zeros_like(fresh), weight[:, None] * pull]),
        )


def _step(
    model: GaussianModel,
    data: Observations,
    prior: BlockGaussian,
    settings: PosteriorSettings,
    solver: Solver,
) -> tuple[Tensor, BlockGaussian, Report, float | None]:
    """New means relative to the old, new precisions, the solver's report and the bound."""
    if settings.kind == "variational" and model.posterior_temperature > 0:
        solution = maximize_bound(
            data,
            prior,
            settings.covariance,
            beta=model.posterior_temperature,
            seed=settings.averaging.seed,
            tol=solver.gradient_tol,
            max_iter=solver.rounds,
            max_rank=max_rank(prior),
        )
        return solution.point, solution.posterior, solution, solution.bound
    minimum = newton.minimize(
        GaussianObjective(data, prior),
        torch.zeros_like(prior.diagonal),
        tol=solver.gradient_tol,
        max_iter=solver.rounds,
    )
    posterior = laplace(data, prior, data.logits(minimum.point), settings.covariance)
    return minimum.point, posterior, minimum, None


# -- classes that the model does not know ---------------------------------------------


def _has_new_classes(model: GaussianModel, problem: Problem, position: Tensor) -> bool:
    """Whether classes are unknown, or announced and in this batch for the first time."""
    if len(position) < problem.n_classes:
        return True
    present = torch.bincount(problem.y, minlength=problem.n_classes) > 0
    return bool((present & (model.class_means.total == 0)).any())


def _precisions(model: GaussianModel, problem: Problem, position: Tensor) -> Tensor:
    """(c,) prior precisions; one value for all classes, unless the user gave several."""
    old = model.prior_precision
    precision = old.log().mean().exp().repeat(problem.n_classes)
    precision[position] = old
    return precision


def _with_new_classes(model: GaussianModel, problem: Problem, position: Tensor) -> BlockGaussian:
    """The posterior so far, with the prior for classes that it does not know."""
    old = model.posterior
    if len(position) == problem.n_classes:
        return old
    lam = _precisions(model, problem, position)
    diagonal = lam[:, None].repeat(1, old.diagonal.shape[1])
    if old.has_bias:
        diagonal[:, -1] = bias_precision(lam, model.bias_variance, problem.logit_scale)
    diagonal[position] = old.diagonal
    outside = lam.clone()
    outside[position] = old.outside
    return replace(old, diagonal=diagonal, outside=outside, owner=position[old.owner])


def _means_with_new_classes(
    model: GaussianModel, problem: Problem, position: Tensor
) -> tuple[Tensor, Tensor]:
    """(W, b) of all classes: a new one has its text and b = 0."""
    W, b = problem.prior_mean.clone(), problem.X.new_zeros(problem.n_classes)
    W[position], b[position] = model.W, model.b + model.b_shift
    return W, b
