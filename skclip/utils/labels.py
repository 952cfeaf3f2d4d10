"""Labels of a classification."""

import unicodedata
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.multiclass import check_classification_targets

from skclip.utils.arrays import as_array
from skclip.utils.messages import listing

__all__ = [
    "as_labels",
    "check_one_type",
    "check_spelling",
    "check_labels",
    "encoding_hint",
    "label_kind",
    "misspelled",
    "mistyped",
    "pair_shown",
]

# Of shorter names one letter makes another word too often: cow and crow.
_LONG_NAME = 5


def as_labels(y: ArrayLike, name: str = "y") -> np.ndarray:
    """Labels as an array, none of which is missing, all of one kind.

    Raises
    ------
    ValueError
        If a label is None, NaN, NA or NaT, strings and numbers are mixed, which NumPy would
        turn into strings without a word, or labels are objects that have no order.
    """
    given, labels = y, as_array(y, name)
    if labels.ndim == 0:  # no collection: whoever asked says what shape it wants
        return labels
    if labels.dtype.kind in "US" and isinstance(given, list | tuple):
        labels = np.asarray(given, dtype=object)
    if labels.dtype.kind == "O":
        flat = labels.ravel().tolist()
        missing = np.flatnonzero([_is_missing(label) for label in flat])
    else:
        flat = list(labels.ravel())
        missing = np.flatnonzero(labels.ravel() != labels.ravel())  # NaN, NaT
    if len(missing):
        raise ValueError(
            f"{name} must have no missing values; got {listing([flat[i] for i in missing])} at "
            f"position(s) {listing(missing)}. "
            + ("Drop those samples, with their rows." if name.startswith("y") else "Drop them.")
        )
    found = {label_kind(label) for label in flat} if labels.dtype.kind == "O" else set()
    kinds = listing(sorted({type(label).__name__ for label in flat})) if found else ""
    if len(found) > 1:
        raise ValueError(
            f"{name} must hold labels of one type; got {kinds}. Convert them all, for instance "
            "with str(label)."
        )
    if found - {"text", "number"} or labels.dtype.kind in "SMm":
        kinds = kinds or {"S": "bytes", "M": "dates", "m": "durations"}[labels.dtype.kind]
        raise ValueError(
            f"{name} must hold strings or numbers as labels; got {kinds}. Convert them, "
            "for instance with str(label), or label.decode() for bytes."
        )
    return np.asarray(given) if isinstance(given, list | tuple) else labels


def check_labels(y: ArrayLike) -> None:
    """:func:`as_labels`, and scikit-learn's check without its warning that they look continuous."""
    y = as_labels(y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        check_classification_targets(y)


def check_spelling(y: ArrayLike, classes: np.ndarray, name: str = "Labels") -> None:
    """Refuse labels that would make every prediction wrong by how they are written."""
    known = classes.tolist()
    unknown = [label for label in np.unique(y).tolist() if label not in set(known)]
    if unknown and (misspelled(unknown, known) or label_kind(unknown[0]) != label_kind(known[0])):
        raise ValueError(
            f"{name} must be written as the classes that are predicted, in type and spelling; got "
            f"{listing(unknown)}, and the classes are {listing(known)}. Pass labels as those "
            "that the estimator was fitted with."
        )


def check_one_type(labels: ArrayLike, known: ArrayLike, name: str) -> None:
    """Refuse labels (n,) of another type than those known, which NumPy would mix as strings."""
    both = [{_type_of(label) for label in np.unique(part).tolist()} for part in (known, labels)]
    if both[0] and both[1] and both[0] != both[1]:
        kinds = listing(sorted(both[0] | both[1]))
        raise ValueError(
            f"{name} must hold labels of one type; got {kinds}. Convert them all, for instance "
            "with str(label)."
        )


def encoding_hint(labels: ArrayLike) -> str:
    """What has happened, if labels that nobody knows are the codes 0, 1, ... of others; or ""."""
    labels = np.unique(labels)
    if labels.dtype.kind not in "iu" or not np.array_equal(labels, np.arange(len(labels))):
        return ""
    if len(labels) == 2:
        return (
            " Labels of 0 and 1 are made by OneVsRestClassifier, MultiOutputClassifier and other "
            "meta-estimators that binarise: fit this multiclass classifier without them, or pass "
            "prototypes=None. If y has two classes in all, they are the codes that "
            "VotingClassifier, StackingClassifier and others give them: pass a plain array of "
            "both prototypes in sorted order of the labels."
        )
    return (
        " These labels are codes: VotingClassifier, StackingClassifier, BaggingClassifier and "
        "cross_val_predict(method='predict_proba') encode labels as 0, 1, ... in sorted order "
        "before they fit. With names = numpy.unique(y), pass "
        "class_names=dict(enumerate(names)) to ClassPrompts, or a plain array of prototypes in "
        "the order of names."
    )


def label_kind(label: Any) -> str:
    """What a label can be compared with: "text", "number", or the name of its type."""
    if isinstance(label, str | bytes):
        return "text" if isinstance(label, str) else "bytes"
    return (
        "number"
        if isinstance(label, bool | int | float | np.number | np.bool_)
        else (type(label).__name__)
    )


def _type_of(label: Any) -> str:
    """ "bool" or :func:`label_kind`, as True is no class 1."""
    return "bool" if isinstance(label, bool) else label_kind(label)


def misspelled(unknown: Iterable[Any], known: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(unknown label, known label) that are the same but for type, case, spaces or underscores."""
    spelled = {_plain(label): label for label in known}
    return [(label, spelled[_plain(label)]) for label in unknown if _plain(label) in spelled]


def mistyped(unknown: Iterable[Any], known: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(unknown label, known label) that are :func:`misspelled`, or one slip of the hand apart.

    That is a letter more or less, or two neighbours exchanged, in names of five letters and more;
    another letter in its place makes another word, and another digit another name.

    >>> mistyped(["Persain", "birmann", "mouse", "hose"], ["Persian", "Birman", "house"])
    [('Persain', 'Persian'), ('birmann', 'Birman')]
    """
    near: dict[str, Any] = {}
    for label in known:
        for slip in _slips(_plain(label)):
            near.setdefault(slip, label)
    found = []
    for label in unknown:
        spelled = [near[slip] for slip in _slips(_plain(label)) if slip in near]
        pairs = [(label, other) for other in spelled if _is_slip(_plain(label), _plain(other))]
        found += pairs[:1]
    return found


def pair_shown(pair: tuple[Any, Any], word: str) -> str:
    """Two labels that differ, for a message: in ASCII where they look alike.

    >>> pair_shown(("Persain", "Persian"), "for")
    "'Persain' for 'Persian'"
    """
    label, other = pair
    alike = unicodedata.normalize("NFC", str(label)) == unicodedata.normalize("NFC", str(other))
    show = ascii if alike else repr
    return f"{show(label)} {word} {show(other)}"


def _slips(name: str) -> list[str]:
    """The name with and without any one letter: names a slip apart have one of these in common."""
    if len(name) < _LONG_NAME or any(letter.isdigit() for letter in name):
        return [name]
    return [name, *(name[:i] + name[i + 1 :] for i in range(len(name)))]


def _is_slip(name: str, other: str) -> bool:
    """Whether a letter more or less, or an exchange of neighbours, is all that differs."""
    if len(name) != len(other):
        return min(len(name), len(other)) >= _LONG_NAME
    differ = [i for i in range(len(name)) if name[i] != other[i]]
    exchanged = len(differ) == 2 and differ[1] == differ[0] + 1 and sorted(name) == sorted(other)
    return not differ or exchanged


def _plain(label: Any) -> str:
    text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
    if text.strip().startswith("-") and text.strip()[1:2].isdigit():
        return text.strip()  # a minus is no hyphen
    # Folders of macOS have accents as letters of their own.
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.replace("_", " ").replace("-", " ").split())


def _is_missing(label: object) -> bool:
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, float | complex | np.generic) and bool(label != label)
