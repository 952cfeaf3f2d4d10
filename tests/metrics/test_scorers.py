"""Scorers in grid search and cross-validation, also where folds miss classes."""

import inspect
import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.metrics import get_scorer as sklearn_scorer
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_validate
from sklearn.svm import LinearSVC

import skclip
from skclip import BayesAdapterClassifier, Prototypes, ZeroShotClassifier
from skclip.datasets import make_clip_features
from skclip.metrics import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    classwise_calibration_error,
    confidence_bias,
    coverage_at_risk,
    error_detection_auroc,
    excess_aurc,
    expected_calibration_error,
    get_scorer,
    get_scorer_names,
    maximum_calibration_error,
    reliability_coverage_table,
    smooth_calibration_error,
)

METRICS = {
    "neg_ece": lambda *a, **k: -expected_calibration_error(*a, **k),
    "neg_adaptive_ece": lambda *a, **k: -expected_calibration_error(*a, strategy="quantile", **k),
    "neg_mce": lambda *a, **k: -maximum_calibration_error(*a, **k),
    "neg_classwise_ece": lambda *a, **k: -classwise_calibration_error(*a, **k),
    "neg_smooth_ece": lambda *a, **k: -smooth_calibration_error(*a, **k),
    "neg_absolute_confidence_bias": lambda *a, **k: -abs(confidence_bias(*a, **k)),
    "neg_aurc": lambda *a, **k: -area_under_risk_coverage(*a, **k),
    "neg_excess_aurc": lambda *a, **k: -excess_aurc(*a, **k),
    "neg_augrc": lambda *a, **k: -area_under_generalized_risk_coverage(*a, **k),
    "neg_log_loss": lambda *a, **k: -log_loss(*a, **k),
    "neg_brier": lambda *a, **k: -brier_score_loss(*a, scale_by_half=False, **k),
    "error_detection_auroc": error_detection_auroc,
    **{
        f"coverage_at_{round(100 * t)}": lambda *a, t=t, **k: float(
            reliability_coverage_table(*a, [t], **k)["sample_coverage"].fillna(0).iloc[0]
        )
        for t in (0.80, 0.85, 0.90, 0.95, 0.99)
    },
    **{
        f"coverage_at_risk_{r}": lambda *a, r=r, **k: coverage_at_risk(*a, target_risk=r / 100, **k)
        for r in (1, 2, 5)
    },
}
every_name = pytest.mark.parametrize("name", sorted(METRICS))


@pytest.fixture(scope="module")
def data():
    """Four classes with prototypes, two images each, and many to test on."""
    made = make_clip_features(2, 4, random_state=0)
    names = np.array(["ant", "bee", "cat", "dog"])
    return {
        "X": made.X,
        "y": names[made.y],
        "X_test": made.X_test,
        "y_test": names[made.y_test],
        "prototypes": Prototypes(made.prototypes, names),
    }


@pytest.fixture(scope="module")
def fitted(data):
    return ZeroShotClassifier(data["prototypes"]).fit(data["X"], data["y"])


def test_every_scorer_has_its_metric():
    assert get_scorer_names() == sorted(METRICS)


@every_name
@pytest.mark.parametrize("weighted", [False, True])
def test_a_scorer_is_its_metric_of_the_probabilities(name, weighted, fitted, data):
    X, y = data["X_test"], data["y_test"]
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    proba = fitted.predict_proba(X)
    expected = METRICS[name](y, proba, labels=fitted.classes_, sample_weight=weight)
    assert get_scorer(name)(fitted, X, y, sample_weight=weight) == expected


@every_name
def test_a_class_that_the_fold_lacks_keeps_its_column(name, fitted, data):
    kept = data["y_test"] != "bee"
    X, y = data["X_test"][kept], data["y_test"][kept]
    expected = METRICS[name](y, fitted.predict_proba(X), labels=fitted.classes_)
    assert get_scorer(name)(fitted, X, y) == expected


@every_name
def test_a_class_that_the_estimator_lacks_has_probability_zero(name, data):
    """As if the classifier had a column of zeros for it."""
    known = data["y_test"] != "bee"
    probe = LogisticRegression(C=10).fit(data["X_test"][known], data["y_test"][known])
    X, y = data["X_test"], data["y_test"]
    proba = np.insert(probe.predict_proba(X), 1, 0.0, axis=1)
    expected = METRICS[name](y, proba, labels=["ant", "bee", "cat", "dog"])
    score = get_scorer(name)(probe, X, y)
    assert score == expected
    assert np.isfinite(score)


def classifiers():
    """Every public classifier of the package."""
    found = [getattr(skclip, name) for name in skclip.__all__]
    return [cls for cls in found if inspect.isclass(cls) and issubclass(cls, ClassifierMixin)]


def make(cls, prototypes):
    """An instance and a grid; what wraps a classifier wraps one with a random state."""
    known = {
        "estimator": BayesAdapterClassifier(prototypes, prior_precision=100.0),
        "prototypes": prototypes,
        "threshold": 0.5,
        "false_alarm_rate": 0.5,
        "max_iter": 2,
    }
    parameters = inspect.signature(cls).parameters
    estimator = cls(**{name: value for name, value in known.items() if name in parameters})
    scale = "logit_scale" if "logit_scale" in parameters else "estimator__logit_scale"
    return estimator, {scale: [50.0, 100.0]}


def test_the_classifiers_of_the_package_are_found():
    assert {"BayesAdapterClassifier", "ZeroShotClassifier"} <= {c.__name__ for c in classifiers()}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("cls", classifiers(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("cv", [2, KFold(4)], ids=["stratified", "sorted"])
def test_every_classifier_is_searched_with_every_scorer_at_two_shots(cls, cv, data):
    """Without shuffling, a fold of KFold is the whole of a class that was never trained on."""
    order = np.argsort(data["y"], kind="stable")
    estimator, grid = make(cls, data["prototypes"])
    search = GridSearchCV(
        estimator,
        grid,
        scoring={name: get_scorer(name) for name in get_scorer_names()},
        refit="neg_log_loss",
        cv=cv,
        error_score="raise",
    )
    search.fit(data["X"][order], data["y"][order])
    for name in get_scorer_names():
        scores = search.cv_results_[f"mean_test_{name}"]
        assert np.isfinite(scores).all()
        if name.startswith("neg_"):
            assert (scores <= 0).all()
        else:
            assert ((scores >= 0) & (scores <= 1)).all()


@every_name
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_each_scorer_alone_drives_a_search(name, data):
    """Scores are means over the folds of the metric of the fold, and the best is the largest."""
    X, y, scales = data["X"], data["y"], [1.0, 100.0]
    search = GridSearchCV(
        ZeroShotClassifier(data["prototypes"]),
        {"logit_scale": scales},
        scoring=get_scorer(name),
        cv=2,
    ).fit(X, y)
    expected = []
    for scale in scales:
        scores = []
        for train, test in StratifiedKFold(2).split(X, y):
            probe = ZeroShotClassifier(data["prototypes"], logit_scale=scale).fit(
                X[train], y[train]
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedMetricWarning)  # no error: at chance
                score = METRICS[name](y[test], probe.predict_proba(X[test]), labels=probe.classes_)
            scores.append(0.5 if np.isnan(score) else score)
        expected.append(np.mean(scores))
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)
    assert search.best_score_ == max(expected)


def test_folds_that_miss_classes_are_survived_without_prototypes(data):
    """Leaving out each image of one-shot classes: scikit-learn's own log-loss is NaN there."""
    first = np.unique(data["y"], return_index=True)[1]
    X, y = data["X"][first], data["y"][first]
    folds = {"X": X, "y": y, "cv": KFold(4)}
    scoring = {name: get_scorer(name) for name in get_scorer_names()}
    ours = cross_validate(LogisticRegression(), scoring=scoring, error_score="raise", **folds)
    assert all(np.isfinite(ours[f"test_{name}"]).all() for name in scoring)
    # Every sample is of a class that was never seen: wrong, of probability 0.
    for name, score in {"neg_aurc": -1, "neg_excess_aurc": 0, "error_detection_auroc": 0.5}.items():
        np.testing.assert_array_equal(ours[f"test_{name}"], np.full(4, score))
    for name in ("coverage_at_80", "coverage_at_risk_5"):
        np.testing.assert_array_equal(ours[f"test_{name}"], np.zeros(4))
    np.testing.assert_allclose(ours["test_neg_log_loss"], np.log(np.spacing(1.0)), rtol=1e-12)
    with pytest.warns(UserWarning, match="Scoring failed"):
        theirs = cross_validate(LogisticRegression(), scoring="neg_log_loss", **folds)
    assert np.isnan(theirs["test_score"]).all()


def test_perfect_predictions_are_not_disqualified(data):
    """Where there is no error to detect, a NaN would rank the best candidate last."""
    probe = LogisticRegression(C=1e4).fit(data["X"], data["y"])
    assert probe.score(data["X"], data["y"]) == 1
    assert get_scorer("error_detection_auroc")(probe, data["X"], data["y"]) == 0.5


class Counting(ClassifierMixin, BaseEstimator):
    """Counts how often it predicts."""

    def fit(self, X, y):
        self.classes_, self.calls_ = np.unique(y), 0
        return self

    def predict_proba(self, X):
        self.calls_ += 1
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_several_scorers_share_one_prediction(data):
    """A pipeline that starts with images must not encode them once per metric."""
    found = cross_validate(
        Counting(),
        data["X"],
        data["y"],
        scoring={name: get_scorer(name) for name in get_scorer_names()},
        cv=2,
        return_estimator=True,
    )
    assert [estimator.calls_ for estimator in found["estimator"]] == [1, 1]


def test_two_classes_are_both_seen_beside_other_scorers():
    """scikit-learn's scorers leave one of the two columns in the shared cache."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), np.repeat(["no", "yes"], 20)
    alone = cross_validate(LogisticRegression(), X, y, scoring=get_scorer("neg_ece"), cv=4)
    scoring = {"auc": sklearn_scorer("roc_auc"), "ece": get_scorer("neg_ece")}
    beside = cross_validate(LogisticRegression(), X, y, scoring=scoring, cv=4)
    np.testing.assert_array_equal(beside["test_ece"], alone["test_score"])


@every_name
def test_one_class_is_scored(name):
    """Nothing can be wrong; the error detection is at chance."""
    classifier = DummyClassifier().fit(np.zeros((3, 1)), ["a"] * 3)
    score = get_scorer(name)(classifier, np.zeros((2, 1)), ["a", "a"])
    perfect = {"neg": 0, "cov": 1, "err": 0.5}[name[:3]]
    assert score == pytest.approx(perfect, abs=1e-15)


def test_single_precision_is_scored_without_a_warning(fitted, data):
    X = data["X_test"].astype(np.float32)
    proba = fitted.predict_proba(X)
    assert proba.dtype == np.float32
    proba = proba.astype(np.float64)
    proba /= proba.sum(axis=1, keepdims=True)
    for name in get_scorer_names():
        expected = METRICS[name](data["y_test"], proba, labels=fitted.classes_)
        assert get_scorer(name)(fitted, X, data["y_test"]) == expected
    double = get_scorer("neg_log_loss")(fitted, data["X_test"], data["y_test"])
    assert get_scorer("neg_log_loss")(fitted, X, data["y_test"]) == pytest.approx(double, rel=1e-3)


def test_a_scorer_can_be_pickled_and_says_its_name(fitted, data):
    scorer = get_scorer("coverage_at_95")
    again = pickle.loads(pickle.dumps(scorer))
    assert repr(again) == "get_scorer('coverage_at_95')"
    args = (fitted, data["X_test"], data["y_test"])
    assert again(*args) == scorer(*args)


def test_weights_can_be_routed(data):
    """With metadata routing, a scorer asks for sample_weight like scikit-learn's."""
    weight = np.arange(1.0, 1 + len(data["y"]))
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("neg_log_loss").set_score_request(sample_weight=True)
        kwargs = {"X": data["X"], "y": data["y"], "cv": KFold(2), "scoring": scorer}
        estimator = ZeroShotClassifier(data["prototypes"]).set_fit_request(sample_weight=False)
        weighted = cross_validate(estimator, params={"sample_weight": weight}, **kwargs)
    expected = []
    for train, test in KFold(2).split(data["X"]):
        probe = ZeroShotClassifier(data["prototypes"]).fit(data["X"][train], data["y"][train])
        X, y, w = data["X"][test], data["y"][test], weight[test]
        expected.append(
            -log_loss(y, probe.predict_proba(X), labels=probe.classes_, sample_weight=w)
        )
    np.testing.assert_array_equal(weighted["test_score"], expected)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"name must be one of .*, neg_log_loss, .*; got 'ece'"):
        get_scorer("ece")


def test_an_estimator_without_probabilities_is_refused(data):
    machine = LinearSVC().fit(data["X"], data["y"])
    assert is_classifier(machine)
    with pytest.raises(ValueError, match="estimator must have predict_proba; got LinearSVC"):
        get_scorer("neg_ece")(machine, data["X"], data["y"])
