"""scikit-learn's own checks for each classifier that works without prototypes."""

import inspect

import pytest
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclip import (
    BayesAdapterClassifier,
    DeepEnsembleClassifier,
    GaussianDAClassifier,
    Laplace,
    LaplaceProbeClassifier,
    LinearProbeClassifier,
    ProKeRClassifier,
    TipAdapterClassifier,
    Variational,
    adapters,
)

# The tighter tolerance is for the checks that compare two fits to seven digits.
ESTIMATORS = [
    LinearProbeClassifier(tol=1e-11),
    LaplaceProbeClassifier(prior_precision=1.0, tol=1e-11, random_state=0),
    DeepEnsembleClassifier(LinearProbeClassifier(tol=1e-11), n_members=2, random_state=0),
    GaussianDAClassifier(),
    ProKeRClassifier(),
    TipAdapterClassifier(),
    TipAdapterClassifier(fine_tune=True, random_state=0),
    BayesAdapterClassifier(tol=1e-11),
    BayesAdapterClassifier(prior_precision=1.0, temperature=1.0, tol=1e-11),
    BayesAdapterClassifier(posterior=Laplace(temperature=0.1), tol=1e-11),
    BayesAdapterClassifier(
        prior_precision=1.0,
        temperature=1.0,
        posterior=Variational("diagonal", temperature=0.1),
        tol=1e-11,
    ),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_common_checks(estimator, check):
    check(estimator)


def test_no_classifier_that_works_without_prototypes_is_left_out():
    """What refuses prototypes=None says so; every other classifier is checked above."""
    X, y = load_iris(return_X_y=True)
    checked, refusing = {type(estimator) for estimator in ESTIMATORS}, []
    for name in adapters.__all__:
        kind = getattr(adapters, name)
        if not inspect.isclass(kind) or not hasattr(kind, "predict_proba") or kind in checked:
            continue
        wraps = "estimator" in inspect.signature(kind).parameters
        estimator = kind(LinearProbeClassifier()) if wraps else kind()
        with pytest.raises(ValueError, match="prototypes=None"):
            estimator.fit(X, y)
        refusing.append(name)
    assert refusing
