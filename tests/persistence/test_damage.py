"""A file that is not as save wrote it is an error that says so, whatever was done to it."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skclip
from skclip import BayesAdapterClassifier, LinearProbeClassifier, Prototypes, ZeroShotClassifier
from skclip.exceptions import PersistenceError, SkclipError
from skclip.persistence import file_format


@pytest.fixture(scope="module")
def saved(task, tmp_path_factory):
    """A file with a fitted classifier."""
    classifier = BayesAdapterClassifier(Prototypes(task.text, range(4))).fit(task.X, task.codes)
    return skclip.save(classifier, tmp_path_factory.mktemp("saved") / "model.safetensors")


def rewrite(saved, path, change):
    """The file after `change(document, arrays)`, with a checksum that is right."""
    with safe_open(saved, framework="numpy") as file:
        document = json.loads(file.metadata()["skclip"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(document, arrays)
    document["sha256"] = file_format.digest(document, arrays)
    save_file(arrays, path, {"skclip": json.dumps(document)})
    return path


def test_the_error_is_one_of_skclip_and_a_value_error():
    assert issubclass(PersistenceError, SkclipError)
    assert issubclass(PersistenceError, ValueError)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(PersistenceError, match="is a folder. Name the file in it"):
        skclip.load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must name an existing file; '.*none'"):
        skclip.load(tmp_path / "none")


def test_a_file_cut_off_anywhere_is_refused(saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "cut"
    for end in [*range(40), *np.linspace(40, len(content) - 1, 60).astype(int)]:
        path.write_bytes(content[:end])
        with pytest.raises(PersistenceError, match="The file must"):
            skclip.load(path)


def test_a_longer_file_is_refused(saved, tmp_path):
    path = tmp_path / "long"
    path.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(PersistenceError, match="The file must be one that skclip.save wrote"):
        skclip.load(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_bit_is_found_wherever_it_is(saved, tmp_path, data):
    """Spaces that fill up the header are the only bytes that say nothing."""
    content = bytearray(saved.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped"
    path.write_bytes(content)
    with pytest.raises(PersistenceError):
        skclip.load(path)


def test_a_pickle_is_refused(task, tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(ZeroShotClassifier(task.text)))
    with pytest.raises(PersistenceError, match="The file must be one that skclip.save wrote"):
        skclip.load(path)


def test_weights_of_a_model_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"w": np.zeros(3)}, path)
    with pytest.raises(PersistenceError, match="is a safetensors file of another kind"):
        skclip.load(path)


@pytest.mark.parametrize("version", [2, 0, "1", None, 1.0, True])
def test_an_unknown_version_is_refused(saved, tmp_path, version):
    def change(document, arrays):
        document["format_version"] = version

    path = rewrite(saved, tmp_path / "version", change)
    with pytest.raises(PersistenceError, match="The format version must be 1; .* by skclip 0"):
        skclip.load(path)


def without_an_array(document, arrays):
    del arrays["BayesAdapterClassifier._model.W"]


def with_another_array(document, arrays):
    arrays["more"] = np.zeros(3)


def with_another_key(document, arrays):
    document["object"]["more"] = 1


def with_another_parameter(document, arrays):
    document["object"]["value"]["more"] = 1


def without_a_parameter(document, arrays):
    del document["object"]["value"]["tol"]


def with_a_hidden_method(document, arrays):
    document["object"]["value"]["_publish"] = 1


def with_a_dunder(document, arrays):
    document["object"]["value"]["__class__"] = "x"


def of_a_class_by_path(document, arrays):
    document["object"]["kind"] = "os.system"


def of_a_class_of_scikit_learn(document, arrays):
    document["object"]["kind"] = "FunctionTransformer"


def of_a_strange_kind(document, arrays):
    document["object"]["value"]["classes_"] = {"kind": "pickle", "value": "gASV"}


def of_no_kind(document, arrays):
    document["object"]["value"]["classes_"] = {"kind": ["array"], "value": 3}


def of_a_model_without_a_field(document, arrays):
    del document["object"]["value"]["_model"]["value"]["logit_scale"]


def of_a_model_with_another_field(document, arrays):
    document["object"]["value"]["_model"]["value"]["frame.more"] = 1


def of_a_model_with_text_for_numbers(document, arrays):
    document["object"]["value"]["_model"]["value"]["W"] = "0"


def of_another_model(document, arrays):
    document["object"]["value"]["_model"]["kind"] = "LinearModel"


def of_an_abstract_model(document, arrays):
    document["object"]["value"]["_model"]["kind"] = "FittedModel"


def with_text_of_another_shape(document, arrays):
    document["object"]["value"]["_x"] = {"kind": "text", "value": [[2, 3], "abcde"]}


def with_text_of_any_width(document, arrays):
    document["object"]["value"]["_x"] = {"kind": "text", "value": [[10**12], ""]}


def with_objects_of_any_shape(document, arrays):
    document["object"]["value"]["_x"] = {"kind": "objects", "value": [[10**12], [1]]}


def with_random_numbers_from_outside(document, arrays):
    arrays["key"] = np.zeros(624, dtype=np.uint32)
    key = {"kind": "array", "value": "key"}
    state = ["MT19937", key, 10**9, 0, 0.0]
    document["object"]["value"]["random_state"] = {"kind": "RandomState", "value": state}


def with_a_request_of_no_method(document, arrays):
    document["object"]["value"]["_metadata_request"] = {"bake": {"sample_weight": True}}


def with_wrong_prototypes(document, arrays):
    arrays["BayesAdapterClassifier.prototypes.labels"] = np.zeros(4, dtype=np.int64)


def without_object(document, arrays):
    del document["object"]


def of_a_list(document, arrays):
    document["object"] = [1]
    arrays.clear()


def of_a_deep_tree(document, arrays):
    tree = None
    for _ in range(900):
        tree = [tree]
    document["object"]["value"]["_x"] = tree


CHANGES = {
    without_an_array: r"Every array must be in the file; '.*Classifier\._model\.W' is not",
    with_another_array: "Every array must belong to the object; .* holds 1 that do not: more",
    with_another_key: "An entry must have the keys kind and value; got .*more",
    with_another_parameter: "Fitted attributes of BayesAdapterClassifier must .*; got more",
    without_a_parameter: "BayesAdapterClassifier must have the parameters .* lacks tol",
    with_a_hidden_method: "must .* hide nothing of the class; got _publish",
    with_a_dunder: "must .* hide nothing of the class; got __class__",
    of_a_class_by_path: r"Classes must be known to skclip; got 'os\.system'",
    of_a_class_of_scikit_learn: "Classes must be known to skclip; got 'FunctionTransformer'",
    of_a_strange_kind: "Classes must be known to skclip; got 'pickle'",
    of_no_kind: r"makes no object \(TypeError: unhashable",
    of_a_model_without_a_field: r"makes no object \(ValueError: The arrays of a GaussianModel",
    of_a_model_with_another_field: "makes no object .*GaussianModel has no field for frame.more",
    of_a_model_with_text_for_numbers: r"makes no object .*GaussianModel\.W must be .*; got str",
    of_another_model: "makes no object .*LinearModel has no field for",
    of_an_abstract_model: "Classes must be known to skclip; got 'FittedModel'",
    with_text_of_another_shape: r"makes no object \(ValueError: cannot reshape",
    with_text_of_any_width: r"makes no object \(ValueError: cannot reshape",
    with_objects_of_any_shape: r"makes no object \(ValueError: cannot reshape",
    with_random_numbers_from_outside: r"A RandomState's position must be in \[0, 624\]; got 1000",
    with_a_request_of_no_method: r"makes no object \(AttributeError: .*set_bake_request",
    with_wrong_prototypes: r"The file must be one .* makes no object \(PrototypeMismatchError",
    without_object: "The file must be one that skclip.save wrote",
    of_a_list: "must hold an estimator or Prototypes; got list",
    of_a_deep_tree: "The file must",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_forged_file_is_refused(change, saved, tmp_path):
    """The checksum is right in all of these: only what the file says is wrong."""
    path = rewrite(saved, tmp_path / "forged", change)
    with pytest.raises(PersistenceError, match=CHANGES[change]):
        skclip.load(path)


def test_a_parameter_that_an_earlier_version_had_not_has_its_default(saved, tmp_path):
    def change(document, arrays):
        document["written_by"] = "0.0.1"
        del document["object"]["value"]["tol"]

    assert skclip.load(rewrite(saved, tmp_path / "old", change)).tol == "auto"


def test_another_class_than_expected_is_refused(saved):
    with pytest.raises(PersistenceError, match="must hold LinearProbeClassifier; got Bayes"):
        skclip.load(saved, expected=LinearProbeClassifier)
    with pytest.raises(PersistenceError, match="must hold Prototypes or LinearProbeClassifier"):
        skclip.load(saved, expected=(Prototypes, LinearProbeClassifier))
    assert isinstance(skclip.load(saved, expected=BayesAdapterClassifier), BayesAdapterClassifier)


def test_steps_of_scikit_learn_warn_when_its_version_is_another(task, tmp_path, monkeypatch):
    from sklearn.exceptions import InconsistentVersionWarning
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr("sklearn.base.__version__", "1.0")
    simple = skclip.save(make_pipeline(LogisticRegression()), tmp_path / "a")
    container = skclip.save(make_pipeline(ZeroShotClassifier(task.text)), tmp_path / "b")
    monkeypatch.undo()
    with pytest.warns(InconsistentVersionWarning, match="LogisticRegression from version 1.0"):
        skclip.load(simple)
    skclip.load(container)


def itself(text):
    classifier = ZeroShotClassifier(text)
    classifier._self = [classifier]
    return classifier


def without_scale(text):
    classifier = ZeroShotClassifier(text)
    del classifier.logit_scale
    return classifier


UNSTORABLE = {
    "step": (
        lambda text: make_pipeline(SelectKBest(), ZeroShotClassifier(text)),
        r"Pipeline\.steps\['selectkbest'\]\[1\] is of the class .*SelectKBest\. .*skops\.io\.dump",
    ),
    "function in a step": (
        lambda text: make_pipeline(FunctionTransformer(np.sqrt)),
        r"Pipeline\.steps\['functiontransformer'\]\[1\] is of the class",
    ),
    "composite": (
        lambda text: make_pipeline(ColumnTransformer([("a", "passthrough", [0])])),
        r"Pipeline\.steps\['columntransformer'\]",
    ),
    "search": (
        lambda text: GridSearchCV(ZeroShotClassifier(text), {}, cv=2).fit(
            np.repeat(text, 2, axis=0), np.repeat(range(4), 2)
        ),
        r"GridSearchCV is of the class .*\. Save its best_estimator_\.",
    ),
    "template": (
        lambda text: skclip.ClassPrompts(templates=["{}", lambda name: name]),
        r"ClassPrompts\.templates\[1\] is of the class builtins\.function\. Pass what a functio",
    ),
    "tensor": (
        lambda text: ZeroShotClassifier(torch.zeros(3)),
        r"ZeroShotClassifier\.prototypes is of the class torch\.Tensor\. Pass value\.cpu",
    ),
    "table": (
        lambda text: ZeroShotClassifier(pd.DataFrame(text)),
        r"hold: .*; ZeroShotClassifier\.prototypes is of the class pandas.*\. Pass value\.to_numpy",
    ),
    "complex number": (
        lambda text: ZeroShotClassifier(text, logit_scale=np.complex128(1)),
        r"Arrays must hold numbers, .*; ZeroShotClassifier\.logit_scale holds complex128",
    ),
    "lost parameter": (
        without_scale,
        "as attributes; it lacks logit_scale",
    ),
    "complex": (
        lambda text: ZeroShotClassifier(text.astype(complex)),
        r"Arrays must hold .*; ZeroShotClassifier\.prototypes holds complex128",
    ),
    "cycle": (itself, r"An object must not contain itself, .*; got ZeroShotClassifier"),
    "array": (lambda text: text, "obj must be an estimator or Prototypes; got ndarray"),
}


@pytest.mark.parametrize(("make", "message"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(make, message, task, tmp_path):
    path = tmp_path / "model"
    path.write_text("before")
    with pytest.raises(PersistenceError, match=message):
        skclip.save(make(task.text), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_attribute_that_hides_a_method_is_refused(task, tmp_path):
    classifier = ZeroShotClassifier(task.text)
    classifier._publish = 1
    with pytest.raises(PersistenceError, match="hide nothing of the class; got _publish"):
        skclip.save(classifier, tmp_path / "model")


def test_a_write_that_fails_leaves_the_old_file(saved, task, tmp_path, monkeypatch):
    path = tmp_path / "model"
    skclip.save(ZeroShotClassifier(task.text), path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skclip.utils.files.os.fsync", full)
    with pytest.raises(PersistenceError, match=r"The file must be writable; .* No space left"):
        skclip.save(BayesAdapterClassifier(task.text), path)
    assert isinstance(skclip.load(path), ZeroShotClassifier)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(task, tmp_path):
    with pytest.raises(PersistenceError, match="The file must be writable; writing"):
        skclip.save(ZeroShotClassifier(task.text), tmp_path / "missing" / "model")


@pytest.mark.parametrize(
    "name", ["PCA", "BayesAdapterClassifier", "GaussianModel", "array", "dict"]
)
def test_a_name_of_a_users_class_must_be_free(name):
    taken = type(name, (ZeroShotClassifier,), {})
    with pytest.raises(PersistenceError, match=f"names that skclip does not use; got .*{name}"):
        skclip.save(taken(), "never", classes=[taken])


def test_a_users_class_must_be_an_estimator():
    with pytest.raises(
        PersistenceError, match="classes must hold subclasses of .*Estimator, .*; got"
    ):
        skclip.save(ZeroShotClassifier(), "never", classes=[int])
