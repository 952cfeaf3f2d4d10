"""Work in float32, on a large problem or a GPU, gives the model of float64 to 1e-4."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from skclip import BayesAdapterClassifier, Laplace, Variational
from skclip.datasets import make_clip_features

# In probabilities. Rounding of logits of order 100 is 1e-5; choices of precision are made on
# sums that differ by as little, so they agree unless two candidates tie.
TOLERANCE = 1e-4
POSTERIORS = [
    {"posterior": "map"},
    {"posterior": Laplace(temperature=0.1), "random_state": 0},
    {"posterior": Variational(temperature=0.1), "random_state": 0},
    {"posterior": Laplace("diagonal"), "random_state": 0},
]


@pytest.fixture(scope="module")
def data():
    return make_clip_features(8, 20, n_features=128, random_state=0)


# So far that what differs is rounding, not where the solver stopped.
TOL = 1e-7


def fit_single(data, monkeypatch, **parameters):
    """A fit in float32 on the CPU."""
    with monkeypatch.context() as patch:
        patch.setattr("skclip.adapters.base._FLOAT64_WORK", 0)
        classifier = BayesAdapterClassifier(data.prototypes, device="cpu", tol=TOL, **parameters)
        return classifier.fit(data.X, data.y)


@pytest.mark.parametrize("parameters", POSTERIORS)
def test_float32_gives_the_probabilities_of_float64(data, monkeypatch, parameters):
    single = fit_single(data, monkeypatch, **parameters)
    exact = BayesAdapterClassifier(data.prototypes, device="cpu", tol=TOL, **parameters)
    exact.fit(data.X, data.y)
    assert single.coef_.dtype == np.float32
    assert exact.coef_.dtype == np.float64
    assert single.prior_precision_[0] == pytest.approx(exact.prior_precision_[0])
    np.testing.assert_allclose(
        single.predict_proba(data.X_test),
        exact.predict_proba(data.X_test),
        rtol=0,
        atol=TOLERANCE,
    )


@pytest.mark.parametrize("precision", [1.0, 100.0])
def test_float32_reaches_the_objective_of_float64(data, monkeypatch, precision):
    """To a millionth of a nat per row."""
    parameters = {"prior_precision": precision, "temperature": 1.0, "prior_shape": "isotropic"}
    single = fit_single(data, monkeypatch, **parameters)
    exact = BayesAdapterClassifier(data.prototypes, device="cpu", tol=TOL, **parameters)
    exact.fit(data.X, data.y)

    def objective(W):
        scores = torch.tensor(100.0 * data.X @ W.T.astype(float))
        proba = torch.softmax(scores, dim=1).numpy()
        distance = np.square(W.astype(float) - data.prototypes).sum()
        return log_loss(data.y, proba, normalize=False) + 0.5 * precision * distance

    assert objective(single.prototypes_) == pytest.approx(
        objective(exact.prototypes_), rel=0, abs=1e-6 * len(data.y)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("parameters", POSTERIORS)
def test_a_gpu_gives_the_probabilities_of_the_cpu(data, parameters):
    """And its fitted state predicts on a CPU."""
    on_gpu = BayesAdapterClassifier(data.prototypes, device="cuda", tol=TOL, **parameters)
    on_gpu.fit(data.X, data.y)
    on_cpu = BayesAdapterClassifier(data.prototypes, device="cpu", tol=TOL, **parameters)
    expected = on_cpu.fit(data.X, data.y).predict_proba(data.X_test)
    np.testing.assert_allclose(on_gpu.predict_proba(data.X_test), expected, rtol=0, atol=TOLERANCE)
    moved = pickle.loads(pickle.dumps(on_gpu)).set_params(device="cpu")
    np.testing.assert_allclose(moved.predict_proba(data.X_test), expected, rtol=0, atol=TOLERANCE)
