"""The linear form of the Bayesian adapter: its mode and its posterior."""

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from skclip._core.linear.clap_prior import clap_precision
from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.metric import support_metric
from skclip._core.linear.objective import LinearProblem, LinearSolution, Span, solve_map
from skclip._core.linear.selection import (
    Hyperprior,
    left_out_weight,
    plain_hyperprior,
    select,
    text_hyperprior,
)
from skclip._core.posterior.block import BlockGaussian, Frame, prior_of
from skclip._core.posterior.draws import standard_normal
from skclip._core.posterior.tempering import (
    POSTERIOR_TEMPERATURES,
    LeftOut,
    Tempering,
    choose,
    left_out_means,
    left_out_variance,
)
from skclip._core.posterior.variational import Observations, maximize_bound, n_bound_draws
from skclip.adapters.linear import warn_unless_converged
from skclip.utils.random_state import integer_seed

__all__ = ["LinearFormMixin", "paper_posterior_temperature"]

_TEXT_BIAS_VARIANCE = 0.1
# Bytes that the posterior of one fit may take, and above which it is stored in float32.
_FACTOR_BYTES = 2**28
_SINGLE_PRECISION_BYTES = 2**26
_SMALLEST_MAX_RANK = 16


@dataclass(frozen=True)
class LinearFit:
    """One problem with its mode, and what leave-one-out needs."""

    problem: LinearProblem
    span: Span
    groups: Groups | None
    hyperprior: Hyperprior
    solution: LinearSolution
    temperature: float


class LinearFormMixin:
    """``_fit_linear`` and the posterior in compact form."""

    def _fit_linear(self, task, group_codes=None, to_be_continued=False):
        """Fit from scratch.

        A mode keeps the diagonal of its precision, which is cheap, for a later partial_fit;
        all of it when `to_be_continued`.
        """
        fit = self._fit_mode(task, group_codes)
        frame = Frame.of(fit.problem, fit.span)
        self.posterior_temperature_ = 0.0
        self._sampling_seed = integer_seed(self.random_state)
        frugal = self.posterior == "map" and not to_be_continued
        self._fit_posterior(fit, frame, "diagonal" if frugal else self._covariance())
        self._class_means = class_means(task)
        if self.posterior != "variational":
            self.n_iter_ = max(1, fit.solution.n_iter)
            self.gradient_norm_ = fit.solution.gradient_norm
        return self

    # -- the mode -------------------------------------------------------------------

    def _fit_mode(self, task, group_codes):
        clap = isinstance(self.prior_precision, str) and self.prior_precision == "clap"
        adaptive = task.prototypes is not None and self.prior_shape == "adaptive" and not clap
        problem = LinearProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=task.prior_mean,
            prior_precision=self._given_precision(task),
            logit_scale=task.logit_scale,
            bias_variance=self._bias_variance(task, adaptive),
            metric=support_metric(task.X, task.y, task.sample_weight, task.prototypes)
            if adaptive
            else None,
        )
        span = Span.of(problem)
        solver = "newton-cg" if self.solver == "auto" else self.solver
        max_iter = self.max_iter or (100 if solver == "newton-cg" else 1000)
        groups = None
        if group_codes is not None:
            codes = torch.tensor(group_codes, dtype=torch.int64, device=task.X.device)
            groups = Groups.of(codes, task.sample_weight)
        hyperprior = plain_hyperprior() if task.prototypes is None else text_hyperprior(problem)
        temperature = None if self.temperature == "auto" else float(self.temperature)
        search = isinstance(self.prior_precision, str) and self.prior_precision == "auto"
        if search or temperature is None:
            choice = select(
                problem,
                span,
                hyperprior=hyperprior,
                search=search,
                temperature=temperature,
                groups=groups,
                tol=self.tol,
                max_iter=max_iter,
                solver=solver,
            )
            solution, temperature = choice.solution, choice.temperature
            problem = replace(problem, prior_precision=choice.prior_precision)
            self.loo_log_likelihood_ = choice.log_likelihood
            if search:
                distance, candidate_temperature, loss = np.array(choice.tried).T
                self.loo_results_ = {
                    "prior_precision": hyperprior.precision * np.exp(distance),
                    "temperature": candidate_temperature,
                    "log_posterior": -loss,
                }
        else:
            solution = solve_map(problem, tol=self.tol, max_iter=max_iter, solver=solver, span=span)
        self.prior_precision_ = problem.prior_precision.cpu().numpy()
        warn_unless_converged(solution, self.tol)
        return LinearFit(problem, span, groups, hyperprior, solution, temperature)

    def _bias_variance(self, task, adaptive):
        """Prior variance of the bias at the support mean, in units of that of a weight."""
        if self.fit_intercept == "auto":
            if task.prototypes is None:
                return np.inf
            return _TEXT_BIAS_VARIANCE if adaptive else 0.0
        return np.inf if self.fit_intercept else 0.0

    def _given_precision(self, task):
        """(c,) prior precisions; ones where they are to be searched."""
        c = task.n_classes
        if isinstance(self.prior_precision, str):
            if self.prior_precision == "auto":
                return task.X.new_ones(c)
            unit = torch.nn.functional.normalize(task.prior_mean, dim=1)
            scores = task.logit_scale * (task.X @ unit.T)
            return clap_precision(scores, task.y, task.sample_weight)
        values = np.asarray(self.prior_precision, dtype=np.float64)
        if values.shape not in ((), (c,)):
            raise ValueError(
                "prior_precision must be a number or have one entry per class, shape "
                f"({c},); got shape {values.shape}."
            )
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(
                f"prior_precision must be positive and finite; got a smallest entry of "
                f"{values.min():g} and a largest of {values.max():g}."
            )
        return torch.tensor(
            np.broadcast_to(values, (c,)).copy(), dtype=task.X.dtype, device=task.X.device
        )

    # -- the posterior --------------------------------------------------------------

    def _covariance(self):
        return "full" if self.covariance == "auto" else self.covariance

    def _fit_posterior(self, fit, frame, kind):
        """Posterior around the mode, or the variational one; its temperature; store both."""
        problem = fit.problem
        prior = prior_of(problem, fit.span)
        phi, _ = frame.coordinates(problem.X)
        data = Observations(
            phi=phi,
            # The rows span the frame.
            outside_square=torch.zeros_like(phi[:, 0] if phi.shape[1] else problem.X[:, 0]),
            base=problem.logit_scale * (problem.X @ problem.prior_mean.T),
            y=problem.y,
            sample_weight=problem.sample_weight,
            logit_scale=problem.logit_scale,
        )
        if self.posterior == "variational":
            point, posterior, tempering = self._fit_variational(fit, data, prior)
        else:
            point = fit.solution.coordinates
            posterior = laplace(data, prior, point, kind)
            tempering = None
            if self.posterior == "laplace":
                left_out = partial(self._left_out_laplace, fit, data, prior, point, posterior)
                tempering = self._tempering(fit, left_out, self._temperatures(data))
        if tempering is not None:
            self.posterior_temperature_ = tempering.posterior_temperature
            if not math.isnan(tempering.log_likelihood):
                self.loo_log_likelihood_ = tempering.log_likelihood
        temperature = fit.temperature if tempering is None else tempering.temperature
        shift, b = frame.weights(point, problem.logit_scale)
        self._store_linear(problem.prior_mean + shift, b - b.mean(), temperature)
        self._store_posterior(frame, posterior, float(b.mean()))

    def _temperatures(self, data):
        """Candidates for the posterior temperature: one, unless it is "auto"."""
        if self.posterior_temperature == "auto":
            return POSTERIOR_TEMPERATURES
        if self.posterior_temperature == "paper":
            c, d = len(self.classes_), self.n_features_in_
            return (paper_posterior_temperature(float(data.sample_weight.sum()), c, d),)
        return (float(self.posterior_temperature),)

    def _tempering(self, fit, left_out, candidates):
        """The candidate that predicts the left-out rows best; `left_out` makes their logits."""
        if len(candidates) == 1 and self.temperature != "auto":
            return Tempering(math.nan, candidates[0], fit.temperature, math.nan)
        scores, variance = left_out()
        left = LeftOut(
            scores=scores,
            variance=variance,
            y=fit.problem.y,
            weight=left_out_weight(fit.problem, fit.groups),
            sample_weight=fit.problem.sample_weight,
        )
        n, c = scores.shape
        n_draws = min(self.n_posterior_samples, n_bound_draws(n, c))
        return choose(
            left,
            standard_normal(n_draws, c, self._sampling_seed),
            candidates,
            temperature=fit.temperature,
            free=self.temperature == "auto",
            hyperprior=fit.hyperprior,
            what=self.average,
        )

    def _left_out_laplace(self, fit, data, prior, point, posterior):
        scores = data.logits(point)
        P = torch.softmax(scores, dim=1)
        curvature = data.sample_weight[:, None] * P * (1 - P)
        variance = self._left_out_variance(fit, data, prior, posterior, curvature)
        return left_out_logits(fit.problem, fit.span, scores, groups=fit.groups), variance

    def _left_out_variational(self, fit, data, prior, solution):
        influence = solution.posterior
        if self._covariance() != "full":
            influence = data.absorbed_by(
                prior, solution.curvature, "full", max_rank=max_rank(prior)
            )
        force = -solution.probabilities
        force[torch.arange(len(force), device=force.device), data.y] += 1.0
        scores = left_out_means(
            data.logits(solution.point),
            data.logit_variance(influence),
            solution.curvature,
            data.sample_weight[:, None] * force,
            data.sample_weight,
            fit.groups,
        )
        variance = self._left_out_variance(fit, data, prior, solution.posterior, solution.curvature)
        return scores, variance

    def _left_out_variance(self, fit, data, prior, posterior, curvature):
        return left_out_variance(
            data.logit_variance(posterior),
            curvature,
            data.logit_variance(prior),
            data.sample_weight,
            fit.groups,
        )

    def _fit_variational(self, fit, data, prior):
        """Mean, precisions and tempering of the best bound; warm starts from the mode."""
        mode = fit.solution
        point, best = mode.coordinates, None
        for beta in self._temperatures(data):
            if beta == 0:
                # The bound's limit when the spread vanishes is the log posterior of the mode.
                posterior = laplace(data, prior, point, self._covariance())
                found = (point, posterior, -mode.objective, mode)
                left_out = partial(self._left_out_laplace, fit, data, prior, point, posterior)
            else:
                solution = maximize_bound(
                    data,
                    prior,
                    self._covariance(),
                    beta=beta,
                    seed=self._sampling_seed,
                    tol=self.tol,
                    max_iter=self.max_iter or 100,
                    start=point,
                    max_rank=max_rank(prior),
                )
                warn_unless_converged(solution, self.tol)
                point = solution.point
                found = (point, solution.posterior, solution.bound, solution)
                left_out = partial(self._left_out_variational, fit, data, prior, solution)
            tempering = self._tempering(fit, left_out, (beta,))
            if best is None or tempering.loss < best[1].loss:
                best = (found, tempering)
        (point, posterior, self.elbo_, solution), tempering = best
        self.n_iter_ = max(1, solution.n_iter)
        self.gradient_norm_ = solution.gradient_norm
        return point, posterior, tempering

    def _store_posterior(self, frame, posterior, intercept_shift):
        """Frame and precisions as arrays, and the constant that intercept_ lacks."""
        tensors = {
            "basis": frame.basis,
            "centre": frame.centre,
            "diagonal": posterior.diagonal,
            "outside": posterior.outside,
            "factor": posterior.factor,
            "owner": posterior.owner,
        }
        if frame.metric is not None:
            tensors["metric"] = frame.metric
        state = {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}
        if state["factor"].nbytes > _SINGLE_PRECISION_BYTES:
            state["factor"] = state["factor"].astype(np.float32)
        self.posterior_precision_ = state
        self._intercept_shift = intercept_shift
        isotropic = self.posterior != "map" and self._covariance() == "isotropic"
        if isotropic and frame.metric is None:
            std = (self.posterior_temperature_ / posterior.outside).sqrt()
            self.posterior_std_ = std.cpu().numpy()

    def _load_posterior(self, dtype, device):
        """(Frame, BlockGaussian) from the stored arrays."""

        def tensor(name):
            array = self.posterior_precision_[name]
            return torch.tensor(array, dtype=None if name == "owner" else dtype, device=device)

        d, r = self.posterior_precision_["basis"].shape
        has_bias = self.posterior_precision_["diagonal"].shape[1] > r
        metric = tensor("metric") if "metric" in self.posterior_precision_ else None
        frame = Frame(tensor("basis"), metric, tensor("centre"), has_bias)
        posterior = BlockGaussian(
            diagonal=tensor("diagonal"),
            outside=tensor("outside"),
            n_outside=d - r,
            factor=tensor("factor"),
            owner=tensor("owner"),
            has_bias=has_bias,
        )
        return frame, posterior

    # -- prediction -----------------------------------------------------------------

    def _linear_std(self, X, posterior_temperature):
        """(n, c) standard deviations of the logits before the temperature divides them."""
        frame, posterior = self._load_posterior(X.dtype, X.device)
        variance = posterior.variance(*frame.coordinates(X))
        return self.logit_scale_ * (posterior_temperature * variance).sqrt()


def laplace(data, prior, point, kind):
    """Precisions from the curvature p (1 - p) at a mode."""
    P = torch.softmax(data.logits(point), dim=1)
    curvature = data.sample_weight[:, None] * P * (1 - P)
    return data.absorbed_by(prior, curvature, kind, max_rank=max_rank(prior))


def class_means(task, before=None, position=None):
    """Mean (c, d) and total weight (c,) of the rows of each class, with those `before`."""
    c, d = task.n_classes, task.X.shape[1]
    total, sums = task.X.new_zeros(c), task.X.new_zeros(c, d)
    total.index_add_(0, task.y, task.sample_weight)
    sums.index_add_(0, task.y, task.sample_weight[:, None] * task.X)
    total, sums = total.cpu().numpy(), sums.cpu().numpy()
    if before is not None:
        total[position] += before["total"]
        sums[position] += before["total"][:, None] * before["mean"]
    mean = sums / np.where(total > 0, total, 1.0)[:, None]
    return {"mean": mean, "total": total}


def max_rank(prior):
    """Directions per class that fit the budget of memory: 256 MiB for all classes."""
    c, r = prior.diagonal.shape
    row = max(1, c * r * prior.diagonal.element_size())
    return max(_SMALLEST_MAX_RANK, _FACTOR_BYTES // row)


def paper_posterior_temperature(total_weight, n_classes, n_features):
    """The paper recipe's weight of the divergence, without its ramp over epochs."""
    return total_weight / (500.0 * n_classes * n_features)
