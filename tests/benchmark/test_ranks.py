"""Ranks over data sets: against hand computation, Demšar's tables and scipy."""

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from skclip.benchmark import Study
from skclip.benchmark.ranks import compare_ranks, nemenyi_critical_difference, rank_methods

from .result_rows import row, write_results

# Demšar (JMLR 2006), table 5: q for alpha 0.05 and 2 to 10 methods.
DEMSAR_Q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102}


@pytest.mark.parametrize(("k", "q"), DEMSAR_Q.items())
def test_critical_difference_has_the_published_quantiles(k, q):
    n = 12
    expected = q * np.sqrt(k * (k + 1) / (6 * n))
    assert nemenyi_critical_difference(k, n) == pytest.approx(expected, rel=5e-4)


def test_mean_ranks_by_hand_with_a_tie():
    test = compare_ranks("abc", [[1, 2, 3], [2, 1, 3], [5, 5, 9]])
    np.testing.assert_allclose(test.mean_ranks, [(1 + 2 + 1.5) / 3, (2 + 1 + 1.5) / 3, 3])
    assert test.n_datasets == 3


def test_p_value_is_that_of_scipy():
    scores = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(4)
    test = compare_ranks("abcd", scores)
    assert test.p_value == friedmanchisquare(*scores.T).pvalue


def test_without_differences_the_p_value_is_one():
    assert compare_ranks("abc", np.ones((4, 3))).p_value == 1.0


@pytest.mark.parametrize("shape", [(1, 4), (5, 2)])
def test_too_few_data_sets_or_methods_are_not_tested(shape):
    test = compare_ranks("abcd"[: shape[1]], np.arange(np.prod(shape)).reshape(shape))
    assert np.isnan(test.p_value)
    assert np.isnan(test.critical_difference)
    assert test.groups() == []


def test_groups_are_maximal_runs_within_the_critical_difference():
    test = compare_ranks("abcd", np.tile([1, 2, 3, 4], (20, 1)))
    assert 1 < test.critical_difference < 2
    assert test.groups() == [("a", "b"), ("b", "c"), ("c", "d")]
    assert test._replace(critical_difference=2.0).groups() == [("a", "b", "c"), ("b", "c", "d")]
    assert test._replace(critical_difference=9.0).groups() == [("a", "b", "c", "d")]


def test_a_data_set_counts_once_however_many_cells_it_has(tmp_path):
    """Three numbers of shots on ants that say the opposite of bees do not outvote them."""
    rows = [
        row(m, s, dataset="ants", nll=v) for s in (1, 2, 4) for m, v in (("gda", 1), ("bayes", 2))
    ]
    rows += [row(m, 1, dataset="bees", nll=v) for m, v in (("gda", 2), ("bayes", 1))]
    test = rank_methods(Study(write_results(tmp_path, rows)), "nll")
    assert test.n_datasets == 2
    np.testing.assert_allclose(test.mean_ranks, [1.5, 1.5])


def test_a_method_that_lacks_a_cell_is_not_ranked(tmp_path):
    rows = [row(m, s) for m in ("zero-shot", "gda", "bayes") for s in (1, 2)]
    rows = [r for r in rows if not (r["method"] == "gda" and r["shots"] == "2")]
    test = rank_methods(Study(write_results(tmp_path, rows)), "nll")
    assert test.methods == ("zero-shot", "bayes")
