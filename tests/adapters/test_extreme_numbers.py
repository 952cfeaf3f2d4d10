"""Numbers at the edge: the right answer or a typed error, never a certificate that is false."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skclip import (
    BayesAdapterClassifier,
    DeepEnsembleClassifier,
    Laplace,
    LinearProbeClassifier,
    LPPlusPlusClassifier,
    Prototypes,
    Variational,
)
from skclip.datasets import make_clip_features
from skclip.utils.rows import direction

from .test_contract import CASES


@pytest.fixture(params=sorted(CASES))
def make(request):
    cls, parameters = CASES[request.param]
    return lambda prototypes, **changes: cls(prototypes, **{**parameters, **changes})


# Larger than sqrt(largest float32), smaller than sqrt(smallest), and subnormal.
@pytest.mark.parametrize("scale", [3e19, 1e-30, 1e-40])
def test_the_direction_of_rows_survives_overflow_and_underflow(make, task, scale):
    """Squares of float32 rows overflow at 2e19: every prediction was uniform, in silence."""
    rows, test = (scale * task.X).astype(np.float32), (scale * task.X_test).astype(np.float32)
    X, X_test = (direction(a.astype(np.float64)) for a in (rows, test))
    found = make(task.text).fit(rows, task.y).predict_proba(test)
    expected = make(task.text).fit(X, task.y).predict_proba(X_test)
    # Rows are normalised in float32, whose rounding a logit scale of 100 makes 1e-5; sgd more.
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.ptp(found) > 0.1


def test_directions_are_exact_over_the_range_of_both_types():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 7))
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for exponent in (-300, -200, -100, 0, 100, 200, 300):
        np.testing.assert_allclose(direction(rows * 10.0**exponent), expected, rtol=1e-12)
    for exponent in (-36, -30, -20, 0, 20, 30, 37):
        scaled = (rows * 10.0**exponent).astype(np.float32)
        np.testing.assert_allclose(direction(scaled), expected, rtol=1e-5)
    assert not direction(np.zeros((1, 3))).any()


HEAVY = {
    "linear-probe": LinearProbeClassifier,
    "text-lp": lambda text: LinearProbeClassifier(text, C=0.05, init="prototypes"),
    "lbfgs": lambda text: LinearProbeClassifier(text, solver="lbfgs", max_iter=5000),
    "bayes-fixed": lambda text: BayesAdapterClassifier(
        text, prior_precision=20.0, temperature=1.0, prior_shape="isotropic"
    ),
    "lp-plus-plus": lambda text: LPPlusPlusClassifier(text, solver="newton-cg"),
}


@pytest.mark.parametrize("weight", [1e7, 1e10])
@pytest.mark.parametrize("name", sorted(HEAVY))
def test_heavy_weights_have_a_true_certificate(task, name, weight):
    """The optimum at tol=1e-6 is that of a thousandfold smaller tol, or a warning is given."""
    make = HEAVY[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = make(task.text).set_params(tol=1e-6)
        found.fit(task.X, task.y, np.full(len(task.y), weight))
        finer = make(task.text).set_params(tol=1e-9)
        finer.fit(task.X, task.y, np.full(len(task.y), weight))
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        return
    cosine = np.sum(direction(found.coef_) * direction(finer.coef_), axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e5])
@pytest.mark.parametrize(
    "posterior", ["map", Laplace(temperature=0.1), Variational(temperature=0.1)]
)
def test_the_unit_of_features_without_text_is_irrelevant(task, scale, posterior):
    parameters = {"posterior": posterior, "random_state": 0}
    plain = BayesAdapterClassifier(**parameters).fit(task.X, task.y)
    scaled = BayesAdapterClassifier(**parameters).fit(scale * task.X, task.y)
    np.testing.assert_allclose(
        scaled.predict_proba(scale * task.X_test), plain.predict_proba(task.X_test), atol=0.06
    )


@pytest.mark.parametrize("scale", [1e-5, 1e-7])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_short_rows_have_a_true_certificate(task, scale, solver):
    """Their gradient is below any tol at the start already, which was certified as the optimum."""
    found, finer = (
        LinearProbeClassifier(solver=solver, tol=tol).fit(scale * task.X, task.y).coef_
        for tol in (1e-6, 1e-9)
    )
    assert np.sum(direction(found) * direction(finer), axis=1).min() > 0.999


@pytest.mark.parametrize("scale", [1e7, 1e15, 1e30, 1e300, 1e-7, 1e-30, 1e-310])
def test_weights_of_any_size_give_a_distribution_or_a_typed_error(make, task, scale):
    weight = np.full(len(task.y), scale)
    classifier = make(task.text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if not 1e-12 <= weight.sum() <= 1e12:
            with pytest.raises(ValueError, match="must add up to at least 1e-12 and at most 1e"):
                classifier.fit(task.X, task.y, weight)
            return
        proba = classifier.fit(task.X, task.y, weight).predict_proba(task.X_test)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-9)


def test_one_tiny_weight_among_others_is_a_row_left_out(make, task):
    weight = np.ones(len(task.y))
    weight[0] = 5e-324
    tiny = make(task.text).fit(task.X, task.y, weight).predict_proba(task.X_test)
    assert np.isfinite(tiny).all()


def test_class_weights_are_weights(task):
    classifier = BayesAdapterClassifier(task.text, class_weight={0: 1e30, 1: 1, 2: 1, 3: 1})
    with pytest.raises(ValueError, match="sample_weight, times class_weight, must add up to"):
        classifier.fit(task.X, task.y)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e7, 1e-7])
def test_a_logit_scale_that_no_model_has_is_refused(make, task, scale):
    message = "logit_scale must be between 1e-06 and 1e[+]06; got"
    with pytest.raises(ValueError, match=message):
        make(task.text, logit_scale=scale).fit(task.X, task.y)
    with pytest.raises(ValueError, match=message):
        make(Prototypes(task.text, range(4), logit_scale=scale)).fit(task.X, task.y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused_everywhere(make, task, value):
    weight, text = np.ones(len(task.y)), task.text.copy()
    weight[1] = text[1, 1] = value
    with pytest.raises(ValueError, match="(?i)nan|inf|finite|negative"):
        make(task.text).fit(task.X, task.y, weight)
    with pytest.raises(ValueError, match="(?i)finite"):
        make(text).fit(task.X, task.y)
    with pytest.raises(ValueError, match="logit_scale"):
        make(task.text, logit_scale=value).fit(task.X, task.y)
    with pytest.raises(ValueError, match="logit_scale must be a positive number or None"):
        Prototypes(task.text, range(4), logit_scale=value)


@pytest.mark.parametrize("scale", [1e19, 1e160, 1e-19, 1e-160])
def test_rows_that_are_not_normalised_have_a_range(make, task, scale):
    with pytest.raises(ValueError, match="largest entry of X must be between"):
        make(task.text, normalize=False).fit(scale * task.X, task.y)


def test_rows_that_overflow_at_prediction_are_named(task):
    classifier = LinearProbeClassifier(C=1e4).fit(task.X, task.y)
    X = task.X_test.copy()
    X[3] = np.sign(X[3]) * 1e308
    with pytest.raises(ValueError, match="must lead to finite logits; got rows that do not: 3"):
        classifier.predict_proba(X)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_features_of_an_odd_unit_without_text_ask_for_a_scaler(task, scale):
    with pytest.raises(ValueError, match="logit_scale must be between .* StandardScaler makes 1"):
        BayesAdapterClassifier().fit(scale * task.X, task.y)


# -- supports that span nothing --------------------------------------------------------

POSTERIORS = {
    "map": {},
    "lbfgs": {"solver": "lbfgs"},
    "laplace": {"posterior": Laplace()},
    "diagonal": {"posterior": Laplace("diagonal")},
    "isotropic": {"posterior": Laplace("isotropic")},
    "variational": {"posterior": Variational()},
    "no intercept": {"fit_intercept": False},
    "intercept": {"fit_intercept": True},
    "isotropic prior": {"prior_shape": "isotropic"},
    "clap": {"prior_precision": "clap"},
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("parameters", POSTERIORS.values(), ids=POSTERIORS)
def test_one_row_of_named_classes_fits_whatever_is_put_around_the_mode(task, parameters, method):
    classifier = BayesAdapterClassifier(
        Prototypes(task.text, range(4)), random_state=0, **parameters
    )
    getattr(classifier, method)(task.X[:1], task.y[:1])
    before = classifier.predict_proba(task.X[:1])[0, task.y[0]]
    if method == "partial_fit":
        classifier.partial_fit(task.X[:1], task.y[:1])
        assert classifier.predict_proba(task.X[:1])[0, task.y[0]] >= before - 1e-9
    np.testing.assert_allclose(classifier.predict_proba(task.X_test).sum(axis=1), 1.0)


@pytest.mark.parametrize("parameters", [{}, {"posterior": "laplace"}, {"posterior": "variational"}])
def test_equal_rows_without_text_predict_the_shares_of_their_labels(task, parameters):
    """The span about the mean has rank 0: only the intercept is left."""
    classifier = BayesAdapterClassifier(random_state=0, **parameters)
    classifier.fit(task.X[[0, 0, 0, 0]], [0, 1, 1, 1])
    proba = classifier.predict_proba(task.X_test)
    assert (proba.argmax(axis=1) == 1).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    zeros = BayesAdapterClassifier(random_state=0, **parameters).fit(np.zeros((3, 5)), [0, 1, 1])
    np.testing.assert_allclose(zeros.predict_proba(np.zeros((1, 5))).sum(), 1.0)


def test_an_ensemble_of_one_row_is_fitted(task):
    members = LinearProbeClassifier(Prototypes(task.text, range(4)), init="random", max_iter=5)
    ensemble = DeepEnsembleClassifier(members, n_members=2, random_state=0)
    proba = ensemble.fit(task.X[:1], task.y[:1]).predict_proba(task.X_test)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


@pytest.mark.parametrize("precision", [0.01, 0.001])
def test_a_precision_of_nearly_nothing_leaves_a_temperature_that_means_something(precision):
    """Rows left out feel what a loose stop leaves: the temperature was 148, all classes alike."""
    data = make_clip_features(16, 30, n_features=128, n_test_per_class=10, random_state=0)
    fits = [
        BayesAdapterClassifier(data.prototypes, prior_precision=precision, tol=tol).fit(
            data.X, data.y
        )
        for tol in ("auto", 1e-9)
    ]
    as_it_comes, exact = fits
    np.testing.assert_allclose(as_it_comes.temperature_, exact.temperature_, rtol=0.02)
    np.testing.assert_allclose(
        as_it_comes.predict_proba(data.X_test), exact.predict_proba(data.X_test), atol=0.01
    )
