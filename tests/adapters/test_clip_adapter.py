"""CLIP-Adapter: its limits, what it learns, and MC dropout."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from skclip import CLIPAdapterClassifier, ZeroShotClassifier


@pytest.fixture
def dropped(task):
    adapter = CLIPAdapterClassifier(
        task.text, reduction=1, dropout=0.3, n_mc_samples=8, max_iter=20, random_state=0
    )
    return adapter.fit(task.X, task.y)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_ratio_of_zero_is_zero_shot(task, dropout):
    adapter = CLIPAdapterClassifier(task.text, ratio=0.0, dropout=dropout, max_iter=2)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        adapter.fit(task.X, task.y).predict_log_proba(task.X_test),
        zero_shot.predict_log_proba(task.X_test),
        rtol=1e-10,
    )


def test_probabilities_are_the_published_formula(task):
    adapter = CLIPAdapterClassifier(task.text, ratio=0.3, reduction=5, max_iter=5, random_state=0)
    adapter.fit(task.X, task.y)
    assert adapter.down_.shape == (3, 16)
    hidden = np.maximum(task.X_test @ adapter.down_.T, 0)
    blended = 0.3 * np.maximum(hidden @ adapter.up_.T, 0) + 0.7 * task.X_test
    blended /= np.linalg.norm(blended, axis=1, keepdims=True)
    np.testing.assert_allclose(
        adapter.predict_proba(task.X_test), softmax(100 * blended @ task.text.T, axis=1), rtol=1e-9
    )


def test_it_learns(task):
    adapter = CLIPAdapterClassifier(task.text, random_state=0).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    assert adapter.score(task.X_test, task.y_test) > zero_shot.score(task.X_test, task.y_test)
    assert adapter.n_iter_ == 300


def test_a_row_of_weight_zero_is_not_learned_from(task):
    """With all rows in one batch the loss is their weighted mean."""
    weight = np.where(np.arange(len(task.X)) < 20, 1.0, 0.0)
    parameters = {"max_iter": 10, "random_state": 0}
    ignored = CLIPAdapterClassifier(task.text, **parameters)
    ignored.fit(task.X, task.y, sample_weight=weight)
    absent = CLIPAdapterClassifier(task.text, **parameters).fit(task.X[:20], task.y[:20])
    np.testing.assert_allclose(
        ignored.predict_proba(task.X_test), absent.predict_proba(task.X_test), rtol=1e-6
    )


def test_only_the_direction_of_the_text_matters(task):
    parameters = {"normalize": False, "max_iter": 5, "random_state": 0}
    unit = CLIPAdapterClassifier(task.text, **parameters).fit(task.X, task.y)
    raw = CLIPAdapterClassifier(8.8 * task.text, **parameters).fit(task.X, task.y)
    np.testing.assert_allclose(
        raw.predict_proba(task.X_test), unit.predict_proba(task.X_test), rtol=1e-6
    )


def test_predictions_average_the_draws(task, dropped):
    draws = dropped.sample_proba(task.X_test)
    assert draws.shape == (8, len(task.X_test), 4)
    np.testing.assert_allclose(dropped.predict_proba(task.X_test), draws.mean(axis=0), rtol=1e-9)


def test_draws_differ_and_follow_their_seed(task, dropped):
    first = dropped.sample_proba(task.X_test, n_samples=4, random_state=1)
    assert np.ptp(first, axis=0).max() > 0
    np.testing.assert_array_equal(
        first, dropped.sample_proba(task.X_test, n_samples=4, random_state=1)
    )
    other = dropped.sample_proba(task.X_test, n_samples=4, random_state=2)
    assert np.abs(other - first).max() > 0


def test_masks_are_the_same_for_every_row(task, dropped):
    """A row repeated has the same draws wherever it stands."""
    draws = dropped.sample_proba(np.concatenate([task.X_test, task.X_test[::-1]]))
    np.testing.assert_allclose(draws[:, : len(task.X_test)], draws[:, : -len(task.X_test) - 1 : -1])


def test_uncertainty_splits_the_entropy_of_the_average(task, dropped):
    parts = dropped.predict_uncertainty(task.X_test)
    proba, draws = dropped.predict_proba(task.X_test), dropped.sample_proba(task.X_test)
    np.testing.assert_allclose(parts.confidence, proba.max(axis=1))
    np.testing.assert_allclose(parts.entropy, entropy(proba, axis=1), rtol=1e-6)
    np.testing.assert_allclose(parts.aleatoric, entropy(draws, axis=2).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(parts.epistemic, parts.entropy - parts.aleatoric, atol=1e-12)


def test_without_dropout_nothing_is_epistemic(task):
    adapter = CLIPAdapterClassifier(task.text, max_iter=5, random_state=0).fit(task.X, task.y)
    assert (adapter.predict_uncertainty(task.X_test).epistemic == 0).all()
    draws = adapter.sample_proba(task.X_test, n_samples=3)
    np.testing.assert_array_equal(draws, draws[:1].repeat(3, axis=0))
    np.testing.assert_allclose(draws[0], adapter.predict_proba(task.X_test), rtol=1e-12)
    np.testing.assert_array_equal(adapter.acquisition(task.X_test), np.zeros(len(task.X_test)))


def test_what_to_label_next_is_where_the_masks_disagree(task, dropped):
    epistemic = dropped.predict_uncertainty(task.X_test).epistemic
    assert np.all(epistemic > 0)
    np.testing.assert_array_equal(dropped.acquisition(task.X_test), epistemic)


def test_it_needs_text(task):
    message = "CLIPAdapterClassifier needs text prototypes; got prototypes=None"
    with pytest.raises(ValueError, match=message):
        CLIPAdapterClassifier().fit(task.X, task.y)
