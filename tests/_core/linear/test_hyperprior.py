"""What is likely before any row is left out: coefficients times what is known of a task."""

import math
from dataclasses import replace

import pytest
import torch

from skclip._core.linear import learned_hyperprior
from skclip._core.linear.hyperprior import describe, plain_hyperprior, text_hyperprior

from ..conftest import make_problem


@pytest.fixture
def problem():
    return make_problem(n=40, tau=5.0)


def good_and_bad_texts():
    problem = make_problem(n=40, tau=5.0)
    rows = torch.eye(4, 8).double()
    good = replace(problem, prior_mean=rows, X=rows[problem.y])
    return good, replace(good, prior_mean=rows.roll(1, dims=0))


def test_what_is_known_of_a_task(problem):
    """The quantities of the docstring, from their definitions."""
    a, n, c = problem.sample_weight, float(problem.sample_weight.sum()), 4
    scores = 5.0 * problem.X @ problem.prior_mean.T
    losses = torch.nn.functional.cross_entropy(scores, problem.y, reduction="none")
    typical = 0.09 * math.log(c)
    assert describe(problem, n_views=10) == pytest.approx(
        {
            "intercept": 1.0,
            "log_classes": math.log(4 / 30),
            "log_shots": math.log(n / 4),
            "log_text_loss": math.log((float(a @ losses) + 10 * typical) / (n + 10) / typical),
            "log_views": 1.0,
        }
    )


@pytest.mark.parametrize("n_views", [1, 5])
def test_centres_are_linear_in_what_is_known(problem, n_views, monkeypatch):
    of_precision = {"intercept": 3.0, "log_classes": 0.5, "log_text_loss": -0.25}
    of_temperature = {"intercept": -0.25, "log_views": 0.75, "log_shots": 0.125}
    monkeypatch.setattr(learned_hyperprior, "LOG_PRECISION", of_precision)
    monkeypatch.setattr(learned_hyperprior, "LOG_TEMPERATURE", of_temperature)
    known = describe(problem)
    found = text_hyperprior(problem, n_views)
    log_precision = 3 + 0.5 * known["log_classes"] - 0.25 * known["log_text_loss"]
    assert math.log(found.precision) == pytest.approx(log_precision + 2 * math.log(5 / 100))
    expected = -0.25 + 0.75 * math.log10(n_views) + 0.125 * known["log_shots"]
    assert found.log_temperature == pytest.approx(expected)
    assert found.temperature_width == learned_hyperprior.TEMPERATURE_WIDTH
    assert found.lone_row_weight == learned_hyperprior.LONE_ROW_WEIGHT


def test_precisions_follow_the_unit_of_the_logit_scale(problem):
    """Twice the scale on half the weights is the same classifier: precisions grow by four."""
    halved = replace(problem, logit_scale=10.0, prior_mean=problem.prior_mean / 2)
    one, other = text_hyperprior(problem), text_hyperprior(halved)
    assert other.precision == pytest.approx(4 * one.precision)
    assert other.log_temperature == pytest.approx(one.log_temperature)


def test_a_text_that_misleads_gets_a_looser_prior_and_less_confidence():
    good, bad = map(text_hyperprior, good_and_bad_texts())
    assert bad.precision < good.precision
    assert bad.log_temperature > good.log_temperature


def test_more_classes_want_a_firmer_prior_and_more_shots_a_softer_temperature():
    """The signs of what was learned, which docs/theory explains."""
    assert learned_hyperprior.LOG_PRECISION["log_classes"] > 0
    assert learned_hyperprior.LOG_PRECISION["log_text_loss"] < 0
    assert learned_hyperprior.LOG_TEMPERATURE["log_text_loss"] > 0
    assert learned_hyperprior.LOG_TEMPERATURE["log_shots"] > 0


def test_a_hopeless_text_leaves_the_precision_in_the_range_of_the_tasks():
    _, bad = good_and_bad_texts()
    found = text_hyperprior(replace(bad, logit_scale=1e6))
    assert 3.0 <= found.precision / 1e8 <= 3000.0
    assert math.isfinite(found.log_temperature)


def test_without_a_text_precision_grows_with_features_and_sharpening_fades_with_shots():
    few, many = (plain_hyperprior(make_problem(n=n, weighted=False)) for n in (4, 4000))
    per_feature = learned_hyperprior.PLAIN_PRECISION_PER_FEATURE
    assert few.precision == many.precision == pytest.approx(8 * per_feature)
    at_few = learned_hyperprior.PLAIN_LOG_TEMPERATURE
    assert few.log_temperature == pytest.approx(at_few * 8 / 9)
    assert many.log_temperature == pytest.approx(at_few * 8 / 1008)
    assert at_few < 0
