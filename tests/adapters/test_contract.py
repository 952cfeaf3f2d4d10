"""What every classifier of the package promises; a new one joins by a line in CASES."""

import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.base import clone
from wise_ft import WiSEFTClassifier

from skclip import (
    BayesAdapterClassifier,
    CLAPClassifier,
    CLIPAdapterClassifier,
    CosineBayesAdapterClassifier,
    CrossModalClassifier,
    GaussianDAClassifier,
    Laplace,
    LaplaceProbeClassifier,
    LinearProbeClassifier,
    LPPlusPlusClassifier,
    ProKeRClassifier,
    Prototypes,
    SampleAdaptiveScaling,
    TaskResClassifier,
    TipAdapterClassifier,
    Variational,
    ZeroShotClassifier,
    ZeroShotRangeClassifier,
)
from skclip.adapters.base import LinearAdapterClassifier
from skclip.exceptions import PrototypeMismatchError


def scaled_linear_probe(prototypes, **parameters):
    return SampleAdaptiveScaling(
        LinearProbeClassifier(prototypes, tol=1e-10), prototypes, **parameters
    )


# name -> (class, parameters). Few epochs: the contract does not depend on their number.
CASES = {
    "zero-shot": (ZeroShotClassifier, {}),
    # The example of docs/extending.rst.
    "wise-ft": (WiSEFTClassifier, {"prior_precision": 20.0, "tol": 1e-10}),
    "linear-probe": (LinearProbeClassifier, {"tol": 1e-10}),
    "clap": (CLAPClassifier, {"solver": "newton-cg", "tol": 1e-10}),
    "clap-sgd": (
        CLAPClassifier,
        {"multipliers": "adaptive", "solver": "sgd", "max_iter": 10, "random_state": 0},
    ),
    "task-res": (TaskResClassifier, {"solver": "newton-cg", "tol": 1e-10}),
    "task-res-adam": (TaskResClassifier, {"solver": "adam", "max_iter": 10, "random_state": 0}),
    "cross-modal": (CrossModalClassifier, {"solver": "newton-cg", "tol": 1e-10}),
    "cross-modal-adamw": (
        CrossModalClassifier,
        {"solver": "adamw", "max_iter": 10, "random_state": 0},
    ),
    "random-lp": (LinearProbeClassifier, {"init": "random", "max_iter": 10, "random_state": 0}),
    "text-lp": (
        LinearProbeClassifier,
        {"C": 0.05, "init": "prototypes", "solver": "newton-cg", "tol": 1e-11},
    ),
    "zs-norm": (ZeroShotRangeClassifier, {"method": "norm", "max_iter": 10, "random_state": 0}),
    "zs-penalty": (ZeroShotRangeClassifier, {"solver": "lbfgs", "tol": 1e-9}),
    "sals": (scaled_linear_probe, {}),
    "laplace-probe": (LaplaceProbeClassifier, {"tol": 1e-10, "random_state": 0}),
    "laplace-probit": (LaplaceProbeClassifier, {"predictive": "probit", "tol": 1e-10}),
    "laplace-full": (
        LaplaceProbeClassifier,
        {"covariance": "full", "predictive": "probit", "tol": 1e-10},
    ),
    "tip-adapter": (TipAdapterClassifier, {}),
    "tip-adapter-f": (
        TipAdapterClassifier,
        {"fine_tune": True, "max_iter": 10, "random_state": 0},
    ),
    "gaussian-da": (GaussianDAClassifier, {}),
    "proker": (ProKeRClassifier, {}),
    "lp-plus-plus": (LPPlusPlusClassifier, {"solver": "newton-cg", "tol": 1e-10}),
    "lp-plus-plus-mm": (LPPlusPlusClassifier, {"solver": "mm", "max_iter": 50}),
    "clip-adapter": (
        CLIPAdapterClassifier,
        {"dropout": 0.2, "n_mc_samples": 8, "max_iter": 10, "random_state": 0},
    ),
    "zs-lp": (LinearProbeClassifier, {"init": "prototypes", "max_iter": 10, "random_state": 0}),
    "bayes": (BayesAdapterClassifier, {"tol": 1e-10}),
    "bayes-fixed": (
        BayesAdapterClassifier,
        {"prior_precision": 20.0, "temperature": 0.9, "tol": 1e-10},
    ),
    "bayes-laplace": (
        BayesAdapterClassifier,
        {"posterior": Laplace(temperature=0.1), "tol": 1e-10, "random_state": 0},
    ),
    "bayes-variational": (
        BayesAdapterClassifier,
        {
            "prior_precision": 20.0,
            "posterior": Variational(temperature=0.1),
            "random_state": 0,
        },
    ),
    "bayes-paper": (
        CosineBayesAdapterClassifier,
        {"prior_precision": 100.0, "max_iter": 10, "random_state": 0},
    ),
}
# Stochastic gradients visit rows in a drawn order, so these depend on the order of rows
# and, where weights are sampled in a fixed basis, on rotations and class order. Averages
# over drawn logits depend on the order of classes (see test_uncertainty for the rest).
STOCHASTIC = {"zs-lp", "bayes-paper", "bayes-laplace", "bayes-variational"}
STOCHASTIC |= {"clap-sgd", "task-res-adam", "cross-modal-adamw"}
STOCHASTIC |= {"random-lp", "zs-norm", "laplace-probe"}
STOCHASTIC |= {"tip-adapter-f", "clip-adapter"}
EXACT = sorted(set(CASES) - STOCHASTIC)
# Of those with coefficients: predictions are at the mean, not averages over a posterior.
LINEAR = {
    name
    for name, (cls, parameters) in CASES.items()
    if isinstance(cls, type)
    and issubclass(cls, LinearAdapterClassifier)
    and cls is not LaplaceProbeClassifier
    and "posterior" not in parameters
}


@pytest.fixture(params=sorted(CASES))
def make(request):
    cls, parameters = CASES[request.param]
    return lambda prototypes, **changes: cls(prototypes, **{**parameters, **changes})


@pytest.fixture(params=EXACT)
def make_exact(request):
    cls, parameters = CASES[request.param]
    return lambda prototypes, **changes: cls(prototypes, **{**parameters, **changes})


def test_probabilities_are_a_distribution_and_predict_takes_the_largest(make, task):
    classifier = make(task.text).fit(task.X, task.y)
    proba = classifier.predict_proba(task.X_test)
    assert proba.shape == (len(task.X_test), 4)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(classifier.predict(task.X_test), proba.argmax(axis=1))
    np.testing.assert_allclose(classifier.predict_log_proba(task.X_test), np.log(proba))


def test_the_softmax_of_the_decision_function_is_predict_proba(make, task):
    """So that scikit-learn's temperature scaling, which reads it as logits, is exact."""
    classifier = make(task.text).fit(task.X, task.y)
    scores = classifier.decision_function(task.X_test)
    assert scores.shape == (len(task.X_test), 4)
    proba = classifier.predict_proba(task.X_test)
    np.testing.assert_allclose(softmax(scores, axis=1), proba, rtol=1e-9, atol=1e-15)


def test_two_classes_have_one_decision_value(make, task):
    keep = task.y < 2
    classifier = make(task.text[:2]).fit(task.X[keep], task.y[keep])
    scores = classifier.decision_function(task.X_test)
    log_proba = classifier.predict_log_proba(task.X_test)
    assert scores.shape == (len(task.X_test),)
    np.testing.assert_allclose(scores, log_proba[:, 1] - log_proba[:, 0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("name", sorted(LINEAR))
def test_coef_and_intercept_are_the_logits(name, n_classes, task):
    """X as normalised; temperature and scale are inside, as users of LogisticRegression expect."""
    cls, parameters = CASES[name]
    keep = task.y < n_classes
    classifier = cls(task.text[:n_classes], **parameters).fit(3.0 * task.X[keep], task.y[keep])
    rows = 1 if n_classes == 2 else n_classes
    assert classifier.coef_.shape == (rows, 16)
    assert classifier.intercept_.shape == (rows,)
    scores = np.squeeze(task.X_test @ classifier.coef_.T + classifier.intercept_)
    expected = classifier.decision_function(task.X_test)
    if n_classes > 2:  # equal up to a constant per row
        scores -= scores.mean(axis=1, keepdims=True)
        expected -= expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected, atol=1e-8)
    assert classifier.prototypes_.shape == (n_classes, 16)


def test_one_class_in_all_is_an_error_that_names_it(make, task):
    message = r"There must be at least two classes in all; got one class: 'ant'\. Pass samples"
    with pytest.raises(ValueError, match=message):
        make(Prototypes(task.text[:1], ["ant"])).fit(task.X[:3], ["ant"] * 3)


def test_a_dataframe_of_prototypes_is_taken_by_its_index(make, task):
    names = np.array(["d", "b", "c", "a"])
    pd = pytest.importorskip("pandas")
    frame = make(pd.DataFrame(task.text, index=names)).fit(task.X, names[task.y])
    labelled = make(Prototypes(task.text, names)).fit(task.X, names[task.y])
    np.testing.assert_array_equal(
        frame.predict_proba(task.X_test), labelled.predict_proba(task.X_test)
    )


def test_one_row_of_named_classes_is_enough(make, task):
    """The span of one row about its mean has rank zero."""
    classifier = make(Prototypes(task.text, range(4))).fit(task.X[:1], task.y[:1])
    proba = classifier.predict_proba(task.X_test)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    equal = make(Prototypes(task.text, range(4))).fit(task.X[[0, 0, 0]], [0, 1, 1])
    assert np.isfinite(equal.predict_proba(task.X_test)).all()


def test_string_labels_give_the_same_probabilities_in_sorted_order(make, task):
    names = np.array(["d", "b", "c", "a"])
    position = np.argsort(np.argsort(names))
    by_code = make(task.text[np.argsort(names)]).fit(task.X, position[task.y])
    by_name = make(task.text[np.argsort(names)]).fit(task.X, names[task.y])
    assert by_name.classes_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(
        by_name.predict_proba(task.X_test), by_code.predict_proba(task.X_test)
    )
    assert by_name.score(task.X_test, names[task.y_test]) == by_code.score(
        task.X_test, position[task.y_test]
    )


def test_labelled_prototypes_may_come_in_any_order(make, task):
    names = np.array(["d", "b", "c", "a"])
    sorted_rows = make(task.text[np.argsort(names)]).fit(task.X, names[task.y])
    labelled = make(Prototypes(task.text, names)).fit(task.X, names[task.y])
    np.testing.assert_array_equal(
        labelled.predict_proba(task.X_test), sorted_rows.predict_proba(task.X_test)
    )


def test_a_class_without_images_keeps_its_place(make, task):
    keep = task.y != 2
    classifier = make(Prototypes(task.text, range(4))).fit(task.X[keep], task.y[keep])
    assert classifier.classes_.tolist() == [0, 1, 2, 3]
    assert classifier.predict_proba(task.X_test).shape == (len(task.X_test), 4)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"linear-probe", "random-lp"}))
def test_a_class_without_images_is_known_by_its_text(name, task):
    """Rows of it get more of its probability than others; at random that is a half.

    The two probes that are left out do not start from the text.
    """
    cls, parameters = CASES[name]
    keep = task.y != 2
    classifier = cls(Prototypes(task.text, range(4)), **parameters).fit(task.X[keep], task.y[keep])
    proba, own = classifier.predict_proba(task.X_test)[:, 2], task.y_test == 2
    assert np.mean(proba[own][:, None] > proba[~own]) > 0.75


def test_the_unit_of_the_rows_does_not_matter_with_text(make, task):
    """Rows are scaled to unit norm; powers of two leave no rounding."""
    reference = make(task.text).fit(task.X, task.y).predict_proba(task.X_test)
    scaled = make(task.text).fit(4 * task.X, task.y).predict_proba(0.5 * task.X_test)
    np.testing.assert_array_equal(scaled, reference)


def test_the_order_of_the_rows_does_not_matter(make_exact, task):
    order = np.random.default_rng(1).permutation(len(task.X))
    np.testing.assert_allclose(
        make_exact(task.text).fit(task.X[order], task.y[order]).predict_proba(task.X_test),
        make_exact(task.text).fit(task.X, task.y).predict_proba(task.X_test),
        atol=1e-7,
    )


def test_a_rotation_of_features_and_text_does_not_matter(make_exact, task):
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))
    rotated = make_exact(task.text @ rotation).fit(task.X @ rotation, task.y)
    np.testing.assert_allclose(
        rotated.predict_proba(task.X_test @ rotation),
        make_exact(task.text).fit(task.X, task.y).predict_proba(task.X_test),
        atol=1e-7,
    )


def test_renaming_the_classes_permutes_the_columns(make_exact, task):
    order = np.array([2, 0, 3, 1])  # the new class k is the old order[k]
    renamed = make_exact(task.text[order]).fit(task.X, np.argsort(order)[task.y])
    np.testing.assert_allclose(
        renamed.predict_proba(task.X_test),
        make_exact(task.text).fit(task.X, task.y).predict_proba(task.X_test)[:, order],
        atol=1e-7,
    )


def test_a_weight_of_two_is_the_row_twice(make_exact, task):
    weight = np.where(np.arange(len(task.X)) % 3 == 0, 2, 1)
    rows = np.repeat(np.arange(len(task.X)), weight)
    np.testing.assert_allclose(
        make_exact(task.text).fit(task.X, task.y, sample_weight=weight).predict_proba(task.X_test),
        make_exact(task.text).fit(task.X[rows], task.y[rows]).predict_proba(task.X_test),
        atol=1e-7,
    )


def test_the_same_seed_gives_the_same_numbers(make, task):
    first = make(task.text).fit(task.X, task.y).predict_proba(task.X_test)
    second = make(task.text).fit(task.X, task.y).predict_proba(task.X_test)
    np.testing.assert_array_equal(first, second)


def test_a_row_is_predicted_alike_alone_and_in_a_batch(make, task):
    classifier = make(task.text).fit(task.X, task.y)
    whole = classifier.predict_proba(task.X_test)
    alone = np.concatenate([classifier.predict_proba(row[None]) for row in task.X_test])
    np.testing.assert_allclose(alone, whole, rtol=1e-7, atol=1e-12)


def test_float32_features_are_predicted_in_float32(make, task):
    classifier = make(task.text).fit(task.X.astype(np.float32), task.y)
    proba = classifier.predict_proba(task.X_test.astype(np.float32))
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba, classifier.predict_proba(task.X_test), atol=1e-4)


def packages_of(payload):
    """The packages that a pickle imports from."""
    found = set()

    class Watched(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(module.partition(".")[0])
            return super().find_class(module, name)

    Watched(io.BytesIO(payload)).load()
    return found


def test_a_tensor_in_a_pickle_is_noticed():
    """Wherever it is: here as an attribute of a state that looks like one of numbers."""
    assert packages_of(pickle.dumps({"coef_": [np.eye(2), torch.eye(2)]})) >= {"numpy", "torch"}


def test_fitted_state_is_numpy_only_and_survives_pickling(make, task, tmp_path):
    """A model fitted on a GPU must load where there is none."""
    classifier = make(task.text).fit(task.X, task.y)
    payload = pickle.dumps(classifier)
    assert "torch" not in packages_of(payload)
    reference = classifier.predict_proba(task.X_test)
    np.testing.assert_array_equal(pickle.loads(payload).predict_proba(task.X_test), reference)
    joblib.dump(classifier, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(task.X_test), reference)


def test_clone_keeps_the_parameters_and_drops_the_fit(make, task):
    classifier = make(task.text).fit(task.X, task.y)
    copy = clone(classifier)
    assert not hasattr(copy, "classes_")
    np.testing.assert_array_equal(copy.prototypes, task.text)


def test_one_shot_does_not_warn(make, task):
    """scikit-learn suspects a regression when every label occurs once."""
    classifier = make(task.text).fit(task.X[:4], task.y[:4])
    assert np.isfinite(classifier.predict_proba(task.X_test)).all()


def test_too_few_prototypes_are_refused(make, task):
    message = (
        r"prototypes has 3 rows but y contains 4 classes\. Pass a Prototypes object with labels"
    )
    with pytest.raises(PrototypeMismatchError, match=message):
        make(task.text[:3]).fit(task.X, task.y)


def test_a_class_without_prototype_is_refused(make, task):
    message = r"Every class of y needs a prototype; got no prototype for 3\."
    with pytest.raises(PrototypeMismatchError, match=message):
        make(Prototypes(task.text[:3], range(3))).fit(task.X, task.y)


def test_prototypes_of_another_width_are_refused(make, task):
    message = (
        "prototypes must have as many columns as X has features; got 15 columns and 16 features"
    )
    with pytest.raises(PrototypeMismatchError, match=message):
        make(task.text[:, :15]).fit(task.X, task.y)


def test_a_zero_row_is_named(make, task):
    X = task.X.copy()
    X[[3, 7]] = 0
    message = r"Rows of X must not be zero .* got zeros in row\(s\) 3, 7\. Drop them"
    with pytest.raises(ValueError, match=message):
        make(task.text).fit(X, task.y)
    classifier = make(task.text).fit(task.X, task.y)
    with pytest.raises(ValueError, match=message):
        classifier.predict_proba(X)


def test_nan_is_refused(make, task):
    X = task.X.copy()
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        make(task.text).fit(X, task.y)


def test_an_unknown_device_is_refused(make, task):
    with pytest.raises(ValueError, match="device must be 'auto' or a torch device"):
        make(task.text, device="abacus").fit(task.X, task.y)
