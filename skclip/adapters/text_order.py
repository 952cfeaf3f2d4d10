r"""Does the support set contradict the order in which text prototypes were given?

Images of a class look more like their own text than like others once the common direction of all
images, and that of all texts, is taken away. So let :math:`S_{jk}` be the cosine of the centred
mean of the images of class j and the centred text k, with row and column means removed. Under a
random order of the texts the sum :math:`\sum_j S_{j \pi(j)}` has mean 0 and variance
:math:`\sum S_{jk}^2 / (c - 1)`; in units of that standard deviation, a is the sum of the order
given and b the largest of any one-to-one assignment. The order is contradicted where

.. math::
    b > m + \max(2, m / 5) \quad\text{and}\quad a < b / 2, \qquad
    m = \sqrt c\, (\sqrt{2 \log c} - 0.72),

m being what b is for a table of random numbers. The first condition asks that the texts belong to
these images at all, the second that it is another order in which they do. As b is at most c - 1,
nothing is said of fewer than eight classes.

False alarms, at one image per class: none in 700 draws of 8 to 50 classes of ImageNet in their
right order, where a / b was 0.78 or more, nor on CIFAR-10 with the text of OpenCLIP's ViT-B-32
(0.91 or more), whose zero-shot classifier finds 3 % of the automobiles: that a text misplaces a
boundary does not make it resemble another class more. Of unrelated text (that of other classes, or
random numbers in 2 to 50 dimensions) b exceeded m by more than 2 in none of 1,600 draws of up to
25 classes. A shuffled order of 25 pets had b of 11.4 or more in 50 draws, where 11.1 is needed.
"""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment

from skclip.exceptions import PrototypeWarning
from skclip.utils.messages import listing
from skclip.utils.rows import direction

__all__ = ["warn_if_shifted", "warn_if_texts_are_misplaced"]

# Standard deviations that a shift of labels must gain to be believed.
_SIGNIFICANT = 4.0


def warn_if_texts_are_misplaced(
    X: np.ndarray, codes: np.ndarray, weight: np.ndarray, text: np.ndarray, classes: np.ndarray
) -> None:
    """Warn where the images fit another order of the rows of `text`.

    Parameters
    ----------
    X, codes, weight : ndarray of shape (n, d), (n,), (n,)
        Support rows, the position of their class in `classes`, and their weights.
    text : ndarray of shape (c, d)
        As given, in the order of `classes`. A square array is tried transposed, too.
    classes : ndarray of shape (c,)
    """
    means, present = _class_means(X, codes, weight)
    c = len(present)
    if c < 3:
        return
    needed = c**0.5 * ((2 * np.log(c)) ** 0.5 - 0.72)
    needed += max(2.0, needed / 5)
    given, best, found = _agreement(means, text[present])
    if best > needed and given < best / 2:
        wrong = np.flatnonzero(found != np.arange(c))
        pairs = listing(
            [(classes[present[j]], classes[present[found[j]]]) for j in wrong],
            most=3,
            show=lambda pair: f"images of {_shown(pair[0])} fit the text of {_shown(pair[1])}",
        )
        _warn(f"the support set contradicts that: {pairs}")
    elif text.shape[0] == text.shape[1] == c:
        transposed, best, _ = _agreement(means, text.T)
        if best > needed and given < best / 2 < transposed:
            _warn("the support set fits the columns, so that the array seems to be transposed")


def warn_if_shifted(
    X: np.ndarray, codes: np.ndarray, weight: np.ndarray, text: np.ndarray, classes: np.ndarray
) -> None:
    """Warn where integer labels look like codes of the classes that have images.

    Meta-estimators encode labels as 0, 1, ... before they fit. Where one of the integer classes has
    no image, all behind it move up by one, and the prototype of another class is theirs. That can
    be seen if the classes with images are exactly the first m of c, and images fit the text of a
    later class better, in order, by four standard deviations over the three or more classes that
    move. On four data sets at 1 and 4 shots that found 92 % of the shifts by one or two classes,
    and none in 480 draws with the right labels and 480 with unrelated text. Parameters are those of
    :func:`warn_if_texts_are_misplaced`.
    """
    means, present = _class_means(X, codes, weight)
    m, c = len(present), len(text)
    if not (m < c and classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(c))):
        return
    if m < 3 or not np.array_equal(present, np.arange(m)):
        return
    S = _table(means, text)
    # Over the classes so far, the last of which moves by k: what moving gained, and how many do.
    gain, moved = np.zeros(c - m + 1), np.zeros(c - m + 1)
    for j in range(m):
        before = [int(np.argmax(gain[: k + 1])) for k in range(len(gain))]
        moved = moved[before] + (np.arange(len(gain)) > 0)
        gain = gain[before] + S[j, j : j + len(gain)] - S[j, j]
    best = int(np.argmax(gain))
    deviation = np.sqrt(2 * moved[best] * (S**2).mean())
    if moved[best] >= 3 and gain[best] > _SIGNIFICANT * deviation:
        warnings.warn(
            f"Integer labels must be those of the prototypes; the {m} labels in y are 0 to "
            f"{m - 1}, and images of {int(moved[best])} of them fit the text of a later label "
            "better. A meta-estimator (voting, stacking, bagging, cross_val_predict) encodes "
            "labels before it fits, which shifts them where a class has no image. Use strings as "
            "labels, or pass an image of every class.",
            PrototypeWarning,
            stacklevel=2,
        )


def _class_means(
    X: np.ndarray, codes: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (m, d) of the unit rows of every class that has any, and the codes (m,) of these."""
    kept = weight > 0
    present, position = np.unique(codes[kept], return_inverse=True)
    means = np.zeros((len(present), X.shape[1]))
    np.add.at(means, position, weight[kept, None] * direction(X[kept].astype(np.float64)))
    return direction(means), present


def _agreement(means: np.ndarray, text: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Sums a of the order given and b of the best assignment, in deviations; and that (c,)."""
    S = _table(means, text)
    deviation = np.sqrt((S**2).sum() / (len(S) - 1)) or 1.0
    rows, found = linear_sum_assignment(-S)
    return float(np.trace(S) / deviation), float(S[rows, found].sum() / deviation), found


def _table(means: np.ndarray, text: np.ndarray) -> np.ndarray:
    """S (m, c)."""
    text = direction(text.astype(np.float64))
    S = direction(means - means.mean(axis=0)) @ direction(text - text.mean(axis=0)).T
    return S - S.mean(axis=0) - S.mean(axis=1, keepdims=True) + S.mean()


def _shown(label: object) -> str:
    return repr(label.item() if hasattr(label, "item") else label)


def _warn(what: str) -> None:
    warnings.warn(
        f"Rows of prototypes must be in the order of the sorted labels; {what}. Labels are sorted "
        "as np.unique sorts them ('10' before '2'). Pass Prototypes(vectors, labels), or a "
        "DataFrame whose index are the labels, and no order matters.",
        PrototypeWarning,
        stacklevel=3,
    )
