"""Labels with abstentions in them, and what a classifier that abstains did on labelled rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, column_or_1d

from skclip.utils.arrays import check_total
from skclip.utils.labels import as_labels, check_labels

__all__ = [
    "SelectiveScore",
    "abstention_label",
    "checked_labels",
    "score_accepted",
    "with_abstentions",
]


class SelectiveScore(NamedTuple):
    """What a selective classifier did on labelled rows.

    Parameters
    ----------
    risk : float
        Share of wrong predictions among the accepted rows; nan where none is accepted.
    coverage : float
        Share of rows that are accepted.
    n_accepted : int
        Number of accepted rows.
    n_wrong : int
        Number of wrong predictions among them.
    """

    risk: float
    coverage: float
    n_accepted: int
    n_wrong: int


def score_accepted(
    accepted: np.ndarray, wrong: np.ndarray, weight: np.ndarray | None = None
) -> SelectiveScore:
    """Risk and coverage of rows (n,) of weights (n,), all 1 by default."""
    weight = np.ones(len(wrong)) if weight is None else weight
    check_total(weight, "sample_weight", 1e100)
    total, kept = weight.sum(), weight[accepted].sum()
    return SelectiveScore(
        risk=float(weight[accepted & wrong].sum() / kept) if kept > 0 else np.nan,
        coverage=float(kept / total),
        n_accepted=int(accepted.sum()),
        n_wrong=int((accepted & wrong).sum()),
    )


def checked_labels(y: ArrayLike, *, warn: bool = False) -> np.ndarray:
    """Labels (n,), none missing, all of one type; `warn` of a column vector."""
    y = column_or_1d(as_labels(y), warn=warn)
    assert_all_finite(y, input_name="y")
    check_labels(y)
    return y


def abstention_label(
    label: object,
    classes: np.ndarray,
    *,
    parameter: str = "abstain_label",
    text: str = "abstain",
) -> object:
    """The label of abstention: "auto" is `text` where classes are text, and -1 for numbers."""
    if isinstance(label, str) and label == "auto":
        label = text if isinstance(classes[0], str) else -1
    if any(label == known for known in classes.tolist()):
        raise ValueError(
            f"{parameter} must not be a class; got {label!r}. Pass an {parameter} that is none."
        )
    return label


def with_abstentions(labels: np.ndarray, rejected: np.ndarray, abstain_label: object) -> np.ndarray:
    """Labels with abstentions put in, in a type that holds both."""
    label = np.asarray(abstain_label)
    both_text = labels.dtype.kind == "U" and label.dtype.kind == "U"
    both_numbers = labels.dtype.kind in "iuf" and label.dtype.kind in "if"
    if both_numbers and label.dtype.kind == "i":
        label = label.astype(np.min_scalar_type(abstain_label))
    dtype = np.result_type(labels, label) if both_text or both_numbers else object
    out = labels.astype(dtype)
    out[rejected] = abstain_label
    return out
