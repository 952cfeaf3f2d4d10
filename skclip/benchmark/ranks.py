r"""Are methods different over data sets? Friedman's test and Nemenyi's critical difference.

Each data set ranks the k methods, 1 for the best. Over N data sets two mean ranks differ
significantly where they are further apart than

.. math::
    \mathrm{CD} = q_\alpha \sqrt{\frac{k (k + 1)}{6 N}},

with q the quantile of the studentised range for k groups, divided by the square root of 2
(J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from skclip.benchmark.study import Study

__all__ = ["RankTest", "compare_ranks", "nemenyi_critical_difference", "rank_methods"]

ALPHA = 0.05


class RankTest(NamedTuple):
    """Mean ranks of k methods over N data sets; p-value and difference NaN where N or k is few."""

    methods: tuple[str, ...]
    mean_ranks: NDArray[np.float64]
    n_datasets: int
    p_value: float
    critical_difference: float

    def groups(self) -> list[tuple[str, ...]]:
        """Maximal runs of methods, in order of rank, no two of which differ."""
        order = np.argsort(self.mean_ranks, kind="stable")
        ranks = self.mean_ranks[order]
        found, last = [], -1
        for start, rank in enumerate(ranks):
            end = int(np.flatnonzero(ranks <= rank + self.critical_difference).max(initial=start))
            if end > start and end > last:
                found.append(tuple(self.methods[i] for i in order[start : end + 1]))
            last = max(last, end)
        return found


def nemenyi_critical_difference(n_methods: int, n_datasets: int) -> float:
    """Smallest difference of two mean ranks that is significant at ALPHA.

    Examples
    --------
    >>> from skclip.benchmark.ranks import nemenyi_critical_difference
    >>> round(nemenyi_critical_difference(4, 14), 2)  # Demšar 2006, section 3.2.3, says 1.25
    1.25
    """
    q = studentized_range.ppf(1 - ALPHA, n_methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets)))


def compare_ranks(methods: Sequence[str], scores: ArrayLike) -> RankTest:
    """Mean ranks and their test.

    Parameters
    ----------
    methods : sequence of str, of length k
    scores : array-like of shape (N, k)
        One row per data set, smaller is better.
    """
    scores = np.asarray(scores, dtype=float)
    n, k = scores.shape
    ranks = rankdata(scores, axis=1)
    p_value = critical = np.nan
    if n >= 2 and k >= 3:
        # Ties everywhere leave nothing to test, and 0 / 0 in the statistic.
        varied = np.ptp(ranks) > 0
        p_value = float(friedmanchisquare(*scores.T).pvalue) if varied else 1.0
        critical = nemenyi_critical_difference(k, n)
    return RankTest(tuple(methods), ranks.mean(axis=0), n, p_value, critical)


def rank_methods(study: Study, metric: str, sign: int = 1) -> RankTest | None:
    """A RankTest over the data sets of a study, of the methods that all its cells have.

    Cells of one data set (backbones, supports, shots) are not independent: methods are ranked
    in each, and a data set counts once, by its mean ranks. Returns None if fewer than two
    methods are everywhere. `sign` is -1 where larger is better.
    """
    rows = study.rows_of(study.settings)
    means = rows.pivot_table(
        index=["dataset", "setting", "shots"], columns="method", values=metric
    )  # of the cells that were run
    complete = means.reindex(columns=study.methods).dropna(axis=1)
    if complete.empty or complete.shape[1] < 2:
        return None
    ranks = (sign * complete).rank(axis=1)
    return compare_ranks(list(complete.columns), ranks.groupby(level="dataset").mean())
