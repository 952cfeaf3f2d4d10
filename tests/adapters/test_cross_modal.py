"""The cross-modal probe is penalised logistic regression on images and texts together."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from skclip import (
    BayesAdapterClassifier,
    ClassPrompts,
    CrossModalClassifier,
    Prototypes,
    ZeroShotClassifier,
)
from skclip.exceptions import PrototypeMismatchError

from .conftest import assert_same_optimum

EXACT = {"solver": "newton-cg", "tol": 1e-11}
# Prior precision of 24 images, and the total weight of images and texts.
PRECISION, TOTAL = 2 * 24 * 0.01, 48


def several_texts(task, per_class=3, seed=0):
    """Unit rows around the prototypes, in mixed order."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(4), per_class))
    noise = np.random.default_rng(seed + 1).normal(size=(len(labels), 16))
    rows = task.text[labels] + 0.05 * noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def test_the_weights_are_a_stationary_point_of_the_published_objective(task):
    """Convex, so that a vanishing gradient of the definition is the optimum."""
    weight = 0.5 + np.random.default_rng(0).random(24)
    texts, labels = several_texts(task)
    W = (
        CrossModalClassifier(task.text, text_features=texts, text_labels=labels, **EXACT)
        .fit(task.X, task.y, sample_weight=weight)
        .prototypes_
    )

    def mean_gradient(rows, codes, weight):
        gap = softmax(100.0 * rows @ W.T, axis=1) - np.eye(4)[codes]
        return 100.0 * (weight[:, None] * gap).T @ rows / weight.sum()

    images = mean_gradient(task.X, task.y, weight)
    of_text = mean_gradient(texts, labels, np.ones(12))
    gradient = 0.5 * images + 0.5 * of_text + 0.01 * (W - task.text)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)
    assert np.abs(images).max() > 1e-3


def test_it_is_the_mode_of_the_bayesian_adapter_on_all_rows(task):
    texts, labels = several_texts(task)
    ours = CrossModalClassifier(task.text, text_features=texts, text_labels=labels, **EXACT)
    theirs = BayesAdapterClassifier(
        task.text,
        prior_precision=PRECISION,
        prior_shape="isotropic",
        temperature=1.0,
        tol=1e-11,
    )
    theirs.fit(
        np.vstack([task.X, texts]),
        np.concatenate([task.y, labels]),
        sample_weight=np.concatenate([np.ones(24), np.full(12, 24 / 12)]),
    )
    assert_same_optimum(ours.fit(task.X, task.y), theirs, PRECISION, TOTAL)


@pytest.mark.filterwarnings("ignore:Every class needs a prototype of its own")
def test_from_a_start_without_opinion_it_is_logistic_regression_on_all_rows(task):
    """Equal prototypes are a start at zero, since softmax ignores what all classes share."""
    texts, labels = several_texts(task)
    same = np.tile(task.text.mean(axis=0), (4, 1))
    ours = CrossModalClassifier(same, text_features=texts, text_labels=labels, **EXACT)
    theirs = LogisticRegression(
        C=1 / PRECISION,
        fit_intercept=False,
        solver="newton-cholesky",
        tol=1e-12,
    ).fit(
        100.0 * np.vstack([task.X, texts]),
        np.concatenate([task.y, labels]),
        sample_weight=np.concatenate([np.ones(24), np.full(12, 24 / 12)]),
    )
    np.testing.assert_allclose(
        ours.fit(task.X, task.y).predict_proba(task.X_test),
        theirs.predict_proba(100.0 * task.X_test),
        atol=1e-6,
    )


def test_strong_weight_decay_is_zero_shot(task):
    """At the optimum the decay balances two means of vectors no longer than tau."""
    fitted = CrossModalClassifier(task.text, weight_decay=1e6, **EXACT).fit(task.X, task.y)
    text = ZeroShotClassifier(task.text).fit(task.X, task.y).prototypes_
    moved = np.linalg.norm(fitted.prototypes_ - text, axis=1)
    assert 0 < moved.max() <= 100.0 / 1e6


def test_the_prototypes_are_the_texts_by_default(task):
    default = CrossModalClassifier(task.text, **EXACT).fit(task.X, task.y)
    given = CrossModalClassifier(
        task.text, text_features=3 * task.text, text_labels=range(4), **EXACT
    )
    assert_same_optimum(default, given.fit(task.X, task.y), PRECISION, TOTAL)


def test_every_text_twice_changes_nothing(task):
    texts, labels = several_texts(task)
    once = CrossModalClassifier(task.text, text_features=texts, text_labels=labels, **EXACT)
    twice = CrossModalClassifier(
        task.text,
        text_features=np.vstack([texts, texts]),
        text_labels=np.tile(labels, 2),
        **EXACT,
    )
    assert_same_optimum(once.fit(task.X, task.y), twice.fit(task.X, task.y), PRECISION, TOTAL)


class TemplateEncoder:
    """Embeds "name/i" near the prototype of the class: the i-th text of it."""

    logit_scale_ = 100.0

    def __init__(self, text, names):
        self.text, self.names = text, names

    def encode_text(self, texts, *, normalize=None):
        rows = []
        for one in texts:
            name, index = one.split("/")
            row = self.text[self.names.index(name)].copy()
            row[int(index)] += 0.3
            rows.append(row)
        return np.array(rows)


def test_every_prompt_of_class_prompts_is_a_text(task):
    names = ["a", "b", "c", "d"]
    prompts = ClassPrompts(TemplateEncoder(task.text, names), templates=["{}/0", "{}/1", "{}/2"])
    y = np.array(names)[task.y]
    texts, labels = prompts.encode_prompts(names)
    assert labels.tolist() == np.repeat(names, 3).tolist()
    by_hand = CrossModalClassifier(
        prompts.encode(names), text_features=texts, text_labels=labels, **EXACT
    ).fit(task.X, y)
    prototypes_only = CrossModalClassifier(prompts.encode(names), **EXACT).fit(task.X, y)
    fitted = CrossModalClassifier(prompts, **EXACT).fit(task.X, y)
    assert_same_optimum(fitted, by_hand, PRECISION, TOTAL)
    assert np.abs(fitted.prototypes_ - prototypes_only.prototypes_).max() > 1e-4


@pytest.mark.parametrize("solver", ["adamw", "sgd"])
def test_the_recipes_lower_their_own_objective(task, solver):
    fitted = CrossModalClassifier(task.text, solver=solver, max_iter=100, random_state=0)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    fitted.fit(task.X, task.y)

    def objective(classifier):
        images = classifier.predict_log_proba(task.X)[np.arange(24), task.y]
        texts = classifier.predict_log_proba(task.text)[np.arange(4), np.arange(4)]
        return -0.5 * images.mean() - 0.5 * texts.mean()

    assert objective(fitted) < 0.9 * objective(zero_shot)
    assert fitted.score(task.X_test, task.y_test) > zero_shot.score(task.X_test, task.y_test)


def test_cosine_weights_are_of_unit_norm_and_linear_ones_are_not(task):
    cosine = CrossModalClassifier(task.text, solver="sgd", max_iter=50, random_state=0)
    linear = CrossModalClassifier(task.text, solver="adamw", max_iter=50, random_state=0)
    norms = [np.linalg.norm(m.fit(task.X, task.y).prototypes_, axis=1) for m in (cosine, linear)]
    np.testing.assert_allclose(norms[0], 1.0)
    assert np.abs(norms[1] - 1.0).max() > 1e-3


def test_the_published_number_of_batches_sets_the_epochs(task):
    fitted = CrossModalClassifier(task.text, solver="adamw", batch_size=8, random_state=0)
    assert fitted._published(24)["epochs"] == 1067  # of three batches
    assert fitted.set_params(max_iter=2).fit(task.X, task.y).n_iter_ == 2


def test_a_class_may_have_no_text_row_and_no_image(task):
    keep = task.y != 2
    fitted = CrossModalClassifier(
        Prototypes(task.text, range(4)), text_features=task.text[:2], text_labels=[0, 1]
    ).fit(task.X[keep], task.y[keep])
    proba, own = fitted.predict_proba(task.X_test)[:, 2], task.y_test == 2
    assert np.mean(proba[own][:, None] > proba[~own]) > 0.75  # known by its prototype


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"weight_decay": 0.0},
            ValueError,
            "solver='lbfgs' needs a positive weight_decay, without which separable classes",
        ),
        (
            {"text_labels": [0, 1]},
            ValueError,
            "text_features and text_labels belong together; got only one of them",
        ),
        (
            {"text_features": np.eye(16)[:3], "text_labels": [0, 1]},
            PrototypeMismatchError,
            r"text_features must have shape .*; got \(3, 16\) and \(2,\)\. Pass one label per text",
        ),
        (
            {"text_features": np.eye(15)[:2], "text_labels": [0, 1]},
            PrototypeMismatchError,
            "text_features must have as many columns as X has features; got 15 columns and 16",
        ),
        (
            {"text_features": np.eye(16)[:2], "text_labels": [0, 7]},
            PrototypeMismatchError,
            r"Every class of text_labels needs a prototype; got none for 7\. Drop these texts",
        ),
        (
            {"text_features": np.zeros((1, 16)), "text_labels": [0]},
            ValueError,
            r"Rows of text_features must not be zero .* got zeros in row\(s\) 0\.",
        ),
    ],
)
def test_texts_that_do_not_fit_are_refused(task, parameters, error, message):
    with pytest.raises(error, match=message):
        CrossModalClassifier(task.text, **parameters).fit(task.X, task.y)


def test_the_cross_modal_probe_needs_text(task):
    with pytest.raises(ValueError, match="CrossModalClassifier needs text prototypes; got"):
        CrossModalClassifier().fit(task.X, task.y)
