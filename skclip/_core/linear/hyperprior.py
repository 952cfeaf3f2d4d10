r"""What precision and temperature are likely before any row is left out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from skclip._core.linear import learned_hyperprior
from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.temperature_scaling import weighted_log_loss

__all__ = ["Hyperprior", "describe", "plain_hyperprior", "text_hyperprior"]

# Log-loss of a good text, as a share of that of guessing.
_TYPICAL_LOSS = 0.09
# By which the text's own fit is shrunk towards that of a good text.
_PSEUDO_ROWS = 10.0
# Log precisions that the learned coefficients may lead to: those of the tasks they saw.
_LOG_PRECISION_RANGE = (math.log(3.0), math.log(3000.0))


@dataclass(frozen=True)
class Hyperprior:
    """The precision, and centre and width of the log temperature.

    `lone_row_weight` is the weight of a left-out row that is alone in its class.
    """

    precision: float
    log_temperature: float = 0.0
    temperature_width: float = 0.1
    lone_row_weight: float = 0.0


def describe(
    problem: LinearProblem, n_views: float = 1.0, prior_logits: Tensor | None = None
) -> dict[str, float]:
    r"""What the hyperprior knows of a task, by name.

    - ``log_classes``: :math:`\log(c / 30)`;
    - ``log_shots``: log of the weight of the rows per class;
    - ``log_text_loss``: log of the zero-shot loss of the support rows over that of a good text,
      :math:`\log(\ell / 0.09 \log c)`, shrunk towards 0 by ten pseudo-rows;
    - ``log_views``: :math:`\log_{10}` of the number of views that a row is the mean of.

    `prior_logits` (n, c) are the problem's, where they are known.
    """
    c = len(problem.prior_mean)
    a = problem.sample_weight
    total = float(a.sum())
    share = total / (total + _PSEUDO_ROWS)
    scores = problem.prior_logits() if prior_logits is None else prior_logits
    typical = _TYPICAL_LOSS * math.log(max(c, 2))
    loss = float(weighted_log_loss(scores, problem.y, a)) / max(total, 1e-300)
    return {
        "intercept": 1.0,
        "log_classes": math.log(c / 30),
        "log_shots": math.log(max(total / c, 1e-3)),
        "log_text_loss": math.log(share * loss / typical + 1.0 - share),
        "log_views": math.log10(n_views),
    }


def text_hyperprior(
    problem: LinearProblem, n_views: float = 1.0, prior_logits: Tensor | None = None
) -> Hyperprior:
    r"""Centres that are linear in what :func:`describe` says, learned over many tasks.

    The precision stands at its centre; what leave-one-out would choose around it is in
    docs/tables/left_out_rules.rst. More classes need a firmer prior, a text that fits less well a
    looser one. The temperature grows with how badly the text fits, and with the shots.
    """
    known = describe(problem, n_views, prior_logits)
    log_precision, log_temperature = (
        math.fsum(value * known[name] for name, value in coefficients.items())
        for coefficients in (
            learned_hyperprior.LOG_PRECISION,
            learned_hyperprior.LOG_TEMPERATURE,
        )
    )
    low, high = _LOG_PRECISION_RANGE
    return Hyperprior(
        precision=math.exp(min(max(log_precision, low), high)) * (problem.logit_scale / 100) ** 2,
        log_temperature=log_temperature,
        temperature_width=learned_hyperprior.TEMPERATURE_WIDTH,
        lone_row_weight=learned_hyperprior.LONE_ROW_WEIGHT,
    )


def plain_hyperprior(problem: LinearProblem) -> Hyperprior:
    r"""Without text, on features of unit variance.

    The precision is proportional to d, so that logits have the same prior variance whatever
    the number of features; with few rows per class and many features the mode is far too
    unsure, and its logits want to be sharpened, with many rows it wants nothing:
    :math:`t_0 = t_1 d / (d + N / c)` with N the weight of all rows.
    """
    d = problem.X.shape[1]
    shots = float(problem.sample_weight.sum()) / problem.n_classes
    return Hyperprior(
        precision=learned_hyperprior.PLAIN_PRECISION_PER_FEATURE * d,
        log_temperature=learned_hyperprior.PLAIN_LOG_TEMPERATURE * d / (d + shots),
        temperature_width=learned_hyperprior.PLAIN_TEMPERATURE_WIDTH,
    )
