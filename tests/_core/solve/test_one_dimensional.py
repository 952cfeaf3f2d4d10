"""The safeguarded Newton method in one dimension: where it ends, and how fast."""

import math

import pytest

from skclip._core.solve import one_dimensional


def counted(function):
    """`function`, and the list of the points at which it was measured."""
    points = []

    def measure(t):
        points.append(t)
        return function(t)

    return measure, points


def test_the_first_step_is_newtons():
    """Exact on a parabola; a slope of exactly zero there is then bisected away from and back to."""
    measure, points = counted(lambda t: ((t - 2.0) ** 2, 2 * (t - 2.0), 2.0))
    t, value = one_dimensional.minimize(measure, 0.0, -5.0, 5.0, smallest_step=1e-12)
    assert points[:2] == [0.0, 2.0]
    assert t == pytest.approx(2.0, abs=1e-11)
    assert value == pytest.approx(0.0, abs=1e-20)


def test_where_newton_overshoots_bisection_finds_the_minimum():
    """Steps on log cosh from beyond 1.09 are each longer than the one before."""

    def log_cosh(t):
        return math.log(math.cosh(t)), math.tanh(t), 1.0 / math.cosh(t) ** 2

    t, value = one_dimensional.minimize(log_cosh, 4.0, -5.0, 6.0, smallest_step=1e-12)
    assert t == pytest.approx(0.0, abs=1e-12)
    assert value == pytest.approx(0.0, abs=1e-12)


def test_negative_curvature_does_not_lead_to_a_maximum():
    """Between -1 and 1 Newton's step on -cos(pi t) + 0.2 t goes up from 0.9."""

    def wave(t):
        return (
            0.2 * t - math.cos(math.pi * t),
            0.2 + math.pi * math.sin(math.pi * t),
            math.pi**2 * math.cos(math.pi * t),
        )

    t, value = one_dimensional.minimize(wave, 0.9, -1.0, 1.0, smallest_step=1e-12)
    assert t == pytest.approx(-math.asin(0.2 / math.pi) / math.pi, abs=1e-12)
    assert value == pytest.approx(wave(t)[0])


@pytest.mark.parametrize(("slope", "edge"), [(1.0, -3.0), (-1.0, 7.0)])
def test_a_line_ends_at_the_edge(slope, edge):
    t, _ = one_dimensional.minimize(
        lambda t: (slope * t, slope, 0.0), 0.0, -3.0, 7.0, smallest_step=1e-9
    )
    assert t == pytest.approx(edge, abs=1e-8)


def test_the_value_is_that_of_the_returned_point():
    measure, points = counted(lambda t: (t**4 - t, 4 * t**3 - 1, 12 * t**2))
    t, value = one_dimensional.minimize(measure, 1.0, -5.0, 5.0, smallest_step=1e-3)
    assert t == points[-1]
    assert value == t**4 - t
