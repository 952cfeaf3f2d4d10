"""SelectiveClassifier: thresholds, labels of abstention, and life within scikit-learn."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclip import (
    BayesAdapterClassifier,
    PredictionSetClassifier,
    Prototypes,
    SelectiveClassifier,
    ZeroShotClassifier,
)
from skclip.datasets import make_clip_features
from skclip.exceptions import DriftWarning, GuaranteeWarning, PrototypeMismatchError
from skclip.metrics import risk_coverage_curve

# Abstentions are -1 by default, which one of the checks has as a class.
COMMON = [
    SelectiveClassifier(LogisticRegression(), threshold=0.0, abstain_label=-99),
    SelectiveClassifier(LogisticRegression(), coverage=1.0, abstain_label=-99, random_state=0),
    SelectiveClassifier(BayesAdapterClassifier(tol=1e-11), threshold=0.0, abstain_label=-99),
]


@parametrize_with_checks(COMMON)
def test_sklearn_common_checks(estimator, check):
    check(estimator)


class Told(ClassifierMixin, BaseEstimator):
    """Two classes; the only feature is the probability of the second."""

    def __init__(self, classes=(0, 1)):
        self.classes = classes

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.asarray(self.classes)
        self.fitted_rows_ = len(X)
        self.fitted_weight_ = sample_weight
        return self

    def predict_proba(self, X):
        second = np.asarray(X, float)[:, 0]
        return np.column_stack([1 - second, second])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def told(classes=(0, 1)):
    return FrozenEstimator(Told(classes).fit(np.zeros((1, 1)), [0]))


def rows(*second):
    return np.array(second)[:, None]


# -- thresholds and predictions ------------------------------------------------------


def test_rows_at_the_threshold_are_accepted():
    selective = SelectiveClassifier(Told(), threshold=0.75).fit(rows(0.1), [0])
    X = rows(0.75, 0.74, 0.25, 0.26, 1.0)
    assert selective.accept(X).tolist() == [True, False, True, False, True]
    assert selective.predict(X).tolist() == [1, -1, 0, -1, 1]


def test_risk_and_coverage_on_four_rows():
    """Accepted: right, wrong, right; rejected: wrong."""
    selective = SelectiveClassifier(Told(), threshold=0.8).fit(rows(0.1), [0])
    X, y = rows(0.9, 0.9, 0.1, 0.4), [1, 0, 0, 1]
    assert selective.selective_score(X, y) == (1 / 3, 0.75, 3, 1)
    assert selective.score(X, y) == 0.5
    weighted = selective.selective_score(X, y, sample_weight=[1, 3, 1, 5])
    assert weighted == (3 / 5, 0.5, 3, 1)
    assert selective.score(X, y, sample_weight=[1, 3, 1, 5]) == 0.2


def test_the_score_is_coverage_times_one_minus_risk():
    rng = np.random.default_rng(0)
    X, y = rng.uniform(size=(50, 1)), rng.integers(2, size=50)
    selective = SelectiveClassifier(Told(), threshold=0.7).fit(X, y)
    risk, coverage, *_ = selective.selective_score(X, y)
    assert selective.score(X, y) == pytest.approx(coverage * (1 - risk))


def test_selective_score_is_a_point_of_the_risk_coverage_curve():
    rng = np.random.default_rng(1)
    X, y = rng.uniform(size=(80, 1)), rng.integers(2, size=80)
    selective = SelectiveClassifier(told(), coverage=0.6).fit(X, y)
    curve = np.transpose(risk_coverage_curve(y, selective.predict_proba(X)))
    risk, coverage, *_ = selective.selective_score(X, y)
    at = np.abs(curve[:, 0] - coverage).argmin()
    assert (coverage, risk) == pytest.approx(tuple(curve[at, :2]))


def test_risk_of_nothing_is_nan():
    selective = SelectiveClassifier(Told(), threshold=1.0).fit(rows(0.1), [0])
    risk, coverage, *counts = selective.selective_score(rows(0.4), [0])
    assert np.isnan(risk)
    assert (coverage, counts) == (0.0, [0, 0])


def test_probabilities_are_those_of_the_estimator():
    data = np.random.default_rng(0).normal(size=(40, 3))
    y = (data[:, 0] > 0).astype(int)
    inner = LogisticRegression().fit(data, y)
    selective = SelectiveClassifier(FrozenEstimator(inner), coverage=0.5).fit(data, y)
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(
            getattr(selective, method)(data), getattr(inner, method)(data)
        )


def test_a_frozen_estimator_is_calibrated_on_all_rows_and_any_other_on_its_share():
    X, y = np.linspace(0, 1, 40)[:, None], np.tile([0, 1], 20)
    assert SelectiveClassifier(told(), coverage=0.5).fit(X, y).n_calibration_ == 40
    split = SelectiveClassifier(Told(), coverage=0.5, calibration_size=0.25).fit(X, y)
    assert (split.n_calibration_, split.estimator_.fitted_rows_) == (10, 30)
    given = SelectiveClassifier(Told(), threshold=0.5).fit(X, y)
    assert (given.n_calibration_, given.estimator_.fitted_rows_) == (0, 40)


def test_a_given_threshold_forgets_an_earlier_calibration():
    X, y = np.linspace(0, 1, 40)[:, None], np.tile([0, 1], 20)
    selective = SelectiveClassifier(told(), coverage=0.5).fit(X, y)
    assert selective.calibration_score_.coverage >= 0.5
    selective.set_params(coverage=None, threshold=0.5).fit(X, y)
    assert not hasattr(selective, "calibration_score_")
    assert not hasattr(selective, "calibration_confidence_")


def test_the_calibration_rows_are_not_fitted_on():
    """Labels at random: a one-nearest-neighbour memory would be certain and right on its rows."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 20)), rng.integers(2, size=400)
    memory = LogisticRegression(C=1e8, max_iter=1000)
    selective = SelectiveClassifier(memory, target_risk=0.2, random_state=0)
    with pytest.warns(GuaranteeWarning):
        selective.fit(X, y)
    assert not selective.accept(X).any()


# -- the guarantee -------------------------------------------------------------------


def test_the_guarantee_holds_on_synthetic_clip_features(task):
    """True risk on 4000 rows, 200 calibration draws: at most delta plus four standard errors."""
    rng = np.random.default_rng(0)
    kappa = rng.beta(4, 1, size=4000) * 0.5 + 0.5
    X = kappa[:, None]
    y = (rng.uniform(size=4000) < kappa).astype(int)  # calibrated: wrong with 1 - kappa
    violations = 0
    for _ in range(200):
        drawn = rng.choice(4000, size=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GuaranteeWarning)
            selective = SelectiveClassifier(told(), target_risk=0.05, confidence_level=0.9)
            selective.fit(X[drawn], y[drawn])
        violations += selective.selective_score(X, y).risk > 0.05  # nan is not
    assert violations / 200 <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 200)


def test_too_few_rows_abstain_on_everything_and_say_how_many_are_needed():
    X, y = rows(*np.linspace(0.9, 1, 58)), np.ones(58, int)
    message = (
        r"No threshold keeps a risk of 0.05 at confidence_level=0.95: every prediction will be an "
        r"abstention. At least 59 calibration rows are needed, all classified rightly; got 58, of "
        r"which 0 wrong. About 60 rows like these would do."
    )
    with pytest.warns(GuaranteeWarning, match=message):
        selective = SelectiveClassifier(told(), target_risk=0.05).fit(X, y)
    assert selective.threshold_ == np.inf
    assert selective.predict(X).tolist() == [-1] * 58
    assert np.isnan(selective.calibration_score_.risk)


def test_where_the_most_confident_are_wrong_more_rows_are_not_advised():
    X = rows(*np.linspace(0.9, 1, 100))
    with pytest.warns(GuaranteeWarning, match="more rows are not likely to help"):
        SelectiveClassifier(told(), target_risk=0.05).fit(X, np.zeros(100, int))


def test_a_class_that_the_estimator_does_not_know_counts_as_wrong():
    X = rows(*np.linspace(0.9, 1, 60))
    with pytest.warns(GuaranteeWarning, match="got none of 0"):
        SelectiveClassifier(told(), target_risk=0.05).fit(X, np.ones(60, int))
    with pytest.warns(GuaranteeWarning, match="No threshold keeps a risk"):
        SelectiveClassifier(told(), target_risk=0.05).fit(X, np.full(60, 2))


def test_coverage_is_kept_on_average_over_calibration_sets():
    """Ten calibration rows, half of them to accept: rank 6 of 11, not 5 of 10."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        kappa = rng.uniform(0.5, 1, size=11)
        selective = SelectiveClassifier(told(), coverage=0.5).fit(rows(*kappa[:10]), [1, 0] * 5)
        covered.append(selective.accept(rows(kappa[10]))[0])
    # 6/11, give or take four standard errors.
    assert np.mean(covered) == pytest.approx(6 / 11, abs=4 * np.sqrt(0.25 / 2000))


def test_calibrating_on_the_rows_of_fit_warns(task):
    classifier = BayesAdapterClassifier(task.text).fit(task.X, task.y)
    selective = SelectiveClassifier(FrozenEstimator(classifier), coverage=0.5)
    with pytest.warns(
        GuaranteeWarning, match="must not have been used to fit the classifier; 100%"
    ):
        selective.fit(task.X, task.y)
    selective.fit(task.X_test, task.y_test)


def test_zero_shot_may_be_calibrated_on_any_rows(task):
    """It learns nothing from the rows of fit."""
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    SelectiveClassifier(FrozenEstimator(zero_shot), coverage=0.5).fit(task.X, task.y)


# -- the label of abstention -----------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "label", "expected", "kind"),
    [
        ((0, 1), "auto", -1, "i"),
        (("cat", "dog"), "auto", "abstain", "U"),
        ((0.0, 1.0), "auto", -1.0, "f"),
        (np.array([0, 1], np.uint8), "auto", -1, "i"),
        ((0, 1), 99, 99, "i"),
        (("cat", "dog"), "ask a human", "ask a human", "U"),
        ((0, 1), "unsure", "unsure", "O"),
        (("cat", "dog"), None, None, "O"),
        (("cat", "dog"), 7, 7, "O"),
        (np.array(["cat", "dog"], object), "auto", "abstain", "O"),
        ((False, True), "unsure", "unsure", "O"),
        ((0, 1), np.nan, np.nan, "f"),
    ],
)
def test_labels_of_every_kind(classes, label, expected, kind):
    """No label may be cut off: "abstain" does not fit into strings of three letters."""
    y = np.asarray(classes)[[0]]
    selective = SelectiveClassifier(Told(classes), threshold=0.9, abstain_label=label)
    predicted = selective.fit(rows(0.1), y).predict(rows(0.05, 0.6))
    assert predicted.dtype.kind == kind
    assert predicted[0] == classes[0]
    np.testing.assert_equal(predicted[1], expected)


@pytest.mark.parametrize(("classes", "label"), [((-1, 1), "auto"), (("abstain", "go"), "auto")])
def test_a_class_is_no_label_of_abstention(classes, label):
    with pytest.raises(ValueError, match="abstain_label must not be a class; got"):
        SelectiveClassifier(Told(classes), threshold=0.5, abstain_label=label).fit(
            rows(0.1), [classes[0]]
        )


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goals", "got"),
    [({}, "none"), ({"threshold": 0.5, "coverage": 0.5}, "threshold and coverage")],
)
def test_exactly_one_goal_must_be_given(goals, got):
    message = f"Exactly one of threshold, target_risk and coverage must be given; got {got}."
    with pytest.raises(ValueError, match=message):
        SelectiveClassifier(Told(), **goals).fit(rows(0.1), [0])


def test_probabilities_are_needed():
    with pytest.raises(ValueError, match="estimator must have predict_proba; got LinearSVC, which"):
        SelectiveClassifier(LinearSVC(), threshold=0.5).fit(rows(0.1, 0.9), [0, 1])
    assert not hasattr(SelectiveClassifier(LinearSVC()), "predict_proba")


# -- within scikit-learn -----------------------------------------------------------------


def test_a_pipeline_may_be_inside_or_outside(task):
    inside = SelectiveClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), coverage=0.5, random_state=0
    )
    outside = make_pipeline(
        StandardScaler(), SelectiveClassifier(LogisticRegression(), coverage=0.5, random_state=0)
    )
    for model in (inside, outside):
        predicted = model.fit(task.X, task.y).predict(task.X_test)
        proba = model.predict_proba(task.X_test)
        threshold = (model if model is inside else model[-1]).threshold_
        most_probable = model.classes_[proba.argmax(axis=1)]
        expected = np.where(proba.max(axis=1) >= threshold, most_probable, -1)
        np.testing.assert_array_equal(predicted, expected)
        assert set(predicted) == {-1, 0, 1, 2, 3}


def test_grid_search_reaches_the_estimator(task):
    search = GridSearchCV(
        SelectiveClassifier(LogisticRegression(), coverage=0.5, random_state=0),
        {"estimator__C": [0.01, 100.0], "coverage": [0.5, 1.0]},
        cv=2,
    ).fit(task.X, task.y)
    assert set(search.best_params_) == {"estimator__C", "coverage"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validation_with_a_target_risk(task):
    selective = SelectiveClassifier(
        BayesAdapterClassifier(task.text), target_risk=0.3, confidence_level=0.8, random_state=0
    )
    X, y = np.r_[task.X, task.X_test], np.r_[task.y, task.y_test]
    assert (cross_val_score(selective, X, y, cv=3) > 0).all()


def test_clone_and_pickle_keep_what_matters(task):
    selective = SelectiveClassifier(
        BayesAdapterClassifier(task.text), coverage=0.5, random_state=0
    ).fit(task.X, task.y)
    again = pickle.loads(pickle.dumps(selective))
    np.testing.assert_array_equal(again.predict(task.X_test), selective.predict(task.X_test))
    assert clone(selective).get_params().keys() == selective.get_params().keys()


def test_sample_weights_go_to_the_estimator_cut_to_its_rows():
    X, y = np.linspace(0, 1, 20)[:, None], np.tile([0, 1], 10)
    weight = np.arange(20.0)
    selective = SelectiveClassifier(Told(), coverage=0.5, calibration_size=5, random_state=0)
    kept = selective.fit(X, y, sample_weight=weight).estimator_.fitted_weight_
    assert len(kept) == 15
    assert set(kept) < set(weight)


def test_metadata_are_routed_to_the_estimator():
    X, y = np.linspace(0, 1, 20)[:, None], np.tile([0, 1], 10)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = Told().set_fit_request(sample_weight=True)
        selective = SelectiveClassifier(inner, threshold=0.5)
        selective.fit(X, y, sample_weight=np.arange(20.0))
    assert selective.estimator_.fitted_weight_[-1] == 19


def test_a_list_of_inputs_need_not_be_an_array():
    """Paths, say, for a pipeline that reads images."""

    class Lengths(Told):
        def predict_proba(self, X):
            return super().predict_proba([[len(path) / 10] for path in X])

    paths = ["a", "abcdefghi", "abcde"] * 4
    selective = SelectiveClassifier(Lengths(), coverage=0.5, random_state=0)
    selective.fit(paths, ["cat", "dog", "dog"] * 4)
    selective = SelectiveClassifier(Lengths(("cat", "dog")), threshold=0.8).fit(paths, ["cat"] * 12)
    assert selective.predict(paths[:3]).tolist() == ["cat", "dog", "abstain"]


# -- drift -------------------------------------------------------------------------------


@pytest.fixture
def calibrated():
    rng = np.random.default_rng(0)
    X = rng.uniform(0.5, 1, size=(400, 1))
    return SelectiveClassifier(told(), coverage=0.8).fit(X, np.ones(400, int))


def test_rows_of_the_same_kind_show_no_drift(calibrated):
    """False alarms at the rate that was asked for, give or take four standard errors."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            X = rng.uniform(0.5, 1, size=(400, 1))
            fresh = SelectiveClassifier(told(), coverage=0.8).fit(X, np.ones(400, int))
            fresh.check_drift(rng.uniform(0.5, 1, size=(200, 1)), significance=0.05)
            alarms += bool(caught)
    assert alarms / 300 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 300)


def test_less_sure_rows_warn_and_say_how_many_are_accepted(calibrated):
    X = np.random.default_rng(1).uniform(0.5, 0.65, size=(200, 1))
    with pytest.warns(DriftWarning, match="The confidences of these rows are not distributed like"):
        drift = calibrated.check_drift(X)
    assert drift.p_value < 1e-6
    assert drift.coverage == calibrated.accept(X).mean() < drift.calibration_coverage == 0.8025
    assert 0.2 < drift.coverage < 0.45  # .6 to .65 of .5 to .65


def test_drift_needs_a_fit():
    with pytest.raises(NotFittedError):
        SelectiveClassifier(Told(), coverage=0.5).check_drift(rows(0.1))


def test_a_given_threshold_has_nothing_to_compare_with():
    selective = SelectiveClassifier(Told(), threshold=0.5).fit(rows(0.1), [0])
    with pytest.raises(ValueError, match="check_drift compares with calibration rows that are not"):
        selective.check_drift(rows(0.1))


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["ant", "bee", "cow", "dog"], lambda y: np.char.capitalize(y)),
        (["big_ant", "bee", "cow", "dog"], lambda y: np.char.replace(y, "_", " ")),
        (["ant", "bee", "cow", "dog"], lambda y: np.searchsorted(["ant", "bee", "cow", "dog"], y)),
        (["0", "1", "2", "3"], lambda y: y.astype(int)),
        ([0, 1, 2, 3], lambda y: y.astype(str)),
    ],
)
def test_labels_in_another_spelling_or_type_are_not_taken_for_errors(names, written):
    """Every prediction would be wrong, and a risk of 1 would be reported."""
    data = make_clip_features(4, 6, random_state=0)
    y = np.asarray(names)[data.y % 4]
    classifier = BayesAdapterClassifier(prior_precision=1.0, temperature=1.0).fit(data.X, y)
    selective = SelectiveClassifier(FrozenEstimator(classifier), coverage=0.9)
    rows, truth = data.X_test, np.asarray(names)[data.y_test % 4]
    message = "Labels must be written as the classes that are predicted, in type and spelling; got"
    with pytest.raises(ValueError, match=message):
        selective.fit(rows, written(truth))
    selective.fit(rows, truth)
    for judge in (selective.score, selective.selective_score):
        with pytest.raises(ValueError, match=message):
            judge(rows, written(truth))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_label_is_no_error_of_the_classifier(missing):
    data = make_clip_features(4, 6, random_state=0)
    classifier = BayesAdapterClassifier(prior_precision=1.0, temperature=1.0).fit(data.X, data.y)
    selective = SelectiveClassifier(FrozenEstimator(classifier), threshold=0.5)
    y = np.array(data.y_test, dtype=object)
    y[3] = missing
    with pytest.raises(ValueError, match=r"y must have no missing values; got .* position\(s\) 3"):
        selective.fit(data.X_test, y)
    with pytest.raises(ValueError, match=r"y must have no missing values"):
        selective.fit(data.X_test, data.y_test).score(data.X_test, y)


def test_a_label_of_no_class_that_is_minus_a_class_is_wrong_not_misspelled():
    """-1 marks rows of no class, as scikit-learn has it, and class 1 is another number."""
    X, y = rows(0.9, 0.8), np.ones(2, int)
    selective = SelectiveClassifier(Told(), threshold=0.5).fit(X, y)
    assert selective.selective_score(X, -y).n_wrong == 2


def test_a_selection_score_decides_what_is_accepted():
    """The margin, and a function of one's own, whose numbers may be negative."""
    data = make_clip_features(8, 5, n_test_per_class=100, random_state=0)
    classifier = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    X, y = data.X_test[::2], data.y_test[::2]
    proba = np.sort(classifier.predict_proba(X), axis=1)
    scores = {
        "margin": np.log(proba[:, -1]) - np.log(proba[:, -2]),
        "own": np.log(proba[:, -1]) - 5,
    }
    for name, score in scores.items():
        given = name if name == "margin" else _less_five
        selective = SelectiveClassifier(
            FrozenEstimator(classifier), target_risk=0.02, selection_score=given
        ).fit(X, y)
        np.testing.assert_array_equal(selective.accept(X), score >= selective.threshold_)
        assert selective.accept(X).mean() > 0.3
        everything = SelectiveClassifier(
            FrozenEstimator(classifier), coverage=1.0, selection_score=given
        ).fit(X, y)
        assert everything.accept(data.X_test).all()


def _less_five(estimator, X):
    return np.log(estimator.predict_proba(X).max(axis=1)) - 5


def test_a_selection_score_that_is_not_one_number_per_row_is_refused():
    data = make_clip_features(4, 5, random_state=0)
    selective = SelectiveClassifier(
        BayesAdapterClassifier(Prototypes(data.prototypes, np.arange(5))),
        coverage=0.5,
        selection_score=lambda estimator, X: estimator.predict_proba(X),
        random_state=0,
    )
    with pytest.raises(ValueError, match="selection_score must return 10 numbers, one for each"):
        selective.fit(data.X, data.y)


# -- without spare rows -------------------------------------------------------------


@pytest.fixture(scope="module")
def support():
    return make_clip_features(16, 20, n_test_per_class=100, random_state=0)


@pytest.mark.parametrize("goal", [{"target_risk": 0.05}, {"coverage": 0.8}])
def test_left_out_rows_calibrate(goal, support):
    """The threshold is that of calibration rows with the left-out probabilities."""
    classifier = BayesAdapterClassifier(support.prototypes)
    selective = SelectiveClassifier(classifier, calibration="left_out", **goal)
    selective.fit(support.X, support.y)
    sets = PredictionSetClassifier(classifier).fit(support.X, support.y)
    rows = np.exp(sets.support_log_proba_)
    known = SelectiveClassifier(
        FrozenEstimator(Told(range(20)).fit(rows, None)), **goal, selection_score="confidence"
    )
    known.estimator.estimator.predict_proba = lambda X: np.asarray(X)
    assert selective.threshold_ == pytest.approx(known.fit(rows, support.y).threshold_)
    assert selective.n_calibration_ == len(support.y)
    assert selective.calibration_score_.n_wrong == known.calibration_score_.n_wrong
    assert (selective.is_guaranteed_, known.is_guaranteed_) == (False, True)


def test_other_classifiers_are_fitted_again(support):
    """One fold is judged by the fit to the others; the last model is that of all rows."""
    selective = SelectiveClassifier(
        LogisticRegression(C=100), target_risk=0.1, calibration="left_out"
    ).fit(support.X, support.y)
    sets = PredictionSetClassifier(LogisticRegression(C=100)).fit(support.X, support.y)
    confidence = np.exp(sets.support_log_proba_).max(axis=1)
    np.testing.assert_allclose(selective.calibration_confidence_, np.sort(confidence))
    whole = LogisticRegression(C=100).fit(support.X, support.y)
    np.testing.assert_allclose(selective.predict_proba(support.X), whole.predict_proba(support.X))


def test_left_out_calibration_is_not_fooled_by_rows_that_were_learnt():
    """Ten tasks: missed twice at most (at 5 %, more in 1 % of the cases), by fitted rows always."""
    kept, naive, accepted = [], [], []
    for seed in range(10):
        data = make_clip_features(8, 40, n_test_per_class=50, random_state=seed)
        classifier = BayesAdapterClassifier(data.prototypes)
        selective = SelectiveClassifier(classifier, target_risk=0.05, calibration="left_out")
        risk, coverage, *_ = selective.fit(data.X, data.y).selective_score(data.X_test, data.y_test)
        kept.append(not risk > 0.05)
        accepted.append(coverage)
        frozen = FrozenEstimator(classifier.fit(data.X, data.y))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GuaranteeWarning)
            seen = SelectiveClassifier(frozen, target_risk=0.05).fit(data.X, data.y)
        naive.append(not seen.selective_score(data.X_test, data.y_test).risk > 0.05)
    assert np.mean(kept) >= 0.8
    assert np.mean(accepted) > 0.3
    assert np.mean(naive) == 0


def test_views_of_an_image_calibrate_once(support):
    X, y = np.repeat(support.X, 2, axis=0), np.repeat(support.y, 2)
    selective = SelectiveClassifier(
        BayesAdapterClassifier(support.prototypes), target_risk=0.05, calibration="left_out"
    )
    selective.fit(X, y, groups=np.repeat(np.arange(len(support.y)), 2))
    assert selective.n_calibration_ == len(support.y)


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ({"estimator": told()}, {}),
        ({"selection_score": lambda estimator, X: np.zeros(len(X))}, {}),
        ({}, {"sample_weight": np.ones(320)}),
    ],
)
def test_what_cannot_be_left_out_is_refused(change, given, support):
    parameters = {"estimator": BayesAdapterClassifier(support.prototypes), **change}
    selective = SelectiveClassifier(**parameters, target_risk=0.05, calibration="left_out")
    with pytest.raises(ValueError, match="calibration='left_out' needs an estimator that is not"):
        selective.fit(support.X, support.y, **given)


def test_left_out_confidences_are_no_measure_of_drift(support):
    """They are those of models with an image less."""
    selective = SelectiveClassifier(
        BayesAdapterClassifier(support.prototypes), coverage=0.9, calibration="left_out"
    ).fit(support.X, support.y)
    with pytest.raises(ValueError, match="check_drift compares with calibration rows that are not"):
        selective.check_drift(support.X_test)


def test_classes_that_calibration_has_taken_are_named():
    """The rows that are counted are not those that the user has passed."""
    data = make_clip_features(2, 5, random_state=0)
    options = {"coverage": 0.5, "calibration_size": 7, "random_state": 0}
    labelled = ZeroShotClassifier(Prototypes(data.prototypes, range(5)))
    SelectiveClassifier(labelled, **options).fit(data.X, data.y)
    with pytest.raises(PrototypeMismatchError, match=r"held out for calibration\. Pass more rows"):
        SelectiveClassifier(ZeroShotClassifier(data.prototypes), **options).fit(data.X, data.y)
