"""The prior of the linear form: its shape, its bias, and a precision where one is given."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from skclip._core.linear.clap_prior import zero_shot_precision
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.metric import support_metric, whitening_metric
from skclip._core.problem import Problem

__all__ = ["with_prior"]

# Of the bias at the support's mean, in units of a weight's: a text needs little.
_TEXT_BIAS_VARIANCE = 0.1


def with_prior(
    problem: Problem,
    precision: Tensor | Literal["auto", "clap"],
    *,
    adaptive: bool,
    fit_intercept: bool | None,
) -> LinearProblem:
    """The problem with its prior; where the precision is "auto" it is 1 until it is chosen.

    Parameters
    ----------
    precision : Tensor of shape (c,), "auto" or "clap"
        "clap" is the prior whose mode is CLAP's optimum: isotropic and without a bias.
    adaptive : bool
        Shape the prior by the support set and the text.
    fit_intercept : bool or None
        A bias without prior, none, or (None) what suits the shape.
    """
    adaptive = adaptive and precision != "clap"
    if isinstance(precision, Tensor):
        lam = precision
    elif precision == "clap":
        lam = zero_shot_precision(problem)
    else:
        lam = problem.X.new_ones(problem.n_classes)
    metric, scatter_share = None, 0.0
    rows = problem.X, problem.y, problem.sample_weight
    if adaptive and problem.has_text:
        metric = support_metric(*rows, problem.prior_mean)
    elif adaptive:
        metric, scatter_share = whitening_metric(*rows, problem.n_classes)
    return LinearProblem.of(
        problem,
        prior_precision=lam,
        bias_variance=_bias_variance(fit_intercept, problem.has_text, adaptive),
        metric=metric,
        scatter_share=scatter_share,
    )


def _bias_variance(fit_intercept: bool | None, has_text: bool, adaptive: bool) -> float:
    """Prior variance of the bias at the support mean, in units of that of a weight."""
    if fit_intercept is not None:
        return math.inf if fit_intercept else 0.0
    if not has_text:
        return math.inf
    return _TEXT_BIAS_VARIANCE if adaptive else 0.0
