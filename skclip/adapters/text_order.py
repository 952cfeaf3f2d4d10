r"""Does the support set contradict the order in which text prototypes were given?

Images of a class look more like their own text than like others once the common direction of all
images, and that of all texts, is taken away. So let :math:`S_{jk}` be the cosine of the centred
mean of the images of class j and the centred text k, with row and column means removed; a is the
sum :math:`\sum_j S_{j \pi(j)}` of the order given, and b the largest of any one-to-one assignment.
The order is contradicted where

.. math::
    \left(b > \sigma (m + \max(2, m / 5)) \quad\text{or}\quad
    \frac b c > 0.22 + 0.02 \log_2 n + \frac{0.2}{c}\right) \quad\text{and}\quad a < \frac b 2, \\
    m = \sqrt c\, (\sqrt{2 \log c} - 0.72),

n being the images per class. The first two say that the texts belong to these images at all, the
last that it is another order in which they do. :math:`\sigma^2 = \sum S_{jk}^2 / (c - 1)` is the
variance of the sum under a random order, and m what :math:`b / \sigma` is for a table of random
numbers. As b is at most :math:`(c - 1) \sigma`, few classes need the second condition, which was
measured: it is about what one text of other classes in a thousand reaches. It is asked of up to
twelve classes, and, as random directions agree more the fewer they are, b / c must then exceed
:math:`(m + 4) / \sqrt{(c - 1) d}`, too.

Draws of 2 to 12 classes at 1 to 16 images per class, 38,000 from the training pools of five data
sets, say what that is worth (``benchmarks/text_order.py``). In their right order none is
contradicted, CIFAR-10 with the text of OpenCLIP's ViT-B-32 among them, whose zero-shot classifier
finds 3 % of the automobiles: that a text misplaces a boundary does not make it resemble another
class more. Nor was any of 700 draws of 8 to 50 classes of ImageNet. Of texts of other classes
0.1 % are contradicted, at most 0.5 % in any cell. Of random orders, in which classes may well have
kept their places, there are seen, in percent:

======= ==== ==== ==== ====
classes 1    2    4    16    images per class
======= ==== ==== ==== ====
2       40   57   70   79
3       58   76   85   91
5       72   86   92   96
8       94   98   99   100
======= ==== ==== ==== ====
"""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from skclip.exceptions import PrototypeWarning
from skclip.utils.messages import listing
from skclip.utils.rows import direction

__all__ = ["warn_if_shifted", "warn_if_texts_are_misplaced"]

# Mean cosine that one text of other classes in a thousand reaches: of c classes with n images each,
# _LEAST + _PER_DOUBLING * log2(n) + _PER_CLASS / c; measured for at most so many classes.
_LEAST, _PER_DOUBLING, _PER_CLASS, _MEASURED = 0.22, 0.02, 0.2, 12
# Standard deviations that a shift of labels must gain to be believed.
_SIGNIFICANT = 4.0
# Cosine of what tells the labels 1 and 0 apart with the text of a third class.
_BINARISED = 0.3


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
    if c < 2:
        return
    n = np.count_nonzero(weight) / c
    given, best, found, related = _agreement(means, text[present], n)
    if related and given < best / 2:
        wrong = np.flatnonzero(found != np.arange(c))
        pairs = listing(
            [(classes[present[j]], classes[present[found[j]]]) for j in wrong],
            most=3,
            show=lambda pair: f"images of {_shown(pair[0])} fit the text of {_shown(pair[1])}",
        )
        _warn(f"the support set contradicts that: {pairs}")
    elif text.shape[0] == text.shape[1] == c:
        transposed, best, _, related = _agreement(means, text.T, n)
        if related and given < best / 2 < transposed:
            _warn("the support set fits the columns, so that the array seems to be transposed")


def warn_if_shifted(
    X: np.ndarray, codes: np.ndarray, weight: np.ndarray, text: np.ndarray, classes: np.ndarray
) -> None:
    """Warn where integer labels and those of the prototypes count from different starts.

    Meta-estimators encode labels as 0, 1, ... before they fit. Where one of the integer classes has
    no image, all behind it move up by one, and the prototype of another class is theirs. Labels
    that start at 1, and prototypes that start at 0, go the other way. That can be seen if the
    classes with images are exactly the first m of c, or the last, and images fit the text of a
    later class better, or an earlier one, in order, by four standard deviations over the three or
    more classes that move. On four data sets at 1 and 4 shots that found 92 % of the shifts by one
    or two classes, and none in 480 draws with the right labels and 480 with unrelated text.
    Parameters are those of :func:`warn_if_texts_are_misplaced`.
    """
    means, present = _class_means(X, codes, weight)
    m, c = len(present), len(text)
    if m == 2 and c > 2 and classes.dtype.kind in "iu":
        if np.array_equal(classes[present], [0, 1]):
            _warn_if_binarised(means, present, text, classes)
        return
    if not (3 <= m < c and classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(c))):
        return
    S = _table(means, text)
    if np.array_equal(present, np.arange(m)):
        n_moved, where = _moved(S), "a later"
        cause = (
            "A meta-estimator (voting, stacking, bagging, cross_val_predict) encodes labels before "
            "it fits, which shifts them where a class has no image. Use strings as labels, or pass "
            "an image of every class."
        )
    elif np.array_equal(present, np.arange(c - m, c)):
        n_moved, where = _moved(S[::-1, ::-1]), "an earlier"
        cause = (
            "If labels start at 1, those of the prototypes must, too: "
            "class_names=dict(enumerate(names, start=1))."
        )
    else:
        return
    if n_moved:
        warnings.warn(
            f"Integer labels must be those of the prototypes; the {m} labels in y are "
            f"{present[0]} to {present[-1]} of 0 to {c - 1}, and images of {n_moved} of them fit "
            f"the text of {where} label better. {cause}",
            PrototypeWarning,
            stacklevel=2,
        )


def _warn_if_binarised(
    means: np.ndarray, present: np.ndarray, text: np.ndarray, classes: np.ndarray
) -> None:
    """Warn where the labels 0 and 1 say "others" and "this class", not the classes 0 and 1.

    What the two means (2, d) differ in is then the text of a third class, and does not lead from
    the text of 0 to that of 1.
    """
    text = direction(text.astype(np.float64))
    differs = direction(means[1:] - means[:1])[0]
    fits = direction(text - text.mean(axis=0)) @ differs
    fits -= fits.mean()
    other = int(np.argmax(fits))
    if fits[other] > _BINARISED and fits[present[1]] - fits[present[0]] < fits[other] / 2:
        warnings.warn(
            f"Integer labels must be those of the prototypes; y holds 0 and 1 of {len(classes)} "
            f"classes, and what its rows of 1 differ in fits the text of {_shown(classes[other])}. "
            "OneVsRestClassifier, MultiOutputClassifier and other meta-estimators binarise labels "
            "before they fit. These classifiers are multiclass: fit them without the "
            "meta-estimator, or pass prototypes=None.",
            PrototypeWarning,
            stacklevel=3,
        )


def _moved(S: np.ndarray) -> int:
    """How many of the m classes fit the text of a later one, in order; 0 if that may be chance.

    S (m, c) has the classes with images in its rows, which are the first of its columns.
    """
    m, c = S.shape
    # Over the classes so far, the last of which moves by k: what moving gained, and how many do.
    gain, moved = np.zeros(c - m + 1), np.zeros(c - m + 1, dtype=int)
    for j in range(m):
        before = [int(np.argmax(gain[: k + 1])) for k in range(len(gain))]
        moved = moved[before] + (np.arange(len(gain)) > 0)
        gain = gain[before] + S[j, j : j + len(gain)] - S[j, j]
    best = int(np.argmax(gain))
    deviation = np.sqrt(2 * moved[best] * (S**2).mean())
    return int(moved[best]) if moved[best] >= 3 and gain[best] > _SIGNIFICANT * deviation else 0


def _class_means(
    X: np.ndarray, codes: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (m, d) of the unit rows of every class that has any, and the codes (m,) of these."""
    rows = np.flatnonzero(weight > 0)
    present, which = np.unique(codes[rows], return_inverse=True)
    sums = csr_array((weight[rows].astype(X.dtype), (which, rows)), (len(present), len(X)))
    return direction((sums @ direction(X)).astype(np.float64)), present


def _agreement(
    means: np.ndarray, text: np.ndarray, n: float
) -> tuple[float, float, np.ndarray, bool]:
    """Sums a of the order given and b of the best assignment; that (c,); whether b is no chance.

    `n` is the number of images per class.
    """
    S, c = _table(means, text), len(text)
    rows, found = linear_sum_assignment(-S)
    given, best = float(np.trace(S)), float(S[rows, found].sum())
    deviation = np.sqrt((S**2).sum() / (c - 1))
    m = c**0.5 * ((2 * np.log(c)) ** 0.5 - 0.72)
    by_chance = deviation * (m + max(2.0, m / 5))
    if c <= _MEASURED:
        measured = _LEAST + _PER_DOUBLING * np.log2(n) + _PER_CLASS / c
        directions = (m + 4) / ((c - 1) * text.shape[1]) ** 0.5
        by_chance = min(by_chance, c * max(measured, directions))
    return given, best, found, bool(best > by_chance)


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
