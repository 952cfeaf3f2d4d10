"""Sets from the support alone: the counts by hand and by refits, the guarantee by simulation."""

import warnings

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

import skclip
from skclip import (
    BayesAdapterClassifier,
    GaussianDAClassifier,
    PredictionSetClassifier,
    ProKeRClassifier,
    Prototypes,
    ZeroShotClassifier,
)
from skclip.datasets import make_clip_features
from skclip.decisions.conformity_scores import SCORES
from skclip.exceptions import GuaranteeWarning

every_score = pytest.mark.parametrize("score", list(SCORES))


@pytest.fixture(scope="module")
def data():
    made = make_clip_features(4, 10, n_test_per_class=30, random_state=0)
    order = np.argsort(made.y, kind="stable")  # neighbours can be views of one image
    made.X, made.y = made.X[order], made.y[order]
    return made


def coverage(members, y):
    return members[np.arange(len(y)), y].mean()


@every_score
def test_refits_count_as_the_definition_does(score, data):
    """One fit per image, one comparison at a time."""
    X, y = data.X[:20], data.y[:20]
    sets = PredictionSetClassifier(GaussianNB(), 0.8, conformity_score=score).fit(X, y)
    assert (sets.method_, sets.n_support_) == ("refit", 20)
    new, f = data.X_test[:15], SCORES[score]
    count = np.zeros((15, len(sets.classes_)))
    for i in range(20):
        model = GaussianNB().fit(np.delete(X, i, 0), np.delete(y, i))
        with np.errstate(divide="ignore"):
            own = f(np.log(model.predict_proba(X[i : i + 1])))[0, y[i]]
            count += own >= f(np.log(model.predict_proba(new))) - 1e-12
        assert sets.support_scores_[i] == pytest.approx(own)
    np.testing.assert_array_equal(sets.predict_set(new), count + 0.5 > 0.2 * 21)
    assert sets.guaranteed_coverage_ == pytest.approx(1 - 0.4 - 1 / 21)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("views", [1, 2])
@every_score
@pytest.mark.parametrize("make", [BayesAdapterClassifier, GaussianDAClassifier, ProKeRClassifier])
def test_steps_count_as_their_definition_does(make, score, views, by_class, data):
    """Sorting, sparse pairs and blocks give what every model gives, asked for every label."""
    images = np.arange(40) // views
    groups = images if views > 1 else None
    sets = PredictionSetClassifier(make(data.prototypes), conformity_score=score)
    sets.fit(data.X, data.y, groups=groups)
    assert sets.method_ == "step"
    assert np.isnan(sets.guaranteed_coverage_)
    models, f = sets._left_out_scores().left_out, SCORES[score]
    blocks = models.every_logits(sets.estimator_, data.X_test[:60], 40 // views, numbers=1000)
    every = np.concatenate([block.numpy().copy() for block in blocks]).astype(float)
    own_logits = models.own_logits(sets.estimator_, data.X, images)
    most, least = np.zeros((60, 10)), np.zeros((60, 10))
    for i in range(40):
        own = f(log_softmax(own_logits[i : i + 1], 1))[0, data.y[i]]
        gap = own - f(log_softmax(every[:, images[i]], 1))
        if by_class:
            gap[:, np.arange(10) != data.y[i]] = -np.inf
        # Logits of up to 100 in single precision: scores this close may count either way.
        most += (gap >= -2e-5) / views
        least += (gap >= 2e-5) / views
    found = sets._left_out_scores().count(data.X_test[:60], by_class)
    assert (least - 1e-5 <= found).all()
    assert (found <= most + 1e-5).all()
    assert np.median(most - least) == 0


GIVEN = [
    lambda text: GaussianDAClassifier(text, alpha=0.05),
    lambda text: ProKeRClassifier(text, beta=1.0, ridge=0.1, temperature=1.0),
]


@pytest.mark.parametrize("make", GIVEN)
@pytest.mark.parametrize("score", ["margin", "lac"])
def test_steps_in_closed_form_are_the_jackknife_plus(make, score, data):
    """With numbers for parameters every set is that of refits, and its theorem is proved."""
    step = PredictionSetClassifier(make(data.prototypes), conformity_score=score)
    refit = PredictionSetClassifier(
        make(data.prototypes), conformity_score=score, method="refit", cv=40
    )
    step, refit = (sets.fit(data.X, data.y) for sets in (step, refit))
    assert (step.method_, refit.method_) == ("step", "refit")
    np.testing.assert_allclose(step.support_scores_, refit.support_scores_, atol=1e-4)
    a, b = (sets.predict_set(data.X_test) for sets in (step, refit))
    assert np.mean(a != b) <= 1 / a.size  # one tie in single precision
    assert step.is_exact_
    assert step.guaranteed_coverage_ == refit.guaranteed_coverage_ == pytest.approx(0.8 - 1 / 41)


def full_by_refits(make, score, X, y, rows, n_classes):
    """(m, c) images that are at least as strange as the row: a fit per image, label and row."""
    count = np.zeros((len(rows), n_classes, n_classes))
    for r, label in np.ndindex(len(rows), n_classes):
        more, labels = np.vstack([X, rows[r : r + 1]]), np.append(y, label)
        strange = []
        for j in range(len(labels)):
            model = make().fit(np.delete(more, j, 0), np.delete(labels, j))
            own = SCORES[score](model.predict_log_proba(more[j : j + 1]))
            strange.append(own[0, labels[j]])
        conforms = np.array(strange[:-1]) >= strange[-1] - 1e-6
        count[r, label] = np.bincount(y, conforms, n_classes)
    return count


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("score", ["margin", "lac"])
def test_full_conformal_sets_are_those_of_all_refits(score, with_text):
    """At a temperature at which no probability is 1 in single precision."""
    data = make_clip_features(3, 4, n_test_per_class=3, random_state=0)
    X, rows = data.X.astype(float), data.X_test.astype(float)
    text = Prototypes(data.prototypes, np.arange(4)) if with_text else None

    def make():
        return ProKeRClassifier(text, beta=1.0, ridge=0.1, temperature=20.0, residual_weight=0.5)

    sets = PredictionSetClassifier(make(), 0.8, conformity_score=score, method="full")
    sets.fit(X, data.y)
    truth = full_by_refits(make, score, X, data.y, rows, 4)
    counts = sets._left_out_scores()
    np.testing.assert_array_equal(counts.count(rows, by_class=False), truth.sum(axis=2))
    np.testing.assert_array_equal(counts.count(rows, by_class=True), truth[:, range(4), range(4)])
    expected = truth.sum(axis=2) + 1 > 0.2 * 13
    np.testing.assert_array_equal(sets.predict_set(rows), expected)
    assert (sets.method_, sets.guaranteed_coverage_) == ("full", 0.8)
    assert 0 < expected.mean() < 1


def test_full_conformal_sets_cover_as_promised_by_simulation():
    """Labels that features tell half of the time; four standard errors. Sets are no larger than
    they must be: coverage is at most 1 / (n + 1) more, without ties."""
    rng, hits = np.random.default_rng(0), []
    classifier = ProKeRClassifier(beta=0.5, ridge=1.0, temperature=5.0, residual_weight=1.0)
    for _ in range(300):
        y = rng.integers(2, size=24)
        X = rng.normal(size=(24, 3)) + y[:, None]
        sets = PredictionSetClassifier(classifier, 0.8, conformity_score="lac", method="full")
        if np.bincount(y[:19], minlength=2).min() < 2:
            continue
        members = sets.fit(X[:19], y[:19]).predict_set(X[19:])
        hits.append(coverage(members, y[19:]))
    error = np.std(hits) / np.sqrt(len(hits))
    assert 0.8 - 4 * error <= np.mean(hits) <= 0.8 + 1 / 20 + 4 * error


def test_full_conformal_sets_need_as_many_images_as_they_say(data):
    text = Prototypes(data.prototypes, np.arange(10))
    sets = PredictionSetClassifier(ProKeRClassifier(text), method="full")
    with pytest.warns(GuaranteeWarning, match="at least 9 images .* got 8"):
        assert sets.fit(data.X[::5], data.y[::5]).predict_set(data.X_test).all()
    assert np.isnan(sets.guaranteed_coverage_)  # beta, ridge and temperature were chosen
    nine = np.append(np.arange(0, 40, 5), 1)
    assert not sets.fit(data.X[nine], data.y[nine]).predict_set(data.X_test).all()


@pytest.mark.parametrize("method", ["step", "full"])
def test_sets_are_saved_and_loaded(method, data, tmp_path):
    sets = PredictionSetClassifier(ProKeRClassifier(data.prototypes), method=method)
    before = sets.fit(data.X, data.y).predict_set(data.X_test)
    skclip.save(sets, tmp_path / "sets.skclip")
    after = skclip.load(tmp_path / "sets.skclip").predict_set(data.X_test)
    np.testing.assert_array_equal(before, after)


def test_a_frozen_classifier_has_not_learned_from_the_rows(data):
    """Nothing is taken from it: its scores of the support are its own."""
    frozen = FrozenEstimator(BayesAdapterClassifier(data.prototypes).fit(data.X, data.y))
    rows, labels = data.X_test[::3], data.y_test[::3]
    sets = PredictionSetClassifier(frozen).fit(rows, labels)
    assert sets.method_ == "refit"
    np.testing.assert_allclose(
        sets.support_log_proba_, frozen.predict_log_proba(rows), rtol=1e-5, atol=1e-5
    )


def test_a_step_and_refits_give_nearly_the_same_sets(data):
    step = PredictionSetClassifier(BayesAdapterClassifier(data.prototypes)).fit(data.X, data.y)
    refit = PredictionSetClassifier(
        BayesAdapterClassifier(data.prototypes), method="refit", cv=40
    ).fit(data.X, data.y)
    a, b = (sets.predict_set(data.X_test) for sets in (step, refit))
    assert np.mean(a != b) < 0.02
    assert refit.guaranteed_coverage_ == pytest.approx(0.8 - 1 / 41)


@every_score
def test_the_coverage_is_what_was_asked_for(score):
    """Averaged over supports; the classifier is right about as often as the level is."""
    found, right = [], []
    for seed in range(8):
        data = make_clip_features(4, 10, n_test_per_class=50, random_state=seed)
        sets = PredictionSetClassifier(
            BayesAdapterClassifier(data.prototypes), conformity_score=score
        )
        found.append(coverage(sets.fit(data.X, data.y).predict_set(data.X_test), data.y_test))
        right.append(sets.score(data.X_test, data.y_test))
    error = np.std(found) / np.sqrt(8)
    assert np.mean(found) > 0.9 - 3 * error
    if score != "lac":
        assert np.mean(found) >= np.mean(right)


def test_thresholds_from_the_fitted_rows_do_not_cover():
    """The naive rule, of who calibrates on the rows that were fitted: its failure is the reason
    for all of this."""
    naive, honest = [], []
    for seed in range(8):
        data = make_clip_features(4, 10, n_test_per_class=50, random_state=seed)
        classifier = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
        scores = 1 - classifier.predict_proba(data.X)[np.arange(40), data.y]
        threshold = np.sort(scores)[int(np.ceil(41 * 0.9)) - 1]
        naive.append(coverage(1 - classifier.predict_proba(data.X_test) <= threshold, data.y_test))
        sets = PredictionSetClassifier(classifier, conformity_score="lac").fit(data.X, data.y)
        honest.append(coverage(sets.predict_set(data.X_test), data.y_test))
    assert np.mean(naive) < 0.85
    assert np.mean(honest) > np.mean(naive) + 0.03


@pytest.mark.parametrize("score", ["margin", "aps", "raps"])
def test_the_predicted_label_is_in_every_set(score, data):
    sets = PredictionSetClassifier(BayesAdapterClassifier(data.prototypes), conformity_score=score)
    members = sets.fit(data.X, data.y).predict_set(data.X_test)
    assert members[np.arange(len(members)), sets.predict(data.X_test)].all()
    np.testing.assert_array_equal(
        sets.predict_proba(data.X_test), sets.estimator_.predict_proba(data.X_test)
    )


def test_the_guarantee_holds_by_simulation_for_a_classifier_that_knows_nothing():
    """Neighbours of noise: labels that no feature tells. Four standard errors."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(150):
        X, y = rng.normal(size=(25, 3)), rng.integers(2, size=25)
        sets = PredictionSetClassifier(KNeighborsClassifier(3), 0.8, conformity_score="lac").fit(
            X[:-5], y[:-5]
        )
        members = sets.predict_set(X[-5:])
        codes = np.searchsorted(sets.classes_, y[-5:])
        hits.append(np.mean(members[np.arange(5), codes]))
    error = np.std(hits) / np.sqrt(150)
    assert np.mean(hits) >= sets.guaranteed_coverage_ - 4 * error
    assert np.mean(hits) >= 0.8 - 4 * error - 1 / 42  # in practice, half an image below


def test_every_class_is_covered_where_it_has_images_enough():
    """A class that the classifier is bad at: on average covered, by itself only if asked for."""
    rng = np.random.default_rng(0)

    def draw(n):
        y = np.repeat([0, 1, 2], [n, n, n])
        centre = np.array([[0.0, 0.0], [4.0, 0.0], [0.8, 0.0]])[y]
        return centre + rng.normal(size=(3 * n, 2)) * np.array([[0.4], [0.4], [1.5]])[y], y

    X, y = draw(30)
    X_test, y_test = draw(400)
    worst = {}
    for conditional in (False, True):
        sets = PredictionSetClassifier(
            LogisticRegression(), 0.9, conformity_score="lac", class_conditional=conditional
        )
        members = sets.fit(X, y).predict_set(X_test)
        worst[conditional] = min(
            coverage(members[y_test == k], y_test[y_test == k]) for k in range(3)
        )
    assert worst[True] > worst[False]
    assert worst[True] > 0.8


def test_small_classes_are_compared_with_all_images_and_said(data):
    sets = PredictionSetClassifier(BayesAdapterClassifier(data.prototypes), class_conditional=True)
    with pytest.warns(GuaranteeWarning, match="class_conditional needs 9 images of a class"):
        conditional = sets.fit(data.X, data.y).predict_set(data.X_test)
    marginal = PredictionSetClassifier(sets.estimator).fit(data.X, data.y)
    np.testing.assert_array_equal(conditional, marginal.predict_set(data.X_test))


def test_too_few_images_hold_every_label():
    data = make_clip_features(1, 3, random_state=0)
    sets = PredictionSetClassifier(ZeroShotClassifier(data.prototypes), 0.9)
    with pytest.warns(GuaranteeWarning, match="at least 4 images .* got 3"):
        sets.fit(data.X, data.y)
    assert sets.predict_set(data.X_test).all()


@pytest.mark.parametrize("make", [BayesAdapterClassifier, GaussianDAClassifier, ZeroShotClassifier])
def test_one_image_per_class_is_possible_with_text(make):
    """A bare array of prototypes has a row for the class that is left out."""
    data = make_clip_features(1, 10, random_state=0)
    sets = PredictionSetClassifier(make(data.prototypes)).fit(data.X, data.y)
    members = sets.predict_set(data.X_test)
    assert coverage(members, data.y_test) > 0.8


def test_a_class_that_a_fold_lacks_conforms_nowhere(data):
    """Without text, one image per class: the model without it gives its label probability 0."""
    X, y = data.X[::4], data.y[::4]
    sets = PredictionSetClassifier(GaussianNB(var_smoothing=0.1)).fit(X, y)
    assert np.isinf(sets.support_scores_).all()
    assert sets.predict_set(data.X_test).all()


def test_pipelines_and_text_labels(data):
    names = np.array([f"class {k}" for k in range(10)])
    pipeline = make_pipeline(Normalizer(), BayesAdapterClassifier(data.prototypes))
    sets = PredictionSetClassifier(pipeline).fit(data.X, names[data.y])
    alone = PredictionSetClassifier(pipeline[-1]).fit(data.X, names[data.y])
    assert sets.method_ == alone.method_ == "step"
    assert np.mean(sets.predict_set(data.X_test) != alone.predict_set(data.X_test)) < 1e-3
    assert set(sets.predict(data.X_test)) <= set(names)


def test_what_cannot_be_is_refused(data):
    X, y = data.X, data.y
    with pytest.raises(ValueError, match="method='step' needs an adapter whose left-out models"):
        PredictionSetClassifier(GaussianNB(), method="step").fit(X, y)
    with pytest.raises(ValueError, match="method='full' needs ProKeR.*; got GaussianNB"):
        PredictionSetClassifier(GaussianNB(), method="full").fit(X, y)
    with pytest.raises(ValueError, match="got ProKeRClassifier of 40 rows, 'aps' and no groups"):
        PredictionSetClassifier(ProKeRClassifier(), method="full", conformity_score="aps").fit(X, y)
    with pytest.raises(ValueError, match="got ProKeRClassifier of 40 rows, 'margin' and groups"):
        PredictionSetClassifier(ProKeRClassifier(), method="full").fit(X, y, groups=np.arange(40))
    with pytest.raises(ValueError, match="cv must be at most the number of images; got 41 and 40"):
        PredictionSetClassifier(GaussianNB(), cv=41).fit(X, y)
    with pytest.raises(ValueError, match="estimator must have predict_proba"):
        PredictionSetClassifier(Normalizer()).fit(X, y)
    with pytest.raises(ValueError, match="All rows of a group must have one label"):
        PredictionSetClassifier(GaussianNB()).fit(X, y, groups=np.zeros(40))


def test_nothing_warns_in_an_ordinary_fit(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PredictionSetClassifier(BayesAdapterClassifier(data.prototypes)).fit(data.X, data.y)
        PredictionSetClassifier(GaussianDAClassifier(data.prototypes)).fit(data.X, data.y)
