"""Where a classifier errs: numbers by class, and labels that are probably wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skclip.metrics.probabilities import Float, Labels, check_predictions, in_order, in_range
from skclip.utils.labels import as_labels, check_spelling

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["checked", "class_table", "numbers_by_class", "probable_label_errors"]


def class_table(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: Labels = None,
    y_train: ArrayLike | None = None,
) -> pd.DataFrame:
    """Precision, recall and honesty of the confidence, class by class.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Class probabilities.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.
    y_train : array-like of shape (n_train,), default=None
        Labels of the support set, to count the shots of every class.

    Returns
    -------
    table : DataFrame of n_classes rows
        Its index are the labels. Columns are "images" (rows of the class), "recall" (share of
        them that is recognised), "precision" (share right of those predicted as the class),
        "overconfidence" (mean confidence of those predicted as the class minus the precision, a
        fraction in [-1, 1]; above 0 the classifier promises too much), and "shots" where
        `y_train` is given. Shares of nothing are NaN.

    See Also
    --------
    ErrorDisplay : The same with the confusion matrix and the worst mistakes.

    Examples
    --------
    >>> from skclip.metrics import class_table
    >>> y_proba = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]
    >>> class_table(["cat", "cat", "dog"], y_proba).round(2)
         images  recall  precision  overconfidence
    cat       2     0.5        1.0            -0.1
    dog       1     1.0        0.5             0.2
    """
    codes, proba, names = checked(y_true, y_proba, labels)
    confidence, predicted = proba.max(axis=1), proba.argmax(axis=1)
    table = numbers_by_class(codes, predicted, confidence, names)
    if y_train is not None:
        train = as_labels(y_train, "y_train")
        check_spelling(train, names, "y_train")
        table["shots"] = [np.count_nonzero(train == name) for name in names]
    return table


def numbers_by_class(
    codes: NDArray[np.integer],
    predicted: NDArray[np.integer],
    confidence: Float,
    labels: NDArray,
) -> pd.DataFrame:
    """:func:`class_table` of true and predicted positions in `labels` and of confidences."""
    import pandas as pd

    c, right = len(labels), codes == predicted
    images, chosen = (np.bincount(k, minlength=c) for k in (codes, predicted))
    hits = np.bincount(codes[right], minlength=c)
    with np.errstate(invalid="ignore"):
        precision = hits / chosen
        table = {
            "images": images,
            "recall": hits / images,
            "precision": precision,
            "overconfidence": np.bincount(predicted, confidence, c) / chosen - precision,
        }
    return pd.DataFrame(table, index=labels.tolist())


def probable_label_errors(
    y_true: ArrayLike, y_proba: ArrayLike, *, labels: Labels = None
) -> NDArray[np.intp]:
    r"""Rows whose label is probably wrong, the least believable first.

    Confident learning [1]_: with :math:`t_j` the mean probability of class j over the rows
    labelled j, a row is taken for one of the class of the largest probability among those with
    :math:`p_j \ge t_j`. Where this is not its label, the label is probably wrong.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels as they were given.
    y_proba : array-like of shape (n_samples, n_classes)
        Probabilities for each row by a classifier that was not fitted on it, as those of
        :func:`sklearn.model_selection.cross_val_predict`. One that has seen the row believes its
        label.
    labels : array-like of shape (n_classes,), default=None
        Label of each column of `y_proba`; None for the sorted labels of `y_true`.

    Returns
    -------
    rows : ndarray of shape (n_errors,)
        Positions in `y_true`, by increasing probability of the given label.

    Notes
    -----
    Rows and their order are those of cleanlab's ``find_label_issues`` with
    ``filter_by="confident_learning"`` and ``return_indices_ranked_by="self_confidence"``, but for
    its refusal to leave a class without rows. What is found is to be looked at, not removed.

    References
    ----------
    .. [1] C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident learning: estimating uncertainty in
       dataset labels", Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    >>> from skclip.metrics import probable_label_errors
    >>> y_proba = [[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.2, 0.8], [0.3, 0.7]]
    >>> probable_label_errors(["cat", "cat", "cat", "dog", "dog"], y_proba)
    array([2])
    """
    codes, proba, _ = checked(y_true, y_proba, labels)
    own = proba[np.arange(len(codes)), codes]
    sums = np.bincount(codes, own, proba.shape[1])
    counts = np.bincount(codes, minlength=proba.shape[1])
    # No row can be taken for a class that no row has a label of.
    threshold = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)
    believable = np.where(proba >= threshold - 1e-12, proba, -1.0)
    taken_for = believable.argmax(axis=1)
    wrong = (believable.max(axis=1) >= 0) & (taken_for != codes)
    rows = np.flatnonzero(wrong)
    return rows[np.argsort(own[rows], kind="stable")]


def checked(
    y_true: ArrayLike, y_proba: ArrayLike, labels: Labels
) -> tuple[NDArray[np.intp], Float, NDArray]:
    """Codes (n,), probabilities (n, c) and the labels of the columns (c,)."""
    y_proba, labels = in_order(y_proba, labels, y_true)
    codes, proba, _ = check_predictions(y_true, y_proba, labels, None)
    names = np.unique(as_labels(y_true, "y_true")) if labels is None else np.asarray(labels)
    return codes, in_range(proba), names
