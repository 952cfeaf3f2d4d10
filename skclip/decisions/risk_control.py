r"""Which confidence threshold keeps the error rate below a target: Learn-then-Test.

Conventions
-----------
n calibration rows with confidences :math:`\kappa_1 \ge \dots \ge \kappa_n` and errors
:math:`e_i \in \{0, 1\}`, drawn independently of each other and of the classifier. The
selective risk :math:`R(t) = P(e = 1 \mid \kappa > t)` is what new rows would show, r the
target, :math:`\delta` the probability with which it may be missed. Accepting the m most confident
rows is tested by

.. math:: p_m = P(\mathrm{Bin}(m, r) \le e_1 + \dots + e_m)

(Clopper and Pearson's exact test of the hypothesis that the risk is above r).

The rule
--------
Some starts :math:`s_1 < \dots < s_k` have levels :math:`\delta_j` that sum to
:math:`\delta`; both depend on n, r and :math:`\delta` alone (:func:`chains`). From the first start
on, m rises by one at a time. A level is picked up at every start and kept while hypotheses are
rejected: :math:`p_m` is compared with the sum of the levels in hand. The first that is not
rejected loses them, and testing goes on at the next start with its level alone. This is the
fallback procedure of Wiens ("A fixed sequence Bonferroni procedure for testing multiple endpoints",
Pharmaceutical Statistics 2003), here with hypotheses that are themselves random. Then

    with probability of at least 1 - delta *no* rejected m has a risk above r,

so that the largest one may be chosen.

Proof
-----
*Confidences without ties.* Give every row the mass v in (0, 1] of the rows that are more confident;
it is uniform, and the risk R(v) of accepting the mass v is continuous. The m-th hypothesis is
about :math:`v_m`, the place of row m + 1 (1 for m = n). The places where R(v) > r form intervals;
call them bad. At either end of a bad interval, unless it is 0 or 1, R = r. So the rows
between two ends are wrong with probability r on average, the bad intervals among them taken out or
not, and those from the lower end of a bad interval to a point in it with more than r.

Let start j be followed by the first index :math:`f_j \ge s_j` with :math:`v_{f_j}` bad. If
a bad hypothesis is rejected, let m be the first. The levels in hand come from starts after
which all hypotheses up to m were rejected and were not bad, so that m is their :math:`f_j`:

.. math:: p_m \le \sum_{j : f_j = m} \delta_j .

Given which bad interval, or gap between two of them, every row lies in, all :math:`f_j` are fixed,
and the errors among the m first rows are independent: of mean r for those before the bad interval
that :math:`v_m` lies in, and more than r for those in it. So they are stochastically at least
binomial, and the event has at most the probability on its right side. Every start counts
for one m: the sum over all m is at most :math:`\delta`.

*Ties.* Order tied rows by a uniform number that is drawn for each: the proof holds for this
order. Here they are ordered with errors first. That raises the number of errors among the first m
rows, or leaves it, for every m, so that whatever is rejected would have been rejected in random
order too, at no smaller level. Chosen is the largest m that separates no tied rows *and was itself
rejected*, so that the statement about all rejected m covers it.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import binom

__all__ = [
    "Certificate",
    "certify",
    "chains",
    "coverage_threshold",
    "fewest_rows",
    "nothing_certified",
    "rows_for_certificate",
]

# Where the chains start, as a share of the rows, and their shares of delta: chosen on calibration
# sets drawn from the rows that four feature sets have for training.
_CHAINS = ((0.25, 0.2), (0.6, 0.6), (1.0, 0.2))
_N_DRAWS = 1000
# Room for the rounding of powers and distribution functions.
_ROUNDING = 1e-9


class Certificate(NamedTuple):
    """A threshold, and how many calibration rows it accepts, rightly and wrongly classified."""

    threshold: float
    n_accepted: int
    n_wrong: int


def fewest_rows(target_risk: float, delta: float) -> int:
    """Smallest number of rows, all right, that certifies the risk: (1 - r)^n <= delta.

    >>> [fewest_rows(risk, 0.05) for risk in (0.05, 0.02, 0.01)]
    [59, 149, 299]
    """
    return max(1, int(np.ceil(np.log(delta) / np.log1p(-target_risk) - _ROUNDING)))


def chains(n: int, target_risk: float, delta: float) -> list[tuple[int, float]]:
    """Numbers of rows at which testing starts, increasing, and their levels, which sum to delta.

    With fewer than twice the rows that can certify anything, all of delta is at the fewest of
    them. Otherwise it is shared: an error among the most confident rows, a wrong label say, must
    not end everything, and rows that are right wherever they lie must be enough.

    >>> chains(100, 0.02, 0.05), chains(200, 0.02, 0.05)
    ([], [(149, 0.05)])
    >>> [start for start, _ in chains(5000, 0.02, 0.05)]
    [1250, 3000, 5000]
    """
    fewest = fewest_rows(target_risk, delta)
    if n < 2 * fewest:
        return [(fewest, delta)] if n >= fewest else []
    levels: dict[int, float] = {}
    for share, part in _CHAINS:
        start = max(int(np.ceil(share * n - _ROUNDING)), fewest_rows(target_risk, part * delta))
        start = min(start, n)
        levels[start] = levels.get(start, 0.0) + part * delta
    return sorted(levels.items())


def certify(
    confidence: np.ndarray,
    wrong: np.ndarray,
    target_risk: float,
    delta: float,
    lowest: float = 0.0,
) -> Certificate:
    """The loosest threshold of those that the chains of tests reject.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
    wrong : bool ndarray of shape (n,)
    target_risk, delta : float in (0, 1)
    lowest : float
        The smallest confidence there is: the threshold where everything is accepted.

    Returns
    -------
    Certificate
        Rows with a confidence of at least `threshold` are accepted; it is infinite, and no row
        accepted, where nothing can be certified.
    """
    order = np.lexsort((~wrong, -confidence))  # the most confident first, errors first in ties
    kappa, errors = confidence[order], np.cumsum(wrong[order])
    rejected = _rejected(errors, chains(len(kappa), target_risk, delta), target_risk)
    rejected[:-1] &= kappa[1:] < kappa[:-1]  # what separates ties cannot be chosen
    if not rejected.any():
        return Certificate(np.inf, 0, 0)
    m = int(np.flatnonzero(rejected)[-1]) + 1
    # Everything above the next value; float64, so that no value lies between.
    threshold = lowest if m == len(kappa) else np.nextafter(kappa[m], np.inf)
    return Certificate(max(float(threshold), lowest), m, int(errors[m - 1]))


def _rejected(
    errors: np.ndarray, starts: list[tuple[int, float]], target_risk: float
) -> np.ndarray:
    """Which m = 1, ..., n (n,) the fallback procedure rejects, of cumulated errors (n,)."""
    n = len(errors)
    p_values = binom.cdf(errors, np.arange(1, n + 1), target_risk)
    rejected, in_hand = np.zeros(n, bool), 0.0
    ends = [*(start - 1 for start, _ in starts), n][1:]
    for (start, level), end in zip(starts, ends, strict=True):
        in_hand += level
        part = p_values[start - 1 : end] <= in_hand * (1 + _ROUNDING)
        n_passed = len(part) if part.all() else int(part.argmin())
        rejected[start - 1 : start - 1 + n_passed] = True
        in_hand = in_hand if n_passed == len(part) else 0.0
    return rejected


def coverage_threshold(confidence: np.ndarray, coverage: float, lowest: float = 0.0) -> float:
    """Threshold that a new exchangeable row reaches with probability `coverage` or more.

    The k-th largest of n confidences is reached with probability k / (n + 1) at least;
    where k would exceed n, everything is accepted, from the `lowest` confidence on.
    """
    n = len(confidence)
    k = int(np.ceil(coverage * (n + 1) - _ROUNDING))
    return float(np.sort(confidence)[n - k]) if k <= n else lowest


def rows_for_certificate(
    confidence: np.ndarray, wrong: np.ndarray, target_risk: float, delta: float
) -> int | None:
    """About how many rows like these certify some threshold in half of all draws; None if none.

    A draw certifies something where one of its chains gets past its start. The most confident
    share q of the rows is taken to be wrong as often as that share of these rows, and errors to
    be independent: the number of rows is the first of 1, 1.02, 1.02^2, ... times these, up to
    1000 times, for which half of 1000 simulated draws pass.
    """
    n, rng = len(wrong), np.random.default_rng(0)
    order = np.lexsort((~wrong, -confidence))
    errors = np.append(0, np.cumsum(wrong[order]))
    for factor in 1.02 ** np.arange(350):
        total = int(np.ceil(factor * n))
        starts = chains(total, target_risk, delta)
        passed, seen, begin = np.zeros(_N_DRAWS, bool), np.zeros(_N_DRAWS, int), 0
        for start, level in starts:
            before, after = np.interp([begin / factor, start / factor], np.arange(n + 1), errors)
            rate = min(1.0, factor * (after - before) / (start - begin))
            seen += rng.binomial(start - begin, rate, size=_N_DRAWS)
            passed |= binom.cdf(seen, start, target_risk) <= level * (1 + _ROUNDING)
            begin = start
        if passed.mean() >= 0.5:
            return total
    return None


def nothing_certified(
    confidence: np.ndarray, wrong: np.ndarray, target_risk: float, delta: float
) -> str:
    """Sentences for rows that certify nothing: how many would, and what else would help."""
    least = fewest_rows(target_risk, delta)
    likely = rows_for_certificate(confidence, wrong, target_risk, delta)
    if likely is None:
        advice = (
            "The most confident predictions are wrong more often than that, so that more rows "
            "are not likely to help: raise target_risk, or improve the estimator."
        )
    else:
        advice = (
            f"About {max(likely, least)} rows like these would do. Pass more rows, raise "
            "target_risk or lower confidence_level."
        )
    return (
        f"No threshold keeps a risk of {target_risk:g} at confidence_level={1 - delta:g}: every "
        f"prediction will be an abstention. At least {least} calibration rows are needed, all "
        f"classified rightly; got {len(wrong)}, of which {int(wrong.sum())} wrong. {advice}"
    )
