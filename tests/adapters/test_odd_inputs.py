"""Labels, texts and rows as users have them: each works, or a sentence says what to do."""

import datetime
import pickle
import warnings
from decimal import Decimal
from enum import Enum
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from skclip import (
    BayesAdapterClassifier,
    ClassPrompts,
    CLIPFeaturizer,
    CosineBayesAdapterClassifier,
    LinearProbeClassifier,
    Prototypes,
    ZeroShotClassifier,
)
from skclip.datasets import DIGIT_NAMES, load_digits_images, tiny_clip
from skclip.exceptions import PrototypeMismatchError, PrototypeWarning, SkclipError

NAMES = np.array(["ant", "bee", "cow", "dog"])


# -- labels ---------------------------------------------------------------------------

MISSING = {
    "None": [None, "ant"],
    "NaN": [np.nan, "ant"],
    "NaN among numbers": [np.nan, 1.0],
    "NA": pd.array([None, 1], dtype="Int64"),
    "NA in a Series": pd.Series(["ant", None], dtype="string"),
    "NA object": np.array([pd.NA, "ant"], dtype=object),
    "NaT": np.array(["NaT", "2020-01-01"], dtype="datetime64[D]"),
    "a category": pd.Series(pd.Categorical(["ant", None])),
}
MIXED = {
    "int and str": [0, "ant"],
    "objects": np.array([0, "ant"], dtype=object),
    "a Series": pd.Series([0, "ant"]),
    "bytes": [b"ant", "ant"],
    "a tuple": [("ant",), "ant"],
}
UNORDERED = {
    "an enumeration": list(Enum("Kind", "ant bee")),
    "dates": [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)],
    "decimals": [Decimal(1), Decimal(2)],
    "bytes": [b"ant", b"bee"],
    "an array of dates": np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
    "an array of durations": np.array([1, 2], dtype="timedelta64[D]"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_a_missing_label_is_named_with_its_position(task, y, method):
    classifier = BayesAdapterClassifier(task.text)
    with pytest.raises(ValueError, match=r"y must have no missing values; got .* at position\(s\)"):
        getattr(classifier, method)(task.X[:2], y)


@pytest.mark.parametrize("y", MIXED.values(), ids=MIXED)
def test_labels_of_two_types_are_refused(task, y):
    """NumPy makes strings of them, and nothing matches any more."""
    with pytest.raises(ValueError, match="(must hold labels of one type|must be an array whose)"):
        BayesAdapterClassifier().fit(task.X[:2], y)
    if not isinstance(y, pd.Series):
        with pytest.raises(
            ValueError, match="(must hold labels of one type|must be an array whos)"
        ):
            Prototypes(task.text[:2], y)


@pytest.mark.parametrize("y", UNORDERED.values(), ids=UNORDERED)
def test_labels_that_are_neither_strings_nor_numbers_are_refused(task, y):
    """scikit-learn calls them continuous, and asks whether it is a regression."""
    message = r"must hold strings or numbers as labels; got .*\. Convert them"
    with pytest.raises(ValueError, match="y " + message):
        BayesAdapterClassifier().fit(task.X[:2], y)
    with pytest.raises(ValueError, match="labels " + message):
        Prototypes(task.text[:2], y)


@pytest.mark.parametrize("labels", [NAMES.astype(object), [*NAMES], pd.Series(NAMES)])
def test_labels_of_one_type_are_taken_from_any_container(task, labels):
    y = [labels[code] for code in task.y]
    classifier = LinearProbeClassifier(task.text).fit(task.X, y)
    assert classifier.predict(task.X[:4]).tolist() == NAMES[task.y[:4]].tolist()


# -- prototypes -----------------------------------------------------------------------

NO_PROTOTYPES = {
    "a model's name": ("ViT-B-32", r"got 'ViT-B-32'\. .* pass ClassPrompts\('ViT-B-32', pretr"),
    "a path": (Path("text.npy"), "PosixPath|WindowsPath"),
    "a class": (ClassPrompts, r"got the class ClassPrompts\. Call it: ClassPrompts\(\.\.\.\)"),
    "a featurizer": (CLIPFeaturizer("ViT-B-32"), r"Pass ClassPrompts\(CLIPFeaturizer\(\.\.\.\)\)"),
    "names": ([*NAMES], r"got names, not vectors\. Pass ClassPrompts\(model, pretrained=\.\.\."),
    "an array of names": (NAMES, "got names, not vectors"),
    "a Series of names": (pd.Series(NAMES), "got names, not vectors"),
    "names by label": (dict(enumerate(NAMES)), "got names, not vectors"),
    "a set": ({1.0, 2.0}, "got a set"),
    "a number": (3.0, "got a float"),
    "a generator": ((row for row in np.eye(3)), "got a generator"),
    "a function": (np.linalg.norm, "got a "),
    "an estimator": (ZeroShotClassifier(), "got a ZeroShotClassifier"),
    "a sparse matrix": (scipy.sparse.eye_array(3), "got a dia_array"),
    "values of a dictionary": ({"ant": [1.0]}.values(), "got a dict_values"),
}


@pytest.mark.parametrize(("given", "message"), NO_PROTOTYPES.values(), ids=NO_PROTOTYPES)
def test_what_cannot_be_prototypes_says_what_can(task, given, message):
    with pytest.raises(PrototypeMismatchError, match="prototypes must be an array.*"):
        BayesAdapterClassifier(given).fit(task.X, task.y)
    with pytest.raises(PrototypeMismatchError, match=message):
        CosineBayesAdapterClassifier(given).fit(task.X, task.y)


def test_what_holds_no_numbers_is_no_vector(task):
    with pytest.raises(PrototypeMismatchError, match="vectors must hold numbers; "):
        ZeroShotClassifier({"ant": {"a": 1}, "bee": {}}).fit(task.X[:2], ["ant", "bee"])


def test_vectors_by_label_are_prototypes(task):
    """A dictionary from label to vector says all that Prototypes do."""
    by_label = {NAMES[k]: task.text[k] for k in (3, 1, 0, 2)}
    found = ZeroShotClassifier(by_label).fit(task.X, NAMES[task.y])
    expected = ZeroShotClassifier(Prototypes(task.text, NAMES)).fit(task.X, NAMES[task.y])
    np.testing.assert_array_equal(found.logits(task.X), expected.logits(task.X))


def test_a_series_of_vectors_is_taken_by_its_index(task):
    series = pd.Series(list(task.text[[3, 1, 0, 2]]), index=NAMES[[3, 1, 0, 2]])
    found = ZeroShotClassifier(series).fit(task.X, NAMES[task.y])
    expected = ZeroShotClassifier(Prototypes(task.text, NAMES)).fit(task.X, NAMES[task.y])
    np.testing.assert_array_equal(found.logits(task.X), expected.logits(task.X))


@pytest.mark.parametrize("part", ["X", "prototypes"])
def test_what_would_be_lost_silently_is_refused(task, part):
    """What is behind a mask, and the imaginary part."""
    masked = np.ma.array(task.text, mask=task.text > 0.1)
    for given, message in ((masked, "no masked entries"), (task.text + 0j, "real|Complex data")):
        X, text = (given, task.text) if part == "X" else (task.text, given)
        with pytest.raises(ValueError, match=message):
            BayesAdapterClassifier(text).fit(X, range(len(task.text)))


def test_a_negative_class_weight_is_refused(task):
    with pytest.raises(ValueError, match="class_weight must not be negative; got {0: -1.0}"):
        BayesAdapterClassifier(task.text, class_weight={0: -1.0}).fit(task.X, task.y)


def test_equal_prototypes_are_said_with_their_classes(task):
    twin = Prototypes(task.text[[0, 1, 1, 3]], ["ant", "Jaguar", "jaguar", "dog"])
    with pytest.warns(PrototypeWarning, match="among those of 'Jaguar', 'jaguar' there are equal"):
        ZeroShotClassifier(twin).fit(task.X, ["ant"] * len(task.X))


@pytest.mark.parametrize(
    ("labels", "y"),
    [(["Ant", "Bee"], ["ant", "bee"]), (["0", "1"], [0, 1]), ([0, 1], ["0", "1"])],
)
def test_labels_in_another_spelling_or_type_are_recognised(task, labels, y):
    with pytest.raises(PrototypeMismatchError, match="Spelling or type differ: .* for "):
        ZeroShotClassifier(Prototypes(task.text[:2], labels)).fit(task.X[:2], y)


def test_accents_that_are_letters_of_their_own_are_seen(task):
    """As in the folders of macOS; the two look alike, and are shown apart."""
    composed, folder = "caf\xe9", "cafe\u0301"
    with pytest.raises(PrototypeMismatchError, match=r"'cafe\\u0301' for 'caf\\xe9'"):
        ZeroShotClassifier(Prototypes(task.text[:2], ["ant", composed])).fit(
            task.X[:2], ["ant", folder]
        )


# -- rows -----------------------------------------------------------------------------


def test_a_matrix_of_numpy_is_an_array(task):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        rows = np.asmatrix(task.X)
    fitted = ZeroShotClassifier(task.text).fit(rows, task.y)
    np.testing.assert_array_equal(fitted.predict(rows), fitted.predict(task.X))


NO_ROWS = {
    "paths": (["a.jpg", "b.jpg"], r"got items like 'a\.jpg'"),
    "Path": ([Path("a.jpg"), Path("b.jpg")], "got items like"),
    "an array of paths": (np.array(["a.jpg", "b.jpg"]), "got items like"),
    "a Series of paths": (pd.Series(["a.jpg", "b.jpg"]), "got items like"),
    "a DataFrame of paths": (pd.DataFrame({"path": ["a.jpg", "b.jpg"]}), "got items like"),
    "one path": ("a.jpg", "got a str"),
    "bytes": ([b"\x89PNG", b"\x89PNG"], "got items like"),
    "images": ([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))], "got images"),
    "pixels": (np.zeros((2, 8, 8, 3)), r"got an array of shape \(2, 8, 8, 3\)"),
    "channels first": (torch.zeros(2, 3, 8, 8), r"got an array of shape \(2, 3, 8, 8\)"),
    "a list of pixels": ([np.zeros((8, 8, 3))] * 2, "got images"),
    "a processor's batch": ({"pixel_values": torch.zeros(2, 3, 8, 8)}, "got a dict"),
    "a generator": ((row for row in np.eye(2)), "got a generator"),
    "open files": ([BytesIO(b"\x89PNG")] * 2, "got open files"),
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize(("X", "message"), NO_ROWS.values(), ids=NO_ROWS)
def test_images_given_to_a_classifier_ask_for_a_featurizer(task, X, message):
    classifier = BayesAdapterClassifier(task.text[:2])
    remedy = r"\. Put a CLIPFeaturizer before it: make_pipeline\(CLIPFeaturizer"
    with pytest.raises(ValueError, match=message + ".*" + remedy):
        classifier.fit(X, [0, 1])
    classifier.fit(task.X[:2], task.y[:2])
    with pytest.raises(ValueError, match=message + ".*" + remedy):
        classifier.predict(X)


TENSORS = {
    "requires grad": lambda a: torch.tensor(a, requires_grad=True),
    "bfloat16": lambda a: torch.tensor(a).to(torch.bfloat16),
    "bfloat16 with grad": lambda a: torch.tensor(a).to(torch.bfloat16).requires_grad_(),
    "a list of tensors": lambda a: list(torch.tensor(a, requires_grad=True)),
    "sparse": lambda a: torch.tensor(a).to_sparse(),
}


@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
def test_tensors_are_arrays(task, make):
    X, text = make(task.X), make(task.text)
    weight = torch.ones(len(task.y), requires_grad=True)
    classifier = BayesAdapterClassifier(text, tol=1e-9).fit(X, torch.tensor(task.y), weight)
    plain = BayesAdapterClassifier(task.text, tol=1e-9).fit(task.X, task.y)
    # bfloat16 has 8 bits: a relative error of 2^-9 at a logit scale of 100.
    atol = 0.3 if "bfloat16" in str(getattr(text, "dtype", "")) else 1e-6
    np.testing.assert_allclose(
        classifier.predict_proba(make(task.X_test)), plain.predict_proba(task.X_test), atol=atol
    )


def test_a_tensor_without_values_is_refused(task):
    nothing = torch.empty(2, 16, device="meta")
    message = "must hold numbers; got a tensor on the device 'meta'"
    for X, text in ((nothing, task.text[:2]), (task.X[:2], nothing)):
        with pytest.raises(ValueError, match=message):
            BayesAdapterClassifier(text).fit(X, [0, 1])


# -- meta-estimators that encode labels ------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda c: VotingClassifier([("c", c)], voting="soft"),
        lambda c: StackingClassifier([("c", c)], cv=2),
        lambda c: BaggingClassifier(c, n_estimators=2, random_state=0),
    ],
    ids=["voting", "stacking", "bagging"],
)
def test_encoded_labels_are_explained_and_the_advice_works(task, wrap):
    y = NAMES[task.y]
    labelled = BayesAdapterClassifier(Prototypes(task.text, NAMES))
    message = r"got no prototype for 0, 1, 2, 3\..* These labels are codes: VotingClassifier, Stack"
    with pytest.raises(PrototypeMismatchError, match=message):
        wrap(labelled).fit(task.X, y)
    array = wrap(BayesAdapterClassifier(task.text)).fit(task.X, y)
    assert array.score(task.X, y) > 0.9


def test_cross_val_predict_of_the_readme_pipeline_says_what_to_do():
    """The advice, followed to the letter, gives what a loop over folds gives."""
    digits = load_digits_images(subset="test")
    images, y = digits.images[:40], np.asarray(DIGIT_NAMES)[digits.target[:40]]
    featurizer = CLIPFeaturizer(pretrained=tiny_clip())
    prompts = ClassPrompts(featurizer)
    pipeline = make_pipeline(featurizer, BayesAdapterClassifier(prompts))
    with pytest.raises(ValueError, match=r"pass class_names=dict\(enumerate\(names\)\) to ClassPr"):
        cross_val_predict(pipeline, images, y, cv=2, method="predict_proba")
    names = np.unique(y)
    prompts.set_params(class_names=dict(enumerate(names)))
    proba = cross_val_predict(pipeline, images, y, cv=2, method="predict_proba")
    assert (names[proba.argmax(axis=1)] == y).mean() > 0.5


def test_errors_and_warnings_are_the_packages_and_pickle():
    error = pickle.loads(pickle.dumps(PrototypeMismatchError("text")))
    assert isinstance(error, SkclipError)
    assert isinstance(error, ValueError)
