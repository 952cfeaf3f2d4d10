"""The choice of precision and temperature: it is the best of what could be chosen."""

import math
from dataclasses import replace
from math import nan

import pytest
import torch

from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.objective import Span, logits, solve_map
from skclip._core.linear.selection import (
    Hyperprior,
    _extrapolate,
    left_out_weight,
    plain_hyperprior,
    select,
    text_hyperprior,
)
from skclip._core.linear.temperature_scaling import fit_log_temperature
from skclip._core.solve.status import Status

from ..conftest import make_problem

SEARCH = {"search": True, "temperature": None, "groups": None, "tol": 1e-9, "max_iter": 100}
WIDE = Hyperprior(precision=1.0, precision_width=3.0, reach=4)


def penalised_loss(problem, hyperprior, distance):
    """The criterion at a precision, from a mode solved to the end."""
    precision = hyperprior.precision * math.exp(distance)
    problem = replace(problem, prior_precision=torch.full_like(problem.prior_precision, precision))
    span = Span.of(problem)
    solution = solve_map(problem, tol=1e-12, max_iter=100, span=span)
    scores = logits(problem.X, solution.W, solution.b, problem.logit_scale)
    _, loss = fit_log_temperature(
        left_out_logits(problem, span, scores),
        problem.y,
        left_out_weight(problem, None),
        centre=hyperprior.log_temperature,
        width=hyperprior.temperature_width,
    )
    return loss + 0.5 * (distance / hyperprior.precision_width) ** 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tau", [1.0, 5.0, 20.0])
def test_the_choice_is_the_first_minimum_next_to_the_centre(seed, tau):
    problem = make_problem(n=40, tau=tau, seed=seed, bias_variance=0.1)
    choice = select(problem, Span.of(problem), hyperprior=WIDE, **SEARCH)
    step = math.log(WIDE.step)
    losses = {k: penalised_loss(problem, WIDE, k * step) for k in range(-4, 5)}
    found = round(math.log(float(choice.prior_precision[0])) / step)
    for neighbour in (found - 1, found + 1):
        assert losses[found] <= losses.get(neighbour, math.inf) + 1e-2
    for distance, _, loss in choice.tried:
        # Candidates are solved loosely: to 0.001 of the score per row.
        assert loss == pytest.approx(losses[round(distance / step)], abs=1e-3 * 40)


def test_the_chosen_mode_is_solved_to_the_end():
    """Candidates are solved loosely; what is returned is not."""
    problem = make_problem(n=40)
    choice = select(problem, Span.of(problem), hyperprior=WIDE, **SEARCH)
    assert choice.solution.status is Status.CONVERGED
    assert choice.solution.gradient_norm <= 1e-9


def test_the_score_is_that_of_the_left_out_rows_at_the_chosen_temperature():
    """The mean log-likelihood per unit of weight."""
    problem = make_problem(n=40)
    span = Span.of(problem)
    choice = select(problem, span, hyperprior=WIDE, **SEARCH)
    chosen = replace(problem, prior_precision=choice.prior_precision)
    scores = logits(problem.X, choice.solution.W, choice.solution.b, problem.logit_scale)
    left_out = left_out_logits(chosen, span, scores) / choice.temperature
    log_proba = torch.log_softmax(left_out, dim=1).gather(1, problem.y[:, None]).squeeze(1)
    expected = problem.sample_weight @ log_proba / problem.sample_weight.sum()
    assert choice.log_likelihood == pytest.approx(float(expected), abs=1e-12)
    assert abs(math.log(choice.temperature)) > 0.01  # so that it matters


def test_the_next_mode_is_sought_on_the_line_through_the_last_two():
    far, near = torch.tensor([0.0, 6.0]), torch.tensor([1.0, 4.0])
    assert _extrapolate([], -3.0) is None
    assert _extrapolate([(5.0, far)], -3.0) is far
    trail = [(9.0, near), (5.0, far), (3.0, near)]
    torch.testing.assert_close(_extrapolate(trail, -3.0), torch.tensor([4.0, -2.0]))


def test_one_row_per_class_leaves_the_centres():
    """A row that is alone in its class says nothing about how well a class is learned."""
    problem = make_problem(n=4, weighted=False)
    choice = select(problem, Span.of(problem), hyperprior=WIDE, **SEARCH)
    torch.testing.assert_close(choice.prior_precision, torch.ones(4, dtype=torch.float64))
    assert math.log(choice.temperature) == pytest.approx(WIDE.log_temperature)
    assert len(choice.tried) == 1


def test_weights_of_left_out_rows_are_what_stays_of_their_class():
    problem = make_problem(n=10, weighted=False)  # classes of 3, 3, 2 and 2 rows
    expected = torch.tensor([2 / 3, 2 / 3, 1 / 2, 1 / 2, 2 / 3, 2 / 3, 1 / 2, 1 / 2, 2 / 3, 2 / 3])
    torch.testing.assert_close(left_out_weight(problem, None), expected.double())
    # Of a row of weight 3 one is left out, and 2 + 0.5 of 3.5 stay; of 0.5 all, and 3 stay.
    problem = replace(
        problem, X=problem.X[:2], y=problem.y[[0, 0]], sample_weight=torch.tensor([3, 0.5]).double()
    )
    expected = torch.tensor([3 * 2.5 / 3.5, 0.5 * 3 / 3.5])
    torch.testing.assert_close(left_out_weight(problem, None), expected.double(), rtol=1e-6, atol=0)


def test_leaving_out_all_rows_of_a_class_counts_for_nothing():
    problem = make_problem(n=8, weighted=False)
    groups = Groups.of(problem.y, problem.sample_weight)
    torch.testing.assert_close(left_out_weight(problem, groups), torch.zeros(8).double())


def test_a_fixed_temperature_is_kept_and_scored():
    problem = make_problem(n=40)
    settings = SEARCH | {"temperature": 3.0}
    choice = select(problem, Span.of(problem), hyperprior=WIDE, **settings)
    assert choice.temperature == pytest.approx(3.0)
    assert [t for _, t, _ in choice.tried] == pytest.approx([3.0] * len(choice.tried))


def test_a_narrow_prior_keeps_the_choice_at_its_centre():
    problem = make_problem(n=40)
    narrow = replace(WIDE, precision=7.0, precision_width=1e-3)
    choice = select(problem, Span.of(problem), hyperprior=narrow, **SEARCH)
    torch.testing.assert_close(choice.prior_precision, torch.full((4,), 7.0).double())


def test_precisions_follow_the_unit_of_the_logit_scale():
    """Twice the scale on half the weights is the same classifier: precisions grow by four."""
    problem = make_problem(n=40, tau=5.0)
    halved = replace(problem, logit_scale=10.0, prior_mean=problem.prior_mean / 2)
    one, other = text_hyperprior(problem), text_hyperprior(halved)
    assert other.precision == pytest.approx(4 * one.precision)
    assert other.log_temperature == pytest.approx(one.log_temperature)


def test_the_centres_for_a_text_are_those_of_the_formula():
    """lambda_0 and t_0 of the docstring; here the text is worse than guessing, then better."""
    for sign in (-1, 1):
        problem = make_problem(n=40)
        true = problem.prior_mean[problem.y]
        problem = replace(problem, X=torch.nn.functional.normalize(problem.X + sign * true, dim=1))
        a, n, c, tau = problem.sample_weight, float(problem.sample_weight.sum()), 4, 5.0
        scores = tau * problem.X @ problem.prior_mean.T
        losses = torch.nn.functional.cross_entropy(scores, problem.y, reduction="none")
        typical = 0.09 * math.log(c)
        rho = (float(a @ losses) + 10 * typical) / (n + 10) / typical
        s, _ = fit_log_temperature(scores, problem.y, a, centre=0.0, width=1.0)
        s = min(s * n / (n + 10), 0.7)
        precision = (
            40 * (tau / 100) ** 2 * math.sqrt(c / 30) * rho**-0.25 * max(1, 0.09 * rho) ** -3
        )
        found = text_hyperprior(problem)
        assert found.precision == pytest.approx(precision, rel=1e-9)
        assert found.log_temperature == pytest.approx(
            -0.2 + 0.1 * math.log(rho) + 0.4 * s, abs=1e-9
        )
        assert (found.precision_width, found.temperature_width) == (0.5, 0.15)
        assert (found.step, found.reach, found.patience) == (10**0.5, 3, 1)
        assert (0.09 * rho > 1) == (sign < 0)
        assert abs(s) > 0.05


def test_a_text_that_misleads_gets_a_looser_prior_and_less_confidence():
    problem = make_problem(n=40, tau=5.0)
    good = replace(
        problem, prior_mean=torch.eye(4, 8).double(), X=torch.eye(4, 8).double()[problem.y]
    )
    bad = replace(good, prior_mean=good.prior_mean.roll(1, dims=0))
    assert text_hyperprior(bad).precision < text_hyperprior(good).precision
    assert text_hyperprior(bad).log_temperature > text_hyperprior(good).log_temperature


def test_a_text_worse_than_guessing_hardly_counts():
    """Its weight falls with the cube of its loss; one that is better than guessing keeps it."""
    problem = make_problem(n=40, tau=1.0)
    rows = torch.eye(4, 8).double()[problem.y]
    wrong = replace(problem, X=rows, prior_mean=torch.eye(4, 8).double().roll(1, dims=0))
    mild, severe = (text_hyperprior(replace(wrong, logit_scale=tau)) for tau in (20.0, 40.0))
    # Twice the logits have nearly twice the loss; precisions alone would grow by four.
    relative = severe.precision / 4 / mild.precision
    assert 2**-3.25 * 0.8 < relative < 2**-3.25 / 0.8


def test_without_text_both_directions_are_searched():
    """Columns of unequal scale make the score wavy: one worse candidate ends nothing."""
    problem = make_problem(n=40)
    choice = select(problem, Span.of(problem), hyperprior=plain_hyperprior(), **SEARCH)
    distances = [distance for distance, _, _ in choice.tried]
    assert min(distances) < 0 < max(distances)
    assert distances == sorted(distances)


def test_scores_that_are_not_finite_are_an_error(monkeypatch):
    monkeypatch.setattr(
        "skclip._core.linear.selection.left_out_logits",
        lambda problem, span, scores, groups: scores * nan,
    )
    problem = make_problem(n=40)
    with pytest.raises(ValueError, match="^The leave-one-out score must be finite"):
        select(problem, Span.of(problem), hyperprior=WIDE, **SEARCH)
