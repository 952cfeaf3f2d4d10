"""What scikit-learn's users combine LogisticRegression with and its own tests do not cover."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, load_wine, make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GroupKFold,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skclip import BayesAdapterClassifier


@pytest.fixture(scope="module", params=[2, 3])
def noisy(request):
    """Classes that overlap, so that temperatures are finite."""
    X, y = make_classification(
        n_samples=300,
        n_features=8,
        n_informative=5,
        n_classes=request.param,
        flip_y=0.2,
        random_state=0,
    )
    return X, np.array(["ant", "bee", "cow"])[y]


# -- the same model -----------------------------------------------------------------


def with_parameters_of(theirs, n_classes):
    """One row of weights w for two classes is two of -w / 2 and w / 2, of half the penalty."""
    return BayesAdapterClassifier(
        prior_precision=(2 if n_classes == 2 else 1) / theirs.C,
        prior_shape="isotropic",
        temperature=1.0,
        logit_scale=1.0,
        class_weight=theirs.class_weight,
        tol=1e-10,
    )


@pytest.fixture(scope="module", params=["unweighted", "balanced"])
def fit_both(request):
    """LogisticRegression and its equal on a data set, and X; fitted with sample weights, too."""
    class_weight = "balanced" if request.param == "balanced" else None

    def fit(load):
        X, y = load(return_X_y=True)
        X, weight = scale(X), 1.0 + np.arange(len(y)) % 3
        theirs = LogisticRegression(
            class_weight=class_weight, solver="newton-cholesky", tol=1e-10
        ).fit(X, y, weight)
        ours = with_parameters_of(theirs, len(theirs.classes_)).fit(X, y, weight)
        return theirs, ours, X

    return fit


# With a penalty of at least |w|^2 / 2, a gradient below 1e-10 per sample in each of 90 weights
# is at most 1e-10 n sqrt(90) = 1e-6 from the optimum.
OF_THE_OPTIMUM = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_with_its_parameters_it_predicts_as_logistic_regression(load, fit_both):
    theirs, ours, X = fit_both(load)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), **OF_THE_OPTIMUM)


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_with_its_parameters_it_has_the_weights_of_logistic_regression(load, fit_both):
    theirs, ours, _ = fit_both(load)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, **OF_THE_OPTIMUM)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, **OF_THE_OPTIMUM)


def test_where_features_say_nothing_it_predicts_the_frequencies():
    """Fewer rows than columns, all alike: only the bias is left, whose gradient is below tol."""
    classifier = BayesAdapterClassifier(prior_precision=1.0, temperature=1.0)
    proba = classifier.fit(np.zeros((4, 10)), [0, 1, 1, 1])
    np.testing.assert_allclose(proba.predict_proba(np.ones((1, 10))), [[0.25, 0.75]], atol=1e-6)


# -- decision_function and calibration ----------------------------------------------


def as_proba(scores):
    return softmax(scores, axis=1) if scores.ndim == 2 else np.c_[expit(-scores), expit(scores)]


@pytest.mark.parametrize("posterior", ["map", "laplace"])
def test_out_of_fold_scores_are_logits(noisy, posterior):
    """cross_val_predict(method="decision_function") calibrates like predict_proba."""
    X, y = noisy
    classifier = BayesAdapterClassifier(posterior=posterior, random_state=0)
    scores = cross_val_predict(classifier, X, y, method="decision_function", cv=3)
    proba = cross_val_predict(classifier, X, y, method="predict_proba", cv=3)
    np.testing.assert_allclose(as_proba(scores), proba, atol=1e-10)


def test_temperature_calibration_is_temperature_scaling_of_the_probabilities(noisy):
    """CalibratedClassifierCV(method="temperature") works on decision_function."""
    X, y = noisy
    train, rest = np.arange(len(y)) < 100, np.arange(len(y)) >= 100
    classifier = BayesAdapterClassifier(temperature=0.3).fit(X[train], y[train])
    log_proba = classifier.predict_log_proba(X[rest])

    def scaled(log_temperature):
        return np.exp(log_softmax(log_proba * np.exp(-log_temperature), axis=1))

    best = minimize_scalar(lambda t: log_loss(y[rest], scaled(t)), bounds=(-3, 3)).x
    theirs = CalibratedClassifierCV(FrozenEstimator(classifier), method="temperature")
    theirs.fit(X[rest], y[rest])
    # A minimum of a function in double precision is known to the root of that: 1e-8 to 1e-5.
    np.testing.assert_allclose(theirs.predict_proba(X[rest]), scaled(best), atol=1e-5)


# -- learning in batches --------------------------------------------------------------


def test_several_outputs_learn_in_batches_as_each_alone():
    """The second output is constant in the second batch, as rare outputs are."""
    X, y = load_iris(return_X_y=True)
    Y = np.c_[y, np.where(np.arange(len(y)) < 100, y == 0, False)]
    order = np.random.default_rng(0).permutation(np.arange(len(y))[::2])
    batches = [order, np.arange(101, 150)]
    together = MultiOutputClassifier(BayesAdapterClassifier())
    alone = [BayesAdapterClassifier(), BayesAdapterClassifier()]
    classes = [[0, 1, 2], [0, 1]]
    for rows in batches:
        weight = 1.0 + rows % 2
        together.partial_fit(X[rows], Y[rows], classes=classes, sample_weight=weight)
        for k, one in enumerate(alone):
            one.partial_fit(X[rows], Y[rows, k], classes=classes[k], sample_weight=weight)
    for k, one in enumerate(alone):
        np.testing.assert_array_equal(together.predict_proba(X)[k], one.predict_proba(X))
    assert together.score(X, Y) > 0.9


@pytest.mark.parametrize("strategy", [OneVsRestClassifier, OneVsOneClassifier])
def test_a_first_batch_may_lack_classes_of_the_later_ones(strategy):
    X, y = load_iris(return_X_y=True)
    X = scale(X)
    model = strategy(BayesAdapterClassifier())
    for rows in (np.arange(0, 100), np.arange(50, 150), np.arange(0, 150, 2)):
        model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert model.score(X, y) > 0.9


def test_a_learning_curve_can_add_batches():
    """exploit_incremental_learning gives what partial_fit gives on the same batches."""
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    sizes, folds = [20, 50, 100], [(np.arange(100), np.arange(100, 150))]
    _, _, scores = learning_curve(
        BayesAdapterClassifier(),
        X,
        y,
        train_sizes=sizes,
        cv=folds,
        scoring="neg_log_loss",
        exploit_incremental_learning=True,
    )
    model, expected = BayesAdapterClassifier(), []
    for rows in np.split(np.arange(100), sizes[:-1]):
        model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        expected.append(-log_loss(y[100:], model.predict_proba(X[100:])))
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-12)


# -- metadata and names ---------------------------------------------------------------


def test_weights_and_groups_are_routed_to_fit_and_weights_to_score():
    """Through a pipeline in cross-validation, where they are requested."""
    X, y = load_iris(return_X_y=True)
    weight = 1.0 + np.arange(len(y)) % 5
    # Two views of each image, which leave-one-out has to leave out together.
    groups = np.arange(len(y)) // 2
    X[1::2] = X[::2] + 0.01
    with config_context(enable_metadata_routing=True):
        classifier = BayesAdapterClassifier().set_fit_request(sample_weight=True, groups=True)
        classifier.set_score_request(sample_weight=True)
        routed = cross_validate(
            make_pipeline(StandardScaler().set_fit_request(sample_weight=False), classifier),
            X,
            y,
            cv=GroupKFold(3),
            params={"sample_weight": weight, "groups": groups},
            return_estimator=True,
            return_indices=True,
        )
    for k, pipeline in enumerate(routed["estimator"]):
        rows, rest = routed["indices"]["train"][k], routed["indices"]["test"][k]
        scaled = pipeline[0].transform(X[rows])
        by_hand = BayesAdapterClassifier().fit(scaled, y[rows], weight[rows], groups[rows])
        np.testing.assert_array_equal(pipeline[1].coef_, by_hand.coef_)
        score = pipeline.score(X[rest], y[rest], sample_weight=weight[rest])
        assert routed["test_score"][k] == score


def test_names_of_columns_arrive_from_a_transformer():
    """set_output(transform="pandas") tells the classifier which column is which."""
    pandas = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), BayesAdapterClassifier())
    model.set_output(transform="pandas").fit(X, y)
    assert list(model[-1].feature_names_in_) == list(X.columns)
    other = pandas.DataFrame(scale(X), columns=X.columns[::-1])
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        model[-1].predict(other)
