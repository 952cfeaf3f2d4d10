"""Fits and predictions of classifiers stay on their device, without one being there."""

import inspect

import numpy as np
import pytest
import torch

import skclip
from skclip.datasets import make_clip_features
from tests.accelerators import MixedDevices, PretendAccelerator

# -- the device itself ------------------------------------------------------------------


def test_two_devices_that_meet_are_noticed():
    with PretendAccelerator("xpu", has_float64=True) as device:
        there = torch.ones(3, device="xpu")
        assert there.device.type == "xpu"
        assert (there + 1).device.type == "xpu"
        assert there.cpu().device.type == "cpu"
        with pytest.raises(MixedDevices, match="xpu and cpu"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert float(there.sum()) == 3.0
        assert device.reads == 1


def test_double_precision_is_refused_where_there_is_none():
    with PretendAccelerator("mps", has_float64=False):
        there = torch.ones(3, device="mps")
        with pytest.raises(TypeError, match="no float64"):
            there.double()


# -- every classifier -------------------------------------------------------------------

# Wrappers are where what they wrap is. Three learn by autograd, which a pretended tensor does not
# carry; their steps are those of torch's own optimizers.
LEARN = ["CLIPAdapterClassifier", "CosineBayesAdapterClassifier", "ZeroShotRangeClassifier"]
NAMES = sorted(
    name
    for name in skclip.__all__
    if name.endswith("Classifier")
    and name not in LEARN
    and "estimator" not in inspect.signature(getattr(skclip, name)).parameters
)
CASES = [
    *((name, {}) for name in NAMES),
    ("BayesAdapterClassifier", {"posterior": "laplace"}),
]
QUICK = {"max_iter": 3, "random_state": 0}
# Of probabilities and nats in single precision: logits of up to 100 have an error of 1e-5.
TOLERANCE = 1e-4


def make(name, parameters, prototypes, device):
    known = inspect.signature(getattr(skclip, name)).parameters
    quick = {} if name == "BayesAdapterClassifier" else QUICK
    given = {**{k: v for k, v in quick.items() if k in known}, "random_state": 0, **parameters}
    given = {k: v for k, v in given.items() if k in known}
    return getattr(skclip, name)(prototypes, device=device, **given)


@pytest.fixture(scope="module")
def data():
    return make_clip_features(4, 6, n_features=24, n_informative=12, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_a_fit_and_its_predictions_mix_no_devices(name, parameters, data):
    X, X_test = data.X.astype(np.float32), data.X_test.astype(np.float32)
    on_cpu = make(name, parameters, data.prototypes, "cpu").fit(X, data.y)
    with PretendAccelerator("xpu", has_float64=True) as device:
        there = make(name, parameters, data.prototypes, "xpu").fit(X, data.y)
        proba = there.predict_proba(X_test)
    assert device.n_operations
    assert type(proba) is np.ndarray
    np.testing.assert_allclose(proba, on_cpu.predict_proba(X_test), atol=5e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "parameters"), [*CASES, *((name, {}) for name in LEARN)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_there_is_no_double_precision_only_predictions_differ(name, parameters, dtype, data):
    """As on "mps": the fit works on the CPU, in the precision it has there."""
    X, X_test = data.X.astype(dtype), data.X_test.astype(dtype)
    on_cpu = make(name, parameters, data.prototypes, "cpu").fit(X, data.y)
    expected = answers(on_cpu, X_test)
    with PretendAccelerator("mps", has_float64=False) as device:
        there = make(name, parameters, data.prototypes, "mps").fit(X, data.y)
        assert device.n_operations <= 1  # whether the device is there at all
        found = answers(there, X_test)
    assert device.n_operations > 5
    assert found.keys() == expected.keys()
    model = there.model_.arrays()
    for key, value in on_cpu.model_.arrays().items():
        np.testing.assert_array_equal(model[key], value)
    for key, value in expected.items():
        assert found[key].shape == value.shape
        np.testing.assert_allclose(found[key], value, atol=TOLERANCE, err_msg=key)


def answers(classifier, X):
    """What a classifier says of rows, by what was asked."""
    out = {"predict_proba": classifier.predict_proba(X)}
    if hasattr(classifier, "predict_uncertainty"):
        out |= classifier.predict_uncertainty(X)._asdict()
        out["sample_proba"] = classifier.sample_proba(X, 2)
        out["acquisition"] = classifier.acquisition(X)
    return out


def test_without_double_precision_later_labels_are_learned_too(data):
    """partial_fit starts from a model that predicts on the device."""
    X = data.X.astype(np.float32)
    half = len(X) // 2
    order = np.random.default_rng(0).permutation(len(X))
    first, later = order[:half], order[half:]
    on_cpu = make("BayesAdapterClassifier", {"posterior": "laplace"}, data.prototypes, "cpu")
    on_cpu.fit(X[first], data.y[first]).partial_fit(X[later], data.y[later])
    with PretendAccelerator("mps", has_float64=False):
        there = make("BayesAdapterClassifier", {"posterior": "laplace"}, data.prototypes, "mps")
        there.fit(X[first], data.y[first])
        before = there.predict_proba(X)
        proba = there.partial_fit(X[later], data.y[later]).predict_proba(X)
    assert np.abs(proba - before).max() > 0.01
    np.testing.assert_allclose(proba, on_cpu.predict_proba(X), atol=TOLERANCE)


def test_the_default_reads_few_numbers(data):
    """Some in an iteration of its solver and in one of conjugate gradients; none for each row."""
    reads = []
    for copies in (1, 8):
        rows = data.X.repeat(copies, axis=0)
        rows = rows + 0.02 * np.random.default_rng(0).standard_normal(rows.shape)
        with PretendAccelerator("xpu", has_float64=True) as device:
            make("BayesAdapterClassifier", {}, data.prototypes, "xpu").fit(
                rows, data.y.repeat(copies)
            )
        reads.append(device.reads)
    assert 0 < max(reads) < 1500
    assert reads[1] < 3 * reads[0]
