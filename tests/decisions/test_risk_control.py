"""Learn-then-Test: hand-computed thresholds, and the guarantee by simulation."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from skclip.decisions.risk_control import (
    certify,
    chains,
    coverage_threshold,
    fewest_rows,
    rows_for_certificate,
)


def descending(n):
    """n distinct confidences, the first one the largest."""
    return np.linspace(0.9, 0.1, n)


def wrong_at(n, *positions):
    wrong = np.zeros(n, bool)
    wrong[list(positions)] = True
    return wrong


@pytest.mark.parametrize(
    ("risk", "rows"), [(0.05, 59), (0.02, 149), (0.01, 299), (0.5, 5), (0.96, 1)]
)
def test_the_fewest_rows_are_the_first_n_with_a_small_enough_power(risk, rows):
    """(1 - r)^n <= delta < (1 - r)^(n - 1)."""
    assert fewest_rows(risk, 0.05) == rows
    assert (1 - risk) ** rows <= 0.05 < (1 - risk) ** (rows - 1)


def test_powers_that_equal_delta_are_enough():
    """Log ratios that are whole numbers must not be rounded up: 0.5^2 = 0.25."""
    assert fewest_rows(0.5, 0.25) == 2
    # Also in the test itself, where the distribution function is computed: 0.9^n, n = 1...59.
    for n in range(1, 60):
        assert certify(descending(n), wrong_at(n), 0.1, 0.9**n).n_accepted == n


def test_without_errors_every_row_is_accepted():
    got = certify(descending(59), wrong_at(59), 0.05, 0.05)
    assert got == (0.0, 59, 0)


def test_one_row_too_few_accepts_nothing():
    assert certify(descending(58), wrong_at(58), 0.05, 0.05) == (np.inf, 0, 0)


def test_a_sequence_that_fails_at_once_accepts_nothing():
    """Also where a single right row would be enough: 1 - 0.96 <= 0.05."""
    assert certify(descending(1), wrong_at(1, 0), 0.96, 0.05) == (np.inf, 0, 0)
    assert certify(descending(1), wrong_at(1), 0.96, 0.05).n_accepted == 1


def test_the_counts_are_those_of_the_rows_that_reach_the_threshold():
    """With errors among the accepted, and a last accepted row that is wrong or right."""
    rng = np.random.default_rng(0)
    last = set()
    for _ in range(50):
        kappa = rng.uniform(size=300)
        wrong = rng.uniform(size=300) < 0.2 * (1 - kappa)
        got = certify(kappa, wrong, 0.1, 0.1)
        accepted = kappa >= got.threshold
        assert (got.n_accepted, got.n_wrong) == (accepted.sum(), wrong[accepted].sum())
        if got.n_wrong:
            last.add(bool(wrong[accepted][kappa[accepted].argmin()]))
    assert last == {True, False}


def test_the_sequence_ends_before_the_first_p_value_above_delta():
    """At r = 1/2, delta = 1/4, right predictions in front, then wrong ones.

    Two and three right rows have p = 1/4 and 1/8; three of four p = 5/16, above 1/4.
    """
    kappa = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    got = certify(kappa, wrong_at(5, 3, 4), 0.5, 0.25)
    assert got.n_accepted == 3
    assert got.n_wrong == 0
    # Open at the first rejected confidence.
    assert got.threshold == np.nextafter(0.6, 1)


def test_the_levels_sum_to_delta_and_every_start_can_certify():
    """Whatever the number of rows: what the proof needs, and no start is in vain."""
    for n in [*range(59, 700, 7), 5000, 50_000]:
        starts = chains(n, 0.05, 0.05)
        assert sum(level for _, level in starts) == pytest.approx(0.05, abs=1e-15)
        assert starts == sorted(starts)
        assert all(0.95**start <= level * (1 + 1e-9) for start, level in starts if start < n)
        assert starts[0][0] >= 59
        assert starts[-1][0] <= n


def test_few_rows_have_one_chain_and_a_later_small_p_value_is_out_of_its_reach():
    """It stops at the first failure: that is what needs no correction."""
    n = 100
    wrong = wrong_at(n, 1)  # among the first 59
    assert binom.cdf(1, n, 0.05) < 0.05
    assert certify(descending(n), wrong, 0.05, 0.05).n_accepted == 0


def by_clopper_pearson_bounds(wrong, risk, delta):
    """The fallback procedure row by row: the upper confidence bound is at most the target."""
    n, levels, in_hand, accepted = len(wrong), dict(chains(len(wrong), risk, delta)), 0.0, 0
    for m in range(min(levels, default=n + 1), n + 1):
        in_hand += levels.get(m, 0.0)
        k = wrong[:m].sum()
        if in_hand and k < m and beta.ppf(1 - in_hand, k + 1, m - k) <= risk * (1 + 1e-9):
            accepted = m
        else:
            in_hand = 0.0
    return accepted


def test_accepted_counts_equal_those_of_clopper_pearson_bounds():
    """The p-value is at most the level iff the upper confidence bound is at most the target."""
    rng, counts = np.random.default_rng(0), []
    for trial in range(40):
        n = [80, 150, 300, 600][trial % 4]
        kappa = rng.uniform(size=n)
        wrong = rng.uniform(size=n) < 0.15 * (1 - kappa) + 0.02 * (trial % 3)
        expected = by_clopper_pearson_bounds(wrong[np.argsort(-kappa)], 0.05, 0.1)
        assert certify(kappa, wrong, 0.05, 0.1).n_accepted == expected
        counts.append(expected)
    assert min(counts) == 0 < max(counts)


def test_an_error_among_the_most_confident_rows_does_not_end_everything():
    """A chain that starts later certifies what the strict one cannot."""
    n = 500
    got = certify(descending(n), wrong_at(n, 0, 1), 0.02, 0.05)
    assert binom.cdf(2, 300, 0.02) > 0.03 > binom.cdf(1, 300, 0.02)
    assert got.n_accepted == 500  # by the chain that starts with all rows
    assert certify(descending(n), wrong_at(n, 0), 0.02, 0.05).n_accepted == 500
    assert certify(descending(n), wrong_at(n, *range(5)), 0.02, 0.05).n_accepted == 0


def test_a_level_is_kept_while_hypotheses_are_rejected_and_lost_with_the_first_that_is_not():
    """At the third start the whole of delta is in hand, or its own level alone."""
    n, risk, delta = 1000, 0.05, 0.05
    (first, *_), (second, *_), (third, own) = chains(n, risk, delta)
    most = int(binom.ppf(delta, third, risk))  # errors that delta, but not the own level, allows
    most -= binom.cdf(most, third, risk) > delta
    assert binom.cdf(most, third, risk) > own
    late = wrong_at(n, *range(n - most, n))
    assert certify(descending(n), late, risk, delta).n_accepted == n
    early = wrong_at(n, *range(first - most, first))  # the first two starts fail
    assert binom.cdf(most, second, risk) > 0.8 * delta
    assert certify(descending(n), early, risk, delta).n_accepted == 0


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(1)
    kappa = rng.choice(np.linspace(0.2, 1, 30), size=400)
    wrong = rng.uniform(size=400) < 0.05 * (1 - kappa)
    order = rng.permutation(400)
    assert certify(kappa, wrong, 0.05, 0.05) == certify(kappa[order], wrong[order], 0.05, 0.05)


def test_ties_are_accepted_together_or_not_at_all():
    """Fifty tied rows behind 59 certain ones: with errors among them none is accepted."""
    kappa = np.r_[np.linspace(1, 0.9, 59), np.full(50, 0.5)]
    rejected = certify(kappa, wrong_at(109, *range(100, 109)), 0.05, 0.05)
    assert (rejected.n_accepted, rejected.threshold) == (59, np.nextafter(0.5, 1))
    assert certify(kappa, wrong_at(109), 0.05, 0.05).n_accepted == 109


def test_one_value_for_all_is_all_or_nothing():
    kappa = np.full(80, 1.0)
    assert certify(kappa, wrong_at(80), 0.05, 0.05) == (0.0, 80, 0)
    assert certify(kappa, wrong_at(80, 0), 0.05, 0.05).n_accepted == 0


# Error probability at a confidence: falling, barely above the target everywhere, waves.
ERROR_RATES = {
    "falling": lambda kappa: 0.2 * (1 - kappa),
    "rising": lambda kappa: 0.1 * kappa,
    "bimodal": lambda kappa: np.where(kappa > 0.5, 0.04, 0.0602),
    "label noise": lambda kappa: 0.0498 + 0.3 * (kappa < 0.3),
    "flat": lambda kappa: np.full(kappa.shape, 0.0501),
    "wave": lambda kappa: 0.05 + 0.04 * np.sin(60 * kappa),
    "fast wave": lambda kappa: 0.05 + 0.05 * np.sin(200 * kappa),
}


@pytest.mark.parametrize("levels", [10**5, 20], ids=["continuous", "tied"])
@pytest.mark.parametrize("shape", list(ERROR_RATES))
@pytest.mark.parametrize("n", [60, 300, 1500])
def test_the_risk_is_exceeded_no_more_often_than_promised(n, shape, levels):
    """The theorem, for error rates that are not monotone and confidences with ties too.

    Four standard errors above delta: less than one false alarm in 30,000 tests.
    """
    delta, repetitions = 0.1, 1000
    values = np.arange(levels) / levels
    rates = ERROR_RATES[shape](values)
    risk_above = np.cumsum(rates[::-1])[::-1] / np.arange(levels, 0, -1)
    rng = np.random.default_rng(n)
    violations = 0
    for _ in range(repetitions):
        draw = rng.integers(levels, size=n)
        wrong = rng.uniform(size=n) < rates[draw]
        threshold = certify(values[draw], wrong, 0.05, delta).threshold
        if threshold <= values[-1]:
            violations += risk_above[np.searchsorted(values, threshold)] > 0.05
    assert violations / repetitions <= delta + 4 * np.sqrt(delta * (1 - delta) / repetitions)


def test_the_simulation_can_fail():
    """Testing the empirical risk instead exceeds the target in most repetitions."""
    rng = np.random.default_rng(0)
    exceeded = 0
    for _ in range(200):
        kappa = rng.uniform(size=300)
        wrong = rng.uniform(size=300) < 0.2 * (1 - kappa)
        order = np.argsort(-kappa)
        risk = np.cumsum(wrong[order]) / np.arange(1, 301)
        threshold = kappa[order][np.flatnonzero(risk <= 0.05)[-1]]
        exceeded += 0.1 * (1 - threshold) > 0.05
    assert exceeded / 200 > 0.3


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [(0.5, 0.5), (0.2, 0.8), (0.8, 0.2), (0.9, 0.1), (0.91, 0.0), (1.0, 0.0)],
)
def test_a_new_row_exceeds_the_k_th_largest_of_nine_in_k_of_ten_cases(coverage, expected):
    """Its rank among the ten is uniform."""
    kappa = np.arange(1, 10) / 10
    assert coverage_threshold(kappa, coverage) == pytest.approx(expected)


@pytest.mark.parametrize("positions", [[], [1], [1, 40], [60, 119]])
def test_the_advised_number_of_rows_certifies_in_about_half_of_all_draws(positions):
    """Of rows like these, drawn with replacement: the sequence counts, not the best threshold.

    Drawing varies the error rate among the most confident, which the advice takes as known.
    """
    n, rng = 120, np.random.default_rng(0)
    kappa, wrong = descending(n), wrong_at(n, *positions)
    advised = rows_for_certificate(kappa, wrong, 0.02, 0.05)

    def share(total):
        kept = 0
        for _ in range(200):
            rows = rng.integers(n, size=total)
            jitter = 1e-9 * rng.random(total)  # copies of a row are no ties
            kept += certify(kappa[rows] + jitter, wrong[rows], 0.02, 0.05).n_accepted > 0
        return kept / 200

    assert 0.35 <= share(advised) <= 1.0
    if positions:
        assert share(max(149, advised // 2)) < 0.5
    else:
        assert advised <= 1.02 * 149 + 1


def test_no_number_of_rows_helps_where_the_most_confident_are_wrong():
    assert rows_for_certificate(descending(50), np.ones(50, bool), 0.05, 0.05) is None


def test_mapie_certifies_no_more_with_its_looser_bound():
    """Hoeffding-Bentkus bounds the tail that the binomial test computes."""
    ltt = pytest.importorskip("mapie.risk_control.methods", reason="needs the extra conformal")
    n, k = 500, np.arange(20)
    theirs = ltt.compute_hoeffding_bentkus_p_value(k / n, n, np.array([0.05])).ravel()
    assert np.all(binom.cdf(k, n, 0.05) <= theirs + 1e-12)
