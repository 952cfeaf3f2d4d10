"""A fit finishes or leaves the estimator as it was; nothing reads parameters after it."""

import pickle
import warnings

import numpy as np
import pytest

from skclip import BayesAdapterClassifier, Laplace, Prototypes

from .test_contract import CASES

# What no fit of this task would accept or choose: a parameter that is read after a fit,
# whichever it is, makes predictions fail or differ.
NONSENSE = object()
METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "predict_uncertainty",
    "sample_proba",
    "acquisition",
)


def answers(classifier, X):
    return {
        name: np.asarray(getattr(classifier, name)(X))
        for name in METHODS
        if hasattr(classifier, name)
    }


def state(classifier):
    return pickle.dumps(vars(classifier))


@pytest.mark.parametrize("name", sorted(CASES))
def test_set_params_after_a_fit_changes_the_next_fit_only(name, task):
    cls, parameters = CASES[name]
    classifier = cls(task.text, **parameters).fit(task.X, task.y)
    expected = answers(classifier, task.X_test)
    fitted = {key: value for key, value in vars(classifier).items() if key.endswith("_")}
    for parameter in classifier.get_params(deep=False):
        classifier.set_params(**{parameter: NONSENSE})
    for key, values in answers(classifier, task.X_test).items():
        np.testing.assert_array_equal(values, expected[key], err_msg=key)
    assert fitted.keys() == {key for key in vars(classifier) if key.endswith("_")}


class _Stop(BaseException):
    """Ctrl-C, which no `except Exception` sees."""


@pytest.mark.parametrize("error", [_Stop, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("step", ["support_digests", "core", "publish"])
def test_an_interrupted_fit_leaves_the_estimator_as_it_was(error, method, step, task, monkeypatch):
    classifier = BayesAdapterClassifier(
        Prototypes(task.text, range(4)), posterior=Laplace(temperature=0.1), random_state=0
    ).partial_fit(task.X[:12], task.y[:12])
    before, expected = state(classifier), answers(classifier, task.X_test)
    core = "fit_posterior" if method == "fit" else "update"
    where = {
        "support_digests": "skclip.adapters.base.row_digests",
        "core": f"skclip.adapters.bayes_adapter.{core}",
        "publish": "skclip.adapters.bayes_adapter.warn_unless_converged",
    }[step]

    def stop(*args, **kwargs):
        raise error

    monkeypatch.setattr(where, stop)
    with pytest.raises(error):
        getattr(classifier, method)(task.X[12:, ::-1] * 2, task.y[12:])
    assert state(classifier) == before
    for key, values in answers(classifier, task.X_test).items():
        np.testing.assert_array_equal(values, expected[key], err_msg=key)


def test_a_warning_turned_into_an_error_leaves_the_estimator_as_it_was(task):
    classifier = BayesAdapterClassifier(Prototypes(task.text, range(4)))
    classifier.partial_fit(task.X[:12], task.y[:12])
    before = state(classifier)
    classifier.set_params(max_iter=1, tol=1e-12)
    before_call = state(classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="The solver stopped before"):
            classifier.partial_fit(task.X[12:], task.y[12:])
    assert state(classifier) == before_call != before


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_refused_fit_leaves_the_estimator_as_it_was(name, task):
    cls, parameters = CASES[name]
    classifier = cls(task.text, **parameters).fit(task.X, task.y)
    before = state(classifier)
    bad = task.X.copy()
    bad[5] = 0
    with pytest.raises(ValueError, match="Rows of X must not be zero"):
        classifier.fit(bad, task.y)
    assert state(classifier) == before
