"""How much a classifier may be relied upon: coverage above a confidence, gated by accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.metrics.probabilities import Float, Labels, Weights, check_predictions, top_label
from skclip.utils.optional_imports import import_optional

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["THRESHOLDS", "ReliableCoverage", "reliability_coverage_table", "reliable_coverage"]

# Those of the BayesAdapter paper.
THRESHOLDS = (0.80, 0.85, 0.90, 0.95, 0.99)
# Room for the rounding of what is compared: a mean of weights, a typed threshold.
_ROUNDING = 1e-12


class ReliableCoverage(NamedTuple):
    """What is selected at each of t thresholds, and whether it is reliable."""

    thresholds: Float  # (t,)
    n_selected: Float  # (t,) total weight of the selected, or their number
    accuracy: Float  # (t,) of the selected, NaN where nothing is
    reliable: NDArray[np.bool_]  # (t,) accuracy >= threshold
    sample_coverage: Float  # (t,) selected / all
    class_coverage: Float  # (t,) distinct true classes among the selected / classes


def reliable_coverage(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    thresholds: ArrayLike,
    labels: Labels,
    sample_weight: Weights,
) -> ReliableCoverage:
    """Coverages at all thresholds, reliable or not."""
    levels = _check_thresholds(thresholds)
    predictions = check_predictions(y_true, y_proba, labels, sample_weight)
    confidence, correct, weight = top_label(predictions)
    mass = np.ones(len(confidence)) if weight is None else weight
    selected = confidence >= levels[:, None] - _ROUNDING  # (t, n)
    n_selected, n_correct = selected @ mass, selected @ (mass * correct)
    with np.errstate(invalid="ignore"):  # 0 / 0: nothing is selected
        accuracy = n_correct / n_selected
    n_classes = predictions.proba.shape[1]
    classes = [len(np.unique(predictions.codes[rows])) for rows in selected]
    return ReliableCoverage(
        levels,
        n_selected,
        accuracy,
        accuracy >= levels - _ROUNDING,  # False for NaN
        n_selected / mass.sum(),
        np.array(classes) / n_classes,
    )


def reliability_coverage_table(
    y_true: ArrayLike,
    y_proba: ArrayLike | Mapping[str, ArrayLike],
    thresholds: ArrayLike = THRESHOLDS,
    *,
    labels: Labels = None,
    sample_weight: Weights = None,
    formatted: bool = False,
) -> DataFrame:
    """Sample and class coverage of what may be accepted at a confidence, as a DataFrame.

    For each threshold t the predictions of confidence at least t are selected. They are
    *reliable* if their accuracy is at least t: the confidence keeps what it promises.
    Sample coverage is the selected share of all samples, class coverage the share of the
    classes that occur among the true labels of the selected. Both count only where the
    selection is reliable; elsewhere the table has a cross.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes), or dict of them
        Class probabilities. A dict holds those of several classifiers, by name.
    thresholds : array-like of shape (n_thresholds,), default=(0.8, 0.85, 0.9, 0.95, 0.99)
        Confidences, fractions in [0, 1].
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights. A class counts as covered whatever the weight, if positive.
    formatted : bool, default=False
        Whether to return the table as it is printed, with "x" for a cross.

    Returns
    -------
    table : pandas.DataFrame
        One row per threshold, under its classifier when `y_proba` is a dict, with columns
        `sample_coverage` and `class_coverage` (fractions in [0, 1], NaN for a cross),
        `reliable` (bool), `accuracy` of the selected (fraction, NaN where nothing is
        selected) and `n_selected` (their number, or their total weight).

        With ``formatted=True`` one row per classifier and the thresholds as columns, under
        "sample coverage (%)" and "class coverage (%)": text, per cent with one decimal, or
        "x".

    See Also
    --------
    CoverageAtReliabilityDisplay : The same as a figure.
    coverage_at_risk : The largest coverage at an error rate, whatever the confidences say.

    Notes
    -----
    Nothing selected is not reliable: a cross. So is a selection that misses its threshold
    by one sample in ten thousand; `accuracy` and `n_selected` tell how close it was. A
    class that is absent from `y_true` counts among the classes, so that with fewer
    classes in the test set than columns the class coverage stays below 1.

    References
    ----------
    P. Morales-Álvarez, S. Christodoulidis, M. Vakalopoulou, P. Piantanida, J. Dolz.
    "BayesAdapter: enhanced uncertainty estimation in CLIP few-shot adaptation".
    arXiv:2412.09718, 2024.

    Examples
    --------
    >>> from skclip.metrics import reliability_coverage_table
    >>> y_true = ["cat", "dog", "cat", "dog"]
    >>> y_proba = {
    ...     "honest": [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]],
    ...     "boastful": [[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.9, 0.1]],
    ... }
    >>> table = reliability_coverage_table(y_true, y_proba, thresholds=[0.8, 0.95])
    >>> table.loc[("honest", 0.8), "sample_coverage"].item()
    0.5
    >>> table.loc["boastful", "accuracy"].tolist()
    [0.75, 1.0]
    >>> shown = reliability_coverage_table(y_true, y_proba, [0.8, 0.95], formatted=True)
    >>> print(shown["sample coverage (%)"].to_string())
              0.80   0.95
    honest    50.0      x
    boastful     x   50.0
    """
    pandas = import_optional("pandas", "reliability_coverage_table")
    each = y_proba if isinstance(y_proba, Mapping) else {"": y_proba}
    if not each:
        raise ValueError(
            "y_proba must hold the predictions of at least one classifier; got an empty dict. "
            "Pass {name: estimator.predict_proba(X)}."
        )
    rows = {
        name: reliable_coverage(y_true, proba, thresholds, labels, sample_weight)
        for name, proba in each.items()
    }
    frames = {name: _frame(pandas, row) for name, row in rows.items()}
    if formatted:
        return pandas.DataFrame({name: _as_printed(frame) for name, frame in frames.items()}).T
    return frames[""] if each is not y_proba else pandas.concat(frames, names=["classifier"])


def _frame(pandas: ModuleType, row: ReliableCoverage) -> DataFrame:
    """Numbers, one row per threshold; NaN is a cross."""
    return pandas.DataFrame(
        {
            "sample_coverage": np.where(row.reliable, row.sample_coverage, np.nan),
            "class_coverage": np.where(row.reliable, row.class_coverage, np.nan),
            "reliable": row.reliable,
            "accuracy": row.accuracy,
            "n_selected": row.n_selected,
        },
        index=pandas.Index(row.thresholds, name="threshold"),
    )


def _as_printed(frame: DataFrame) -> dict[tuple[str, str], str]:
    """(title, threshold) -> text, of one classifier."""
    return {
        (f"{name.replace('_', ' ')} (%)", f"{threshold:.2f}"): "x"
        if np.isnan(value)
        else f"{100 * value:.1f}"
        for name in ("sample_coverage", "class_coverage")
        for threshold, value in frame[name].items()
    }


def _check_thresholds(thresholds: ArrayLike) -> Float:
    levels = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if levels.ndim != 1 or not levels.size or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(
            f"thresholds must be fractions in [0, 1], at least one; got {thresholds!r}. "
            "For confidences of 80 % and 95 % pass thresholds=[0.8, 0.95]."
        )
    return levels
