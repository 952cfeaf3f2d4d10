"""A small task with text prototypes that every classifier is tested on."""

from types import SimpleNamespace

import numpy as np
import pytest


def make_task(n_classes=4, n_features=16, shots=6, n_test=80, seed=0):
    """Unit rows with CLIP's geometry: images share one direction, texts another.

    The shared directions compress the differences between cosines, so that logits at a
    scale of 100 are as moderate as those of a real model.
    """
    rng = np.random.default_rng(seed)

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    image_cone, text_cone = unit(rng.normal(size=(2, n_features)))
    centres = unit(rng.normal(size=(n_classes, n_features)))
    text = unit(5 * text_cone + centres + 0.7 * unit(rng.normal(size=centres.shape)))

    def sample(n):
        y = np.arange(n) % n_classes
        noise = rng.normal(size=(n, n_features)) / np.sqrt(n_features)
        return unit(5 * image_cone + centres[y] + 1.2 * noise), y

    X, y = sample(shots * n_classes)
    X_test, y_test = sample(n_test)
    return SimpleNamespace(X=X, y=y, X_test=X_test, y_test=y_test, text=text)


@pytest.fixture
def task():
    return make_task()


def assert_same_optimum(ours, theirs, precision, total):
    """Two solutions of one problem are as near as their certificates say.

    A strongly convex objective puts a point within |gradient| / precision of the optimum, and
    ``gradient_norm_`` is the gradient of a class over tau and the `total` weight of the rows.
    """
    gradients = ours.gradient_norm_ + theirs.gradient_norm_
    radius = (
        np.sqrt(len(ours.prototypes_)) * ours.logit_scale_ * total * gradients / np.min(precision)
    )
    assert radius < 1e-4, "the solutions are too rough to compare"
    assert np.linalg.norm(ours.prototypes_ - theirs.prototypes_) <= radius + 1e-12
