"""Texts in another order than the labels are seen, and nothing else is taken for it."""

import warnings

import numpy as np
import pytest
from sklearn.multiclass import OneVsRestClassifier

from skclip import BayesAdapterClassifier, Prototypes, ZeroShotClassifier
from skclip.adapters.text_order import warn_if_shifted, warn_if_texts_are_misplaced
from skclip.datasets import make_clip_features
from skclip.exceptions import PrototypeMismatchError, PrototypeWarning


def load(feature_sets, name):
    with np.load(feature_sets / f"{name}.npz") as arrays:
        pool = "val" if "val_features" in arrays else "train"
        return arrays[f"{pool}_features"], arrays[f"{pool}_labels"], arrays["text_features"]


def draw(X, y, shots, seed):
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(y == code))[:shots] for code in np.unique(y)]
    rows = np.concatenate(rows)
    return X[rows], y[rows]


def warned(X, codes, text, check=warn_if_texts_are_misplaced, labels=None):
    labels = np.arange(len(text)) if labels is None else labels
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(X, codes, np.ones(len(X)), text, labels)
    return [str(w.message) for w in caught]


def shuffled(text, seed):
    return text[np.random.default_rng(seed).permutation(len(text))]


def sorted_as_strings(text):
    return text[np.argsort(np.arange(len(text)).astype(str))]


@pytest.mark.feature_sets
@pytest.mark.parametrize("shots", [1, 2, 4])
@pytest.mark.parametrize("order", [shuffled, lambda text, seed: sorted_as_strings(text)])
def test_another_order_is_seen_on_real_features(feature_sets, shots, order):
    X, y, text = load(feature_sets, "pets25_vitb32")
    for seed in range(10):
        rows, codes = draw(X, y, shots, seed)
        messages = warned(rows, codes, order(text, seed))
        assert len(messages) == 1
        assert "must be in the order of the sorted labels; the support set contr" in messages[0]


@pytest.mark.feature_sets
@pytest.mark.parametrize("shots", [1, 2, 4])
@pytest.mark.parametrize("name", ["pets25_vitb32", "cifar10_laion_vitb32", "caltech69_vitb32"])
def test_the_right_order_is_believed_also_of_a_bad_text(feature_sets, name, shots):
    """CIFAR-10's text finds 3 % of the automobiles."""
    X, y, text = load(feature_sets, name)
    for seed in range(20):
        assert not warned(*draw(X, y, shots, seed), text)


@pytest.mark.feature_sets
def test_a_transposed_array_is_an_error_or_seen_where_it_is_square(feature_sets):
    X, y, text = load(feature_sets, "pets25_vitb32")
    rows, codes = draw(X, y, 2, 0)
    with pytest.raises(PrototypeMismatchError, match=r"seems to be transposed.* prototypes\.T"):
        BayesAdapterClassifier(text.T).fit(rows, codes)
    axes = np.linalg.svd(text - text.mean(axis=0))[2][: len(text)].T
    assert not warned(rows @ axes, codes, text @ axes)
    (message,) = warned(rows @ axes, codes, (text @ axes).T)
    assert "transposed" in message


@pytest.mark.feature_sets
def test_a_fit_warns_once_and_names_labels_unless_the_prototypes_are_labelled(feature_sets):
    X, y, text = load(feature_sets, "pets25_vitb32")
    rows, codes = draw(X, y, 1, 0)
    wrong = shuffled(text, 0)
    for estimator in (ZeroShotClassifier(wrong), BayesAdapterClassifier(wrong)):
        with pytest.warns(PrototypeWarning, match=r"images of 'pet 00' fit the text of 'pet ") as w:
            estimator.fit(rows, np.char.mod("pet %02d", codes))
        assert len(w) == 1
    ZeroShotClassifier(Prototypes(wrong, np.arange(25))).fit(rows, codes)


@pytest.mark.parametrize("dimension", [2, 5, 50, 512])
@pytest.mark.parametrize("n_classes", [2, 3, 5, 8, 12, 25])
def test_random_rows_without_a_relation_are_no_contradiction(n_classes, dimension):
    """Also two classes, and any order of few, which agree with anything by chance."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, text = rng.normal(size=(2, n_classes, dimension))
        assert not warned(X, np.arange(n_classes), text)


@pytest.mark.feature_sets
def test_one_exchanged_pair_is_no_contradiction(feature_sets):
    """The texts of two alike classes may well be the wrong way round."""
    X, y, text = load(feature_sets, "pets25_vitb32")
    exchanged = text[[1, 0, *range(2, 25)]]
    assert not warned(*draw(X, y, 1, 0), exchanged)


@pytest.mark.feature_sets
@pytest.mark.parametrize("shots", [1, 4])
def test_integer_labels_that_a_meta_estimator_shifted_are_seen(feature_sets, shots):
    """Class 5 has no image, so that an encoder calls class 6 "5", and so on."""
    for name in ("pets25_vitb32", "cifar10_laion_vitb32"):
        X, y, text = load(feature_sets, name)
        for seed in range(10):
            rows, codes = draw(X, y, shots, seed)
            kept = codes != 2
            shifted = np.unique(codes[kept], return_inverse=True)[1]
            (message,) = warned(rows[kept], shifted, text, warn_if_shifted)
            assert "encodes labels before it fits" in message
            # The same rows with their own labels, and others of which the last have no image.
            assert not warned(rows[kept], codes[kept], text, warn_if_shifted)
            first = codes < len(text) - 2
            assert not warned(rows[first], codes[first], text, warn_if_shifted)
            assert not warned(rows[first], codes[first], shuffled(text, seed), warn_if_shifted)


@pytest.mark.feature_sets
@pytest.mark.parametrize("shots", [1, 4])
def test_labels_that_start_at_one_where_prototypes_start_at_zero_are_seen(feature_sets, shots):
    """The last class has no image, so that every label has a prototype: that of another class."""
    for name in ("pets25_vitb32", "cifar10_laion_vitb32"):
        X, y, text = load(feature_sets, name)
        for seed in range(10):
            rows, codes = draw(X, y, shots, seed)
            kept = codes < len(text) - 1
            (message,) = warned(rows[kept], codes[kept] + 1, text, warn_if_shifted)
            assert "class_names=dict(enumerate(names, start=1))" in message
            # Labels that are right, of which the first has no image.
            kept = codes > 0
            assert not warned(rows[kept], codes[kept], text, warn_if_shifted)


@pytest.mark.feature_sets
@pytest.mark.parametrize(("n_classes", "shots", "least"), [(2, 4, 0.6), (4, 2, 0.6), (7, 1, 0.7)])
def test_another_order_of_few_classes_is_seen_more_often_than_not(
    feature_sets, n_classes, shots, least
):
    """And the right one never contradicted, nor one of other texts."""
    seen = 0
    for seed in range(40):
        X, y, text = load(feature_sets, "pets25_vitb32")
        rng = np.random.default_rng(seed)
        classes, others = np.split(rng.permutation(len(text))[: 2 * n_classes], 2)
        classes = np.sort(classes)
        kept = np.isin(y, classes)
        rows, codes = draw(X[kept], np.unique(y[kept], return_inverse=True)[1], shots, seed)
        assert not warned(rows, codes, text[classes])
        assert not warned(rows, codes, text[others])
        seen += len(warned(rows, codes, np.roll(text[classes], 1, axis=0)))
    assert seen >= least * 40


def test_labels_that_one_versus_rest_made_are_seen():
    """Its 0 and 1 have prototypes, those of two other classes: accuracy was that of chance."""
    task = make_clip_features(6, 5, n_features=40, n_informative=16, random_state=0)
    prototypes = dict(enumerate(task.prototypes))
    with pytest.warns(PrototypeWarning, match="OneVsRestClassifier, MultiOutputClassifier"):
        OneVsRestClassifier(ZeroShotClassifier(prototypes)).fit(task.X, task.y)
    two = task.y < 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ZeroShotClassifier(prototypes).fit(task.X[two], task.y[two])
    names = np.char.mod("class %d", task.y)
    named = dict(zip(np.unique(names), task.prototypes, strict=True))
    with pytest.raises(PrototypeMismatchError, match="without them, or pass prototypes=None"):
        OneVsRestClassifier(ZeroShotClassifier(named)).fit(task.X, names)


@pytest.mark.feature_sets
@pytest.mark.parametrize("name", ["pets25_vitb32", "cifar10_laion_vitb32", "caltech69_vitb32"])
def test_two_classes_of_many_are_not_taken_for_binarised_labels(feature_sets, name):
    X, y, text = load(feature_sets, name)
    seen = 0
    for seed in range(50):
        chosen = np.random.default_rng(seed).permutation(len(text))[:8]
        rows, labels = draw(X, y, 4, seed)
        kept = np.isin(labels, chosen)
        rows, codes = rows[kept], np.argmax(labels[kept, None] == chosen, axis=1)
        two = codes < 2
        assert not warned(rows[two], codes[two], text[chosen], warn_if_shifted)
        unrelated = np.random.default_rng(seed).normal(size=text[chosen].shape)
        assert not warned(rows[two], codes[two], unrelated, warn_if_shifted)
        seen += bool(warned(rows, (codes == 5).astype(int), text[chosen], warn_if_shifted))
    assert seen > 25
