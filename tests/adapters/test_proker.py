"""ProKeR is scikit-learn's KernelRidge on the residual of the text."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score

from skclip import ProKeRClassifier, ZeroShotClassifier
from skclip._core.methods.proker import KernelModel
from skclip.adapters import proker

from .conftest import make_task

FIXED = {"beta": 2.0, "ridge": 0.3, "temperature": 1.0}


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def residual_fit(task, beta, ridge, sample_weight=None):
    """KernelRidge on one-hot labels less cosines. On unit rows |x - x'|^2 = 2 (1 - <x, x'>)."""
    model = KernelRidge(alpha=ridge, kernel="rbf", gamma=beta / 2)
    targets = np.eye(4)[task.y] - task.X @ task.text.T
    return model.fit(task.X, targets, sample_weight=sample_weight)


@pytest.mark.parametrize("weight", ["none", "random"])
def test_at_weight_one_it_is_kernel_ridge_on_the_residual(task, weight):
    a = None if weight == "none" else np.random.default_rng(0).uniform(0.2, 3, len(task.X))
    theirs = residual_fit(task, 2.0, 0.3, a)
    ours = ProKeRClassifier(task.text, residual_weight=1.0, **FIXED)
    ours.fit(task.X, task.y, sample_weight=a)
    np.testing.assert_allclose(ours.dual_coef_, theirs.dual_coef_, atol=1e-10)
    scores = task.X_test @ task.text.T + theirs.predict(task.X_test)
    np.testing.assert_allclose(
        ours.predict_proba(task.X_test), softmax(100 * scores), rtol=1e-7, atol=1e-12
    )


def test_by_default_the_coefficients_are_those_of_the_published_code(task):
    K = np.exp(-2.0 * (1 - task.X @ task.X.T))
    residual = np.eye(4)[task.y] - task.X @ task.text.T
    published = np.linalg.solve(K / 0.3 + np.eye(len(K)), residual)
    ours = ProKeRClassifier(task.text, **FIXED).fit(task.X, task.y)
    np.testing.assert_allclose(ours.dual_coef_, published, atol=1e-10)


def test_without_text_it_is_kernel_ridge_on_the_labels():
    X, y = load_iris(return_X_y=True)
    theirs = KernelRidge(alpha=0.1, kernel="rbf", gamma=0.25).fit(X, np.eye(3)[y])
    ours = ProKeRClassifier(beta=0.5, ridge=0.1, temperature=1.0, logit_scale=1.0).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), softmax(theirs.predict(X)), atol=1e-9)


@pytest.mark.parametrize(
    "limit", [{"residual_weight": 0.0}, {"residual_weight": 1.0, "ridge": 1e9}, {"ridge": 1e-9}]
)
def test_limits_are_zero_shot(task, limit):
    """A stiff regression does not move; in the published code the ridge is the weight, too."""
    ours = ProKeRClassifier(task.text, **(FIXED | limit)).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        ours.predict_proba(task.X_test), zero_shot.predict_proba(task.X_test), atol=1e-4
    )


@pytest.mark.parametrize("shots", [2, 4, 16])
@pytest.mark.parametrize("residual_weight", ["auto", 1.0])
def test_what_is_chosen_beats_zero_shot(shots, residual_weight):
    task = make_task(n_classes=8, n_features=24, shots=shots, n_test=400)
    ours = ProKeRClassifier(task.text, residual_weight=residual_weight).fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    losses = [log_loss(task.y_test, one.predict_proba(task.X_test)) for one in (ours, zero_shot)]
    assert losses[0] < losses[1]


def test_digits_are_classified_and_calibrated_without_text():
    X, y = load_digits(return_X_y=True)
    X, y = X[::3], y[::3]
    assert cross_val_score(ProKeRClassifier(), X, y, cv=3).mean() > 0.95
    loss = -cross_val_score(ProKeRClassifier(), X, y, cv=3, scoring="neg_log_loss").mean()
    assert loss < 0.2


def test_one_image_per_class_takes_the_documented_values(task):
    ours = ProKeRClassifier(task.text).fit(task.X[:4], task.y[:4])
    gaps = 1 - task.X[:4] @ task.X[:4].T
    assert ours.beta_ == pytest.approx(0.5 / gaps.mean())
    assert (ours.ridge_, ours.temperature_, ours.residual_weight_) == (0.1, 1.0, 0.1)
    assert not hasattr(ours, "loo_log_likelihood_")


def test_given_values_are_kept(task):
    ours = ProKeRClassifier(task.text, beta=3.0, residual_weight=0.2).fit(task.X, task.y)
    assert (ours.beta_, ours.residual_weight_) == (3.0, 0.2)
    assert ours.loo_log_likelihood_ < 0


def test_copies_of_an_image_in_a_group_are_the_image_itself(task):
    copies = np.repeat(np.arange(len(task.X)), 3)
    views = ProKeRClassifier(task.text).fit(task.X[copies], task.y[copies], groups=copies)
    images = ProKeRClassifier(task.text).fit(task.X, task.y)
    assert (views.beta_, views.ridge_) == pytest.approx((images.beta_, images.ridge_))
    np.testing.assert_allclose(
        views.predict_proba(task.X_test), images.predict_proba(task.X_test), atol=1e-7
    )


def test_rows_without_weight_are_not_kept(task):
    weight = np.ones(len(task.X))
    weight[3] = 0.0
    ours = ProKeRClassifier(task.text).fit(task.X, task.y, sample_weight=weight)
    assert len(ours.X_fit_) == len(task.X) - 1


def test_chunks_account_for_the_kernel_matrix(task, monkeypatch):
    """Of 80 rows with 24 affinities each, few are predicted at once, and alike."""
    ours = ProKeRClassifier(task.text, **FIXED).fit(task.X, task.y)
    whole = ours.predict_proba(task.X_test)
    monkeypatch.setattr(KernelModel, "bytes_per_chunk", 10 * 8 * 24)
    sizes = [len(rows) for _, rows, _ in ours._in_chunks(task.X_test)]
    assert max(sizes) * 8 * 24 <= 10 * 8 * 24
    np.testing.assert_allclose(ours.predict_proba(task.X_test), whole, rtol=1e-7)


def test_a_residual_weight_out_of_range_is_refused_with_the_range(task):
    """Its square was no number."""
    with pytest.raises(ValueError, match=r"'residual_weight' parameter .* \[0\.?0?, 1000000\.0\]"):
        ProKeRClassifier(task.text, residual_weight=1e300).fit(task.X, task.y)
    classifier = ProKeRClassifier(task.text, residual_weight=1e6).fit(task.X, task.y)
    assert np.isfinite(classifier.predict_proba(task.X_test)).all()


def test_many_rows_are_fitted_on_some_of_them(monkeypatch):
    """More than a limit, here 60 of 128: on half of them between all and zero-shot."""
    task = make_task(n_classes=8, n_features=24, shots=16, n_test=400)

    def proba(n_landmarks):
        monkeypatch.setattr(proker, "_N_LANDMARKS", n_landmarks)
        with pytest.warns(UserWarning, match="up to 60; got 128, of which .* a weaker classifier"):
            classifier = ProKeRClassifier(task.text).fit(task.X, task.y)
        assert len(classifier.X_fit_) == min(n_landmarks, 128)
        assert classifier.dual_coef_.shape == (len(classifier.X_fit_), 8)
        return classifier.predict_proba(task.X_test)

    exact = ProKeRClassifier(task.text).fit(task.X, task.y).predict_proba(task.X_test)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y).predict_proba(task.X_test)
    monkeypatch.setattr(proker, "_MOST_ROWS", 60)
    np.testing.assert_allclose(proba(1000), exact, atol=1e-4)
    losses = [log_loss(task.y_test, P) for P in (exact, proba(64), zero_shot)]
    assert losses[0] < losses[1] < 0.5 * (losses[0] + losses[2])
