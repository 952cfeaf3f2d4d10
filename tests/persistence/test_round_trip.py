"""What is saved comes back, to the last bit."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

import skclip
from skclip import (
    BayesAdapterClassifier,
    Laplace,
    Prototypes,
    SelectiveClassifier,
    Variational,
    ZeroShotClassifier,
    _core,
)
from skclip._core.model import FittedModel, LinearModel
from skclip.exceptions import PersistenceError
from skclip.persistence import codec

from .conftest import NAMES, classifier_names, make_classifier

BAYES = {
    "map": {},
    "laplace": {"posterior": "laplace", "random_state": 0},
    "diagonal": {"posterior": Laplace("diagonal", temperature=0.1), "random_state": 0},
    "isotropic": {"posterior": Laplace("isotropic"), "prior_shape": "isotropic", "random_state": 0},
    "variational": {
        "posterior": Variational(temperature=0.1),
        "prior_precision": np.array([1.0, 2.0, 3.0, 4.0]),
        "random_state": np.random.RandomState(3),
    },
    "weighted": {"class_weight": {"ant": 2.0, "bee": np.float64(1.0), "cat": 1, "dög": 0.5}},
}
STEPS = [
    MaxAbsScaler(),
    MinMaxScaler(),
    Normalizer(),
    PCA(5, random_state=0),
    RobustScaler(),
    SimpleImputer(),
    StandardScaler(),
    VarianceThreshold(),
    "passthrough",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same_state(a, b):
    """Equal types, values and bits, all the way down; gaps between entries may vanish."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.flags.c_contiguous or not b.flags.c_contiguous
        assert a.flags.f_contiguous or not b.flags.f_contiguous
        if a.dtype.kind == "O":
            for x, y in zip(a.flat, b.flat, strict=True):
                assert_same_state(x, y)
        else:
            assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same_state(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_state(x, y)
    elif isinstance(a, Prototypes):
        for name in ("vectors", "labels", "logit_scale"):
            assert_same_state(getattr(a, name), getattr(b, name))
    elif isinstance(a, np.random.RandomState):
        assert_same_state(a.get_state(), b.get_state())
    elif isinstance(a, FittedModel):
        assert_same_state(a.arrays(), b.arrays())
    elif hasattr(a, "get_params"):
        assert_same_state(dict(sorted(vars(a).items())), dict(sorted(vars(b).items())))
    else:
        assert repr(a) == repr(b)  # NaN is not itself


@pytest.mark.parametrize("name", classifier_names())
def test_every_classifier_comes_back_to_the_last_bit(name, task, path):
    """Found by skclip.__all__: a new classifier must be one that save can hold."""
    classifier = make_classifier(name, Prototypes(task.text, NAMES)).fit(task.X, task.y)
    loaded = skclip.load(skclip.save(classifier, path))
    assert_same_state(loaded, classifier)
    np.testing.assert_array_equal(
        loaded.predict_proba(task.X_test), classifier.predict_proba(task.X_test)
    )
    np.testing.assert_array_equal(loaded.predict(task.X_test), classifier.predict(task.X_test))


@pytest.mark.parametrize(
    "name",
    [
        "BayesAdapterClassifier",
        "GaussianDAClassifier",
        "LaplaceProbeClassifier",
        "LinearProbeClassifier",
        "ProKeRClassifier",
        "TipAdapterClassifier",
    ],
)
def test_classifiers_without_text_come_back(name, task, path):
    """Their scale is computed from the rows, and must still be a plain number."""
    classifier = make_classifier(name, None).fit(3.0 * task.X, task.y)
    loaded = skclip.load(skclip.save(classifier, path))
    assert_same_state(loaded, classifier)


@pytest.mark.parametrize("name", classifier_names())
def test_an_unfitted_classifier_comes_back_and_can_be_fitted(name, task, path):
    classifier = make_classifier(name, task.text)
    loaded = skclip.load(skclip.save(classifier, path))
    assert not hasattr(loaded, "classes_")
    np.testing.assert_array_equal(
        clone(loaded).fit(task.X, task.y).predict_proba(task.X_test),
        classifier.fit(task.X, task.y).predict_proba(task.X_test),
    )


@pytest.mark.parametrize("parameters", BAYES.values(), ids=BAYES)
def test_every_posterior_of_the_bayesian_adapter_comes_back(parameters, task, path):
    """The posterior is in the model; its details are an estimator among the parameters."""
    classifier = BayesAdapterClassifier(task.text, **parameters).fit(task.X, task.y)
    loaded = skclip.load(skclip.save(classifier, path))
    assert_same_state(loaded, classifier)
    for draws in ("predict_uncertainty", "predict_log_proba"):
        assert_same_state(
            getattr(loaded, draws)(task.X_test), getattr(classifier, draws)(task.X_test)
        )


def test_learning_goes_on_after_loading(task, path):
    half = slice(0, 40), slice(40, None)
    classifier = BayesAdapterClassifier(task.text, posterior="laplace", random_state=0)
    classifier.partial_fit(task.X[half[0]], task.y[half[0]])
    loaded = skclip.load(skclip.save(classifier, path))
    for model in (loaded, classifier):
        model.partial_fit(task.X[half[1]], task.y[half[1]])
    assert_same_state(loaded, classifier)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["", "a\U0001f600", "b b", "zzzzzzzzzzzzz"]),
        np.array([0, 1, 5, 9]),
        np.array([-3, 0, 2, 7], dtype=np.int8),
        np.array([1.0, 2.0, 3.0, 4.0]),
        np.array(["x", "yy", "z", "zz"], dtype=object),
    ],
    ids=["text", "int", "int8", "float", "object"],
)
def test_labels_keep_their_type(labels, task, path):
    classifier = ZeroShotClassifier(task.text).fit(task.X, labels[task.codes])
    loaded = skclip.load(skclip.save(classifier, path))
    assert_same_state(loaded.classes_, classifier.classes_)
    assert_same_state(loaded.predict(task.X_test), classifier.predict(task.X_test))


def test_a_frozen_and_certified_classifier_comes_back(task, path):
    """Nested estimators and a named tuple among the attributes."""
    fitted = BayesAdapterClassifier(task.text).fit(task.X[:40], task.y[:40])
    selective = SelectiveClassifier(FrozenEstimator(fitted), target_risk=0.4)
    selective.fit(task.X[40:], task.y[40:])
    loaded = skclip.load(skclip.save(selective, path))
    assert_same_state(loaded, selective)
    assert loaded.calibration_score_.coverage == selective.calibration_score_.coverage
    np.testing.assert_array_equal(loaded.predict(task.X_test), selective.predict(task.X_test))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_pipelines_with_simple_steps_of_scikit_learn_come_back(step, task, path):
    pipeline = make_pipeline(step, LogisticRegression(), memory=None).fit(task.X, task.y)
    loaded = skclip.load(skclip.save(pipeline, path))
    assert_same_state(loaded, pipeline)
    np.testing.assert_array_equal(
        loaded.predict_proba(task.X_test), pipeline.predict_proba(task.X_test)
    )


def test_column_names_and_output_containers_are_kept(task, path):
    X = pd.DataFrame(task.X, columns=[f"f{i}" for i in range(task.X.shape[1])])
    pipeline = make_pipeline(StandardScaler(), PCA(4)).set_output(transform="pandas").fit(X)
    loaded = skclip.load(skclip.save(pipeline, path))
    pd.testing.assert_frame_equal(loaded.transform(X), pipeline.transform(X))


def test_metadata_requests_are_kept(task, path):
    with config_context(enable_metadata_routing=True):
        classifier = BayesAdapterClassifier(task.text)
        classifier.set_fit_request(sample_weight=True, groups="image")
        loaded = skclip.load(skclip.save(classifier, path))
        assert str(loaded.get_metadata_routing()) == str(classifier.get_metadata_routing())
        assert "image" in str(loaded.get_metadata_routing())


def test_prototypes_come_back_immutable(task, path):
    prototypes = Prototypes(task.text.astype(np.float32), NAMES, logit_scale=50.0)
    loaded = skclip.load(skclip.save(prototypes, path), expected=Prototypes)
    assert_same_state(loaded, prototypes)
    with pytest.raises(ValueError, match="read-only"):
        loaded.vectors[0, 0] = 0.0


ODD = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).T,
    "strided": np.arange(10)[::3],
    "reversed": np.arange(5.0)[::-1],
    "big-endian": np.arange(3, dtype=">f8"),
    "empty": np.empty((0, 3), dtype=np.float32),
    "scalar array": np.array(2.5),
    "half": np.arange(3, dtype=np.float16),
    "truth": np.array([True, False]),
    "text": np.array([["", "ab"], ["\x00a", "ü"]]),
    "text in Fortran's order": np.asfortranarray([["a", "bb", "c"], ["d", "e", "f"]]),
    "no text": np.array([], dtype=str),
    "objects": np.array([[None, "a"], [1.5, np.float32(2)]], dtype=object),
    "special": np.array([np.nan, np.inf, -0.0]),
    "numbers": [np.float32(0.1), np.int64(3), np.bool_(True), np.str_("x"), float("inf"), -0.0],
    "nan": {"a": float("nan"), 1: (1, [2, {}]), (None, 2.5): 10**30},
    "surrogate": "\ud800",
    "looks like an entry": {"kind": "array", "value": "x"},
    "places of one name": {"a.b": np.arange(2), "a": {"b": np.arange(3)}},
    "device and type": [torch.device("cpu"), np.dtype("f4"), np.dtype("O")],
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_values_of_every_kind_come_back(value, task, path):
    """In a private attribute; big-endian and strided arrays lose their layout only."""
    classifier = ZeroShotClassifier(task.text)
    classifier._value = value
    loaded = skclip.load(skclip.save(classifier, path))._value
    if isinstance(value, np.ndarray):
        assert value.dtype.newbyteorder("=") == loaded.dtype.newbyteorder("=")
        assert value.shape == loaded.shape
        if value.dtype.kind == "O":
            assert_same_state(list(loaded.flat), list(value.flat))
        else:
            np.testing.assert_array_equal(loaded, value)
            np.testing.assert_array_equal(np.signbit(loaded), np.signbit(value)) if (
                value.dtype.kind == "f"
            ) else None
        if value.ndim > 1 and value.flags.f_contiguous:
            assert loaded.flags.f_contiguous
    else:
        assert_same_state(loaded, value)


def test_an_array_that_occurs_twice_is_stored_once(task, path):
    """Clones share their prototypes."""
    once = skclip.save(ZeroShotClassifier(task.text), path).stat().st_size
    classifier = ZeroShotClassifier(task.text)
    classifier._again = [classifier.prototypes] * 10
    assert skclip.save(classifier, path).stat().st_size < once + 2000
    loaded = skclip.load(path)
    assert loaded._again[3] is loaded.prototypes


@dataclass(frozen=True)
class OwnModel(LinearModel):
    """A model of another class has other logits, though the same arrays."""

    def logits(self, X):
        return 2.0 * super().logits(X)


class OwnClassifier(ZeroShotClassifier):
    def fit(self, X, y):
        model = super().fit(X, y)._model
        return self._publish(OwnModel(**vars(model)), n_fits_=1)


def test_classes_of_the_users_own_need_to_be_named(task, path):
    """Estimators, and the models that they publish."""
    own = [OwnClassifier, OwnModel]
    classifier = OwnClassifier(task.text).fit(task.X, task.y)
    with pytest.raises(PersistenceError, match=r"OwnClassifier is of the class .*\. Pass classes="):
        skclip.save(classifier, path)
    with pytest.raises(PersistenceError, match=r"OwnClassifier\._model is of .* Pass classes="):
        skclip.save(classifier, path, classes=own[:1])
    skclip.save(classifier, path, classes=own)
    with pytest.raises(PersistenceError, match="Classes must be known to skclip; got 'OwnModel'"):
        skclip.load(path, classes=own[:1])
    loaded = skclip.load(path, classes=own)
    assert_same_state(loaded, classifier)
    assert type(loaded._model) is OwnModel


def test_a_fresh_process_predicts_the_same_bits(task, path):
    classifier = BayesAdapterClassifier(task.text, posterior="laplace", random_state=0)
    skclip.save(classifier.fit(task.X, task.y), path)
    np.save(path.with_suffix(".npy"), task.X_test)
    code = (
        "import sys, numpy as np, skclip\n"
        "proba = skclip.load(sys.argv[1]).predict_proba(np.load(sys.argv[2]))\n"
        "print(proba.tobytes().hex())"
    )
    command = [sys.executable, "-c", code, str(path), str(path.with_suffix(".npy"))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert bytes.fromhex(printed) == classifier.predict_proba(task.X_test).tobytes()


def test_the_same_object_makes_the_same_file(task, tmp_path):
    """So that a file can be told apart by its digest."""
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    first, second = (skclip.save(classifier, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_device_that_is_not_here_becomes_auto(task, path):
    """What was fitted on a GPU is arrays: it loads and predicts on a CPU."""
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    expected = classifier.predict_proba(task.X_test)
    classifier.device_ = "cuda:99"  # of a fit that was there
    skclip.save(make_pipeline(classifier.set_params(device="cuda:99")), path)
    with pytest.warns(UserWarning, match="saved for a device that this machine does not have") as w:
        loaded = skclip.load(path)
    assert len(w) == 1
    assert "cuda:99" in str(w[0].message)
    assert (loaded[-1].device, loaded[-1].device_) == ("auto", "auto")
    loaded = skclip.load(path, device="cpu")
    assert (loaded[-1].device, loaded[-1].device_) == ("cpu", "cpu")
    np.testing.assert_allclose(loaded.predict_proba(task.X_test), expected, rtol=1e-5)


def test_a_model_is_found_in_a_module_that_nothing_has_imported(tmp_path, monkeypatch):
    """What a file may name must not depend on what its reader did before."""
    (tmp_path / "of_tomorrow.py").write_text(
        "from skclip._core.model import LinearModel\nclass Tomorrow(LinearModel): pass\n"
    )
    monkeypatch.setattr(_core, "__path__", [*_core.__path__, str(tmp_path)])
    codec._models.cache_clear()
    try:
        names = {cls.__name__ for cls in codec._models()}
    finally:
        codec._models.cache_clear()
        sys.modules.pop("skclip._core.of_tomorrow", None)
    assert names >= {"Tomorrow", "LinearModel", "GaussianModel"}
    assert not names & {"FittedModel", "AveragingModel"}
