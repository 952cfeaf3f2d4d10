"""The choice of precision and temperature: it is the best of what could be chosen."""

import math
from dataclasses import replace
from math import nan

import pytest
import torch

from skclip._core.linear.hyperprior import Hyperprior, plain_hyperprior, text_hyperprior
from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.objective import Span, logits, solve_map
from skclip._core.linear.selection import _extrapolate, left_out_weight, select
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


def test_with_a_text_the_precision_stands_and_the_temperature_is_chosen():
    problem = make_problem(n=40, tau=5.0)
    hyperprior = text_hyperprior(problem)
    choice = select(problem, Span.of(problem), hyperprior=hyperprior, **SEARCH)
    torch.testing.assert_close(
        choice.prior_precision, torch.full_like(choice.prior_precision, hyperprior.precision)
    )
    assert len(choice.tried) == 1
    assert abs(math.log(choice.temperature) - hyperprior.log_temperature) > 0.01


def test_lone_rows_move_the_temperature_by_their_weight():
    """At one shot the centre stands, unless lone rows have a weight."""
    problem = make_problem(n=4, tau=5.0, weighted=False)
    found = [
        math.log(
            select(
                problem,
                Span.of(problem),
                hyperprior=replace(WIDE, lone_row_weight=weight, reach=0),
                **SEARCH,
            ).temperature
        )
        for weight in (0.0, 0.1, 1.0)
    ]
    assert found[0] == pytest.approx(WIDE.log_temperature)
    assert 0 < abs(found[1] - found[0]) < abs(found[2] - found[0])


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
