"""Selective classification class by class, or by any other grouping of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from skclip.metrics.binning import proportion_interval
from skclip.metrics.class_errors import checked
from skclip.metrics.probabilities import Labels
from skclip.utils.labels import as_labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["checked_acceptance", "selective_table"]


def selective_table(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    accepted: ArrayLike,
    *,
    by: str | ArrayLike = "true",
    labels: Labels = None,
    y_support: ArrayLike | None = None,
    target_risk: float | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """What is accepted and how much of it is wrong, for every class or group of rows.

    A risk that is kept on average need not be kept for a class: images of one class may be accepted
    with more errors than others pay for.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    accepted : array-like of shape (n_samples,), bool
        Rows that are classified: those of :meth:`skclip.SelectiveClassifier.accept`.
    by : {"true", "predicted"} or array-like of shape (n_samples,), default="true"
        What the rows are grouped by: their true class, the class they are taken for, or labels of
        any groups (cameras, months, patients).
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    y_support : array-like of shape (n_support,), default=None
        Class, or group where `by` is an array, of each row that the claim rests on: of the
        calibration rows of a threshold. A group without any is in no claim.
    target_risk : float in (0, 1), default=None
        What the risk of every group is compared with.
    confidence_level : float in (0, 1), default=0.95
        Level of each interval by itself, and of all verdicts together.

    Returns
    -------
    table : DataFrame of n_groups rows
        Its index are the labels, or the sorted groups. Columns are "rows", "accepted" (their
        number), "coverage" (share accepted), "wrong" (errors among the accepted), "risk" (share of
        errors among the accepted), "risk_low" and "risk_high" (Clopper and Pearson's interval of
        it); "support" where `y_support` is given; and "verdict" where `target_risk` is. Shares of
        nothing are NaN.

    See Also
    --------
    class_table : Precision, recall and honesty by class, without abstentions.
    ErrorDisplay : The confusion matrix, with a column of abstentions.

    Notes
    -----
    Verdicts are "no support" (`y_support` has no row of the group), "nothing accepted", "above
    target" or "below target" where an exact binomial test shows it, and "open" where there are too
    few rows to tell. Tests are at (1 - `confidence_level`) / G for G groups with accepted rows, so
    that the probability of one "above target" or more, where no risk is above, is at most
    1 - `confidence_level`; likewise for "below target". Rows must not be those that chose the
    threshold.

    Examples
    --------
    >>> from skclip.metrics import selective_table
    >>> y_proba = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55]]
    >>> table = selective_table(["cat", "cat", "dog", "dog"], y_proba, [True, True, True, False])
    >>> table.round(2)
         rows  accepted  coverage  wrong  risk  risk_low  risk_high
    cat     2         2       1.0      1   0.5      0.01       0.99
    dog     2         1       0.5      0   0.0      0.00       0.98
    """
    import pandas as pd

    _check_fractions(target_risk, confidence_level)
    codes, proba, names = checked(y_true, y_proba, labels)
    kept = checked_acceptance(accepted, len(codes))
    predicted = proba.argmax(axis=1)
    group, groups = _grouped(by, codes, predicted, names)
    g = len(groups)
    rows, n_kept = np.bincount(group, minlength=g), np.bincount(group[kept], minlength=g)
    wrong = np.bincount(group[kept & (predicted != codes)], minlength=g)
    with np.errstate(invalid="ignore"):
        risk, coverage = wrong / n_kept, n_kept / rows
    low, high = proportion_interval(np.nan_to_num(risk), n_kept.astype(float), confidence_level)
    table: dict[str, Any] = {"rows": rows, "accepted": n_kept, "coverage": coverage}
    table |= {"wrong": wrong, "risk": risk, "risk_low": low, "risk_high": high}
    support = np.ones(g, np.intp)
    if y_support is not None:
        given = as_labels(y_support, "y_support")
        support = np.array([np.count_nonzero(given == name) for name in groups], np.intp)
        table["support"] = support
    if target_risk is not None:
        level = (1 - confidence_level) / max(1, int(np.count_nonzero(n_kept)))
        is_above = binom.sf(wrong - 1, n_kept, target_risk) <= level
        is_below = binom.cdf(wrong, n_kept, target_risk) <= level
        table["verdict"] = np.select(
            [support == 0, n_kept == 0, is_above, is_below],
            ["no support", "nothing accepted", "above target", "below target"],
            "open",
        )
    return pd.DataFrame(table, index=groups.tolist())


def checked_acceptance(accepted: ArrayLike, n: int) -> NDArray[np.bool_]:
    """(n,) which rows are accepted."""
    kept = np.asarray(accepted)
    if kept.shape != (n,) or kept.dtype.kind != "b":
        raise ValueError(
            f"accepted must be {n} booleans, one for each row; got shape {kept.shape} of "
            f"{kept.dtype}. Pass selective.accept(X)."
        )
    return kept


def _grouped(
    by: str | ArrayLike, codes: NDArray[Any], predicted: NDArray[Any], names: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Position (n,) of the group of every row, and the groups."""
    if isinstance(by, str):
        if by not in ("true", "predicted"):
            raise ValueError(
                f"by must be 'true', 'predicted' or an array of {len(codes)} groups; got {by!r}."
            )
        return (codes if by == "true" else predicted), names
    given = as_labels(by, "by")
    if given.shape != codes.shape:
        raise ValueError(
            f"by must have a group for each of the {len(codes)} rows; got shape {given.shape}."
        )
    groups, group = np.unique(given, return_inverse=True)
    return group, groups


def _check_fractions(target_risk: float | None, confidence_level: float) -> None:
    for name, value in (("target_risk", target_risk), ("confidence_level", confidence_level)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name} must be a fraction in (0, 1); got {value!r}.")
