r"""Which confidence threshold keeps the error rate below a target: Learn-then-Test.

Conventions
-----------
n calibration rows with confidences :math:`\kappa_1 \ge \dots \ge \kappa_n` and errors
:math:`e_i \in \{0, 1\}`, drawn independently of each other and of the classifier. The
selective risk :math:`R(t) = P(e = 1 \mid \kappa > t)` is what new rows would show.

The m most confident rows are those above :math:`t = \kappa_{m+1}`. Given that value they are
m independent draws from the rows above t, so that their errors are binomial with
probability R(t), and

.. math:: p_m = P(\mathrm{Bin}(m, r) \le e_1 + \dots + e_m)

is a p-value of the hypothesis R(t) > r (Clopper and Pearson's exact test). Thresholds are
tested from strict to loose, one more row at a time, beginning with the smallest m at which
a rejection is possible, which depends on nothing that is random; the first p-value above
delta ends it. Then R at the last threshold is at most r with probability 1 - delta or more.

Proof, for confidences without ties. The thresholds t with R(t) <= r form intervals; at the
lower end a of an interval, and at its upper end b unless that is infinite, R = r. Either the
first tested threshold lies outside of the intervals: then passing it is a type-I error.
Or it lies in an interval, say (a, b]: then any error must pass the first tested
threshold at or below a, whose accepted rows are the N rows above a. Given the
numbers of rows above a and above b, on which it depends in which interval testing begins,
the errors of these N rows are independent of probability r, so that passing has probability at most
delta. The events are disjoint, so the whole has probability at most delta. Tied rows are
ordered with errors first, which only makes rejections rarer, and are accepted together
or not at all.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import binom

__all__ = [
    "Certificate",
    "certify",
    "coverage_threshold",
    "fewest_rows",
    "rows_for_certificate",
    "rows_needed",
]

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


def certify(
    confidence: np.ndarray, wrong: np.ndarray, target_risk: float, delta: float
) -> Certificate:
    """The loosest threshold that fixed-sequence testing reaches.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
    wrong : bool ndarray of shape (n,)
    target_risk, delta : float in (0, 1)

    Returns
    -------
    Certificate
        Rows with a confidence of at least `threshold` are accepted; it is infinite, and no row
        accepted, where nothing can be certified.
    """
    order = np.lexsort((~wrong, -confidence))  # the most confident first, errors first in ties
    kappa, errors = confidence[order], np.cumsum(wrong[order])
    first = fewest_rows(target_risk, delta)
    n_passed = _last_passed(errors, first, target_risk, delta)
    m = _whole_ties(kappa, n_passed)
    if m < first:
        return Certificate(np.inf, 0, 0)
    # Everything above the first rejected value; float64, so that no value lies between.
    threshold = -np.inf if m == len(kappa) else np.nextafter(kappa[m], np.inf)
    return Certificate(max(float(threshold), 0.0), m, int(errors[m - 1]))


def _last_passed(errors: np.ndarray, first: int, target_risk: float, delta: float) -> int:
    """Number of rows accepted at the last rejection in sequence, 0 for none."""
    counts = np.arange(first, len(errors) + 1)
    p_values = binom.cdf(errors[first - 1 :], counts, target_risk)
    stops = np.flatnonzero(p_values > delta * (1 + _ROUNDING))
    n_passed = stops[0] if len(stops) else len(counts)
    return first - 1 + n_passed if n_passed else 0


def _whole_ties(kappa: np.ndarray, m: int) -> int:
    """Largest number of rows, at most m, that separates no ties."""
    if m in (0, len(kappa)):
        return m
    # Descending: rows strictly above the first rejected value.
    return int(np.searchsorted(-kappa, -kappa[m]))


def coverage_threshold(confidence: np.ndarray, coverage: float) -> float:
    """Threshold that a new exchangeable row reaches with probability `coverage` or more.

    The k-th largest of n confidences is reached with probability k / (n + 1) at least;
    where k would exceed n, everything is accepted.
    """
    n = len(confidence)
    k = int(np.ceil(coverage * (n + 1) - _ROUNDING))
    return float(np.sort(confidence)[n - k]) if k <= n else 0.0


def rows_for_certificate(
    confidence: np.ndarray, wrong: np.ndarray, target_risk: float, delta: float
) -> int | None:
    """About how many rows like these would certify some threshold; None if none would.

    Of all thresholds the cheapest: the multiple of the sample at which the test would
    reject with the same error rate above the threshold.
    """
    order = np.lexsort((~wrong, -confidence))
    errors = np.cumsum(wrong[order])
    last = np.append(errors[1:] > errors[:-1], True)  # the most rows for a number of errors
    counts, errors = np.flatnonzero(last) + 1, errors[last]
    usable = errors < target_risk * counts
    # 1 to 1000 samples, in steps of 2 %.
    factors = 1.02 ** np.arange(350)
    m = np.floor(np.outer(factors, counts[usable]))
    k = np.ceil(np.outer(factors, errors[usable]) - _ROUNDING)
    enough = np.flatnonzero((binom.cdf(k, m, target_risk) <= delta).any(axis=1))
    return int(np.ceil(factors[enough[0]] * len(wrong))) if len(enough) else None


def rows_needed(confidence: np.ndarray, wrong: np.ndarray, target_risk: float, delta: float) -> str:
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
        f"At least {least} calibration rows are needed, all classified rightly; got "
        f"{len(wrong)}, of which {int(wrong.sum())} wrong. {advice}"
    )
