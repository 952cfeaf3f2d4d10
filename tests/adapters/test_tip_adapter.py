"""Tip-Adapter is the published formula; alpha and beta come from left-out images."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import scale

from skclip import Prototypes, TipAdapterClassifier, ZeroShotClassifier
from skclip._core.methods.tip_adapter import TipAdapterModel
from skclip.datasets import make_clip_features

from .conftest import make_task
from .test_groups import views_of


@pytest.mark.parametrize("weighted", [False, True])
def test_probabilities_are_the_published_formula(task, weighted):
    weight = np.linspace(0.5, 2.0, len(task.X)) if weighted else np.ones(len(task.X))
    tip = TipAdapterClassifier(task.text, alpha=2.0, beta=5.5)
    tip.fit(task.X, task.y, sample_weight=weight if weighted else None)
    values = weight[:, None] * np.eye(4)[task.y]
    cache = np.exp(-5.5 * (1.0 - task.X_test @ task.X.T)) @ values
    expected = softmax(100.0 * task.X_test @ task.text.T + 2.0 * cache, axis=1)
    np.testing.assert_allclose(tip.predict_proba(task.X_test), expected, rtol=1e-9)


def test_without_a_cache_it_is_zero_shot(task):
    tip = TipAdapterClassifier(task.text, alpha=0.0).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_array_equal(
        tip.predict_proba(task.X_test), zero_shot.predict_proba(task.X_test)
    )
    # All values of beta are equally good, so it is the published one.
    assert tip.beta_ == 5.5


def test_without_sharpness_the_cache_counts_images(task):
    """Every key votes alike: class frequencies."""
    keep = (task.y < 2) | (np.arange(len(task.y)) < 12)
    tip = TipAdapterClassifier(task.text, alpha=1.0, beta=0.0).fit(task.X[keep], task.y[keep])
    scores = 100.0 * task.X_test @ task.text.T + np.bincount(task.y[keep])
    np.testing.assert_allclose(tip.predict_proba(task.X_test), softmax(scores, axis=1))


def test_no_epoch_of_training_leaves_the_cache(task):
    tip = TipAdapterClassifier(task.text).fit(task.X, task.y)
    tuned = TipAdapterClassifier(task.text, fine_tune=True, max_iter=0).fit(task.X, task.y)
    np.testing.assert_array_equal(tuned.predict_proba(task.X_test), tip.predict_proba(task.X_test))
    assert tuned.n_iter_ == 0


def test_training_moves_the_keys_and_not_alpha_and_beta():
    data = make_clip_features(8, 10, random_state=0)
    tip = TipAdapterClassifier(data.prototypes).fit(data.X, data.y)
    tuned = TipAdapterClassifier(data.prototypes, fine_tune=True, random_state=0)
    tuned.fit(data.X, data.y)
    assert (tuned.alpha_, tuned.beta_, tuned.n_iter_) == (tip.alpha_, tip.beta_, 20)

    def log_likelihood(classifier):
        return classifier.predict_log_proba(data.X)[np.arange(len(data.y)), data.y].mean()

    assert log_likelihood(tuned) > log_likelihood(tip)
    # AdamW moves no entry by more than the sum of its rates, half of 20 x 0.001, and a bit
    # for the weight decay and the ratio of its moments.
    moved = np.abs(tuned.keys_ - tip.keys_).max()
    assert 0 < moved < 0.02


def test_one_image_per_class_takes_the_published_values(task):
    tip = TipAdapterClassifier(task.text).fit(task.X[:4], task.y[:4])
    assert (tip.alpha_, tip.beta_) == (1.0, 5.5)
    assert not hasattr(tip, "loo_results_")


def test_the_published_alpha_is_one_hundredth_of_the_logit_scale(task):
    """Halving all logits halves those of the cache."""
    tip = TipAdapterClassifier(task.text, logit_scale=50.0).fit(task.X[:4], task.y[:4])
    assert tip.alpha_ == 0.5


def test_an_image_alone_in_its_class_has_no_say(task):
    """Its class would have nothing left to recognise it by."""
    keep = np.r_[np.flatnonzero(task.y != 3), np.flatnonzero(task.y == 3)[:1]]
    names = Prototypes(task.text, range(4))
    with_lone = TipAdapterClassifier(names).fit(task.X[keep], task.y[keep])
    moved = task.X[keep].copy()
    # Opposite to all others: the worst image there is.
    moved[-1] = -task.X.mean(axis=0) / np.linalg.norm(task.X.mean(axis=0))
    with_outlier = TipAdapterClassifier(names).fit(moved, task.y[keep])
    assert (with_lone.alpha_, with_lone.beta_) == (with_outlier.alpha_, with_outlier.beta_)


def test_the_chosen_pair_has_the_largest_log_posterior(task):
    tip = TipAdapterClassifier(task.text).fit(task.X, task.y)
    best = tip.loo_results_["log_posterior"].argmax()
    assert len(tip.loo_results_["alpha"]) == 17 * 7
    assert tip.loo_results_["alpha"][best] == tip.alpha_
    assert tip.loo_results_["beta"][best] == tip.beta_


def test_a_given_value_stays_while_the_other_is_chosen(task):
    tip = TipAdapterClassifier(task.text, beta=3.0).fit(task.X, task.y)
    assert tip.beta_ == 3.0
    assert set(tip.loo_results_["beta"]) == {3.0}
    tip = TipAdapterClassifier(task.text, alpha=0.7).fit(task.X, task.y)
    assert tip.alpha_ == 0.7
    assert len(set(tip.loo_results_["beta"])) == 7


def test_a_useless_text_is_outvoted():
    good, useless = (
        make_clip_features(8, 20, prior_quality=quality, random_state=0) for quality in (0.8, 0.0)
    )
    alphas = [
        TipAdapterClassifier(data.prototypes).fit(data.X, data.y).alpha_ for data in (good, useless)
    ]
    assert alphas[0] < alphas[1]


def test_leave_one_out_is_near_the_log_likelihood_of_new_rows():
    """Within four standard deviations of the mean over the support rows."""
    data = make_clip_features(8, 20, n_test_per_class=100, random_state=0)
    tip = TipAdapterClassifier(data.prototypes, alpha=5.0).fit(data.X, data.y)
    new = tip.predict_log_proba(data.X_test)[np.arange(len(data.y_test)), data.y_test]
    deviation = new.std() / np.sqrt(len(data.X))
    assert tip.loo_log_likelihood_ == pytest.approx(new.mean(), abs=4 * deviation)


@pytest.mark.parametrize("weighted", [False, True])
def test_copies_of_an_image_in_a_group_are_the_image_itself(task, weighted):
    """An image counts once, by its weights or without any."""
    X, y, groups, weight = views_of(task, 3, noise=0.0)
    views = TipAdapterClassifier(task.text)
    views.fit(X, y, sample_weight=weight if weighted else None, groups=groups)
    images = TipAdapterClassifier(task.text).fit(task.X, task.y)
    assert len(views.keys_) == len(task.X)
    assert (views.alpha_, views.beta_) == (images.alpha_, images.beta_)
    np.testing.assert_allclose(
        views.predict_proba(task.X_test), images.predict_proba(task.X_test), rtol=1e-9
    )


def test_ignoring_groups_makes_the_affinities_too_sharp():
    """A view left out alone is recognised by its siblings."""
    task = make_task(n_classes=6, n_features=24, shots=4)
    X, y, groups, _ = views_of(task, 8, noise=0.2)
    grouped = TipAdapterClassifier(task.text).fit(X, y, groups=groups)
    alone = TipAdapterClassifier(task.text).fit(X, y)
    assert alone.loo_log_likelihood_ > grouped.loo_log_likelihood_
    assert alone.beta_ >= grouped.beta_


def test_a_group_has_one_label(task):
    groups = np.arange(len(task.X)) // 2
    with pytest.raises(ValueError, match="All rows of a group must have one label"):
        TipAdapterClassifier(task.text).fit(task.X, task.y, groups=groups)


def test_without_text_the_cache_votes_alone():
    """By Gaussian kernels in units of the spread of the rows."""
    X, y = load_iris(return_X_y=True)
    tip = TipAdapterClassifier(alpha=2.0, beta=3.0).fit(X, y)
    spread = np.square(X - X.mean(axis=0)).sum(axis=1).mean()
    kernel = np.exp(-0.5 * 3.0 * cdist(X, X, "sqeuclidean") / spread)
    expected = softmax(2.0 * kernel @ np.eye(3)[y], axis=1)
    np.testing.assert_allclose(tip.predict_proba(X), expected, rtol=1e-9)


def test_without_text_origin_and_unit_do_not_matter():
    X, y = load_iris(return_X_y=True)
    expected = TipAdapterClassifier().fit(X, y).predict_proba(X)
    moved = TipAdapterClassifier().fit(1e3 * X - 1e5, y)
    np.testing.assert_allclose(moved.predict_proba(1e3 * X - 1e5), expected, atol=1e-9)


def test_without_text_it_is_a_classifier_of_any_features():
    X, y = load_iris(return_X_y=True)
    assert cross_val_score(TipAdapterClassifier(), scale(X), y).mean() > 0.93


def test_unit_rows_without_text_are_compared_by_their_cosine(task):
    tip = TipAdapterClassifier(normalize=True, alpha=2.0, beta=3.0).fit(3.0 * task.X, task.y)
    cache = np.exp(-3.0 * (1.0 - task.X_test @ task.X.T)) @ np.eye(4)[task.y]
    np.testing.assert_allclose(
        tip.predict_proba(task.X_test), softmax(2.0 * cache, axis=1), rtol=1e-9
    )


def test_another_fit_forgets_the_choice_of_the_first(task):
    tip = TipAdapterClassifier(task.text).fit(task.X, task.y)
    tip.fit(task.X[:4], task.y[:4])
    assert not hasattr(tip, "loo_log_likelihood_")
    assert tip.alpha_ == 1.0


def test_float32_gives_the_probabilities_of_float64(monkeypatch):
    """Logits of order 100 round by 1e-5; the choice is among discrete values."""
    data = make_clip_features(8, 20, n_features=128, random_state=0)
    double = TipAdapterClassifier(data.prototypes, device="cpu").fit(data.X, data.y)
    monkeypatch.setattr("skclip.adapters.base._FLOAT64_WORK", 0)
    single = TipAdapterClassifier(data.prototypes, device="cpu").fit(data.X, data.y)
    assert single.keys_.dtype == np.float32
    assert (single.alpha_, single.beta_) == (double.alpha_, double.beta_)
    np.testing.assert_allclose(
        single.predict_proba(data.X_test), double.predict_proba(data.X_test), atol=1e-4
    )


def test_chunks_change_nothing(task, monkeypatch):
    tip = TipAdapterClassifier(task.text).fit(task.X, task.y)
    whole = tip.predict_proba(task.X_test)
    monkeypatch.setattr(TipAdapterModel, "bytes_per_chunk", 8 * 20 * 7)
    assert max(len(rows) for _, rows, _ in tip._in_chunks(task.X_test)) == 7
    np.testing.assert_allclose(tip.predict_proba(task.X_test), whole, rtol=1e-9)
