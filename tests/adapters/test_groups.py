"""Several rows per image: groups are left out together, and routed as metadata."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_validate
from torch.nn.functional import cross_entropy

from skclip import BayesAdapterClassifier, Variational
from skclip._core.linear.leave_one_out import Groups, left_out_logits
from skclip._core.linear.prior import with_prior
from skclip._core.linear.span import Span
from skclip._core.problem import Problem

from .conftest import make_task


def views_of(task, n_views, noise, seed=0):
    """Noisy unit copies of every row, their labels, their image and the weight of each."""
    rng = np.random.default_rng(seed)
    X = np.repeat(task.X, n_views, axis=0)
    X = X + noise * rng.normal(size=X.shape) / np.sqrt(X.shape[1])
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    groups = np.repeat(np.arange(len(task.X)), n_views)
    return X, np.repeat(task.y, n_views), groups, np.full(len(X), 1 / n_views)


@pytest.mark.parametrize(
    "posterior",
    ["map", "laplace", Variational(temperature=0.1)],
    ids=["map", "laplace", "variational"],
)
def test_copies_of_an_image_in_a_group_are_the_image_itself(task, posterior):
    """Weighted by one over their number, identical views change nothing."""
    X, y, groups, weight = views_of(task, 3, noise=0.0)
    parameters = {"posterior": posterior, "random_state": 0, "tol": 1e-9}
    views = BayesAdapterClassifier(task.text, **parameters)
    views.fit(X, y, sample_weight=weight, groups=groups)
    images = BayesAdapterClassifier(task.text, **parameters).fit(task.X, task.y)
    np.testing.assert_allclose(views.prior_precision_, images.prior_precision_)
    assert views.temperature_ == pytest.approx(images.temperature_, rel=1e-4)
    np.testing.assert_allclose(
        views.predict_proba(task.X_test), images.predict_proba(task.X_test), atol=1e-4
    )


def left_out_log_likelihood(classifier, X, y, weight, groups=None):
    """Mean log-likelihood of left-out rows at the precision and temperature of a fit."""
    X, text, weight, y = map(torch.from_numpy, (X, classifier.text_prototypes_, weight, y))
    rows = Problem(
        X=X, y=y, sample_weight=weight, prior_mean=text, logit_scale=classifier.logit_scale_
    )
    precision = torch.from_numpy(classifier.prior_precision_)
    problem = with_prior(rows, precision, adaptive=True, fit_intercept=None)
    scores = torch.from_numpy(classifier.logits(X.numpy())) * classifier.temperature_
    if groups is not None:
        groups = Groups.of(torch.from_numpy(groups), weight)
    left_out = left_out_logits(problem, Span.of(problem), scores, groups=groups)
    losses = cross_entropy(left_out / classifier.temperature_, y, reduction="none")
    return -float(weight @ losses / weight.sum())


def test_ignoring_groups_is_too_optimistic():
    """A view left out alone is predicted by its siblings, which sharpens what follows."""
    task = make_task(n_classes=6, n_features=24, shots=4, n_test=300)
    X, y, groups, weight = views_of(task, 8, noise=0.2)
    fixed = {"prior_precision": 5.0, "temperature": "auto"}
    grouped = BayesAdapterClassifier(task.text, **fixed)
    grouped.fit(X, y, sample_weight=weight, groups=groups)
    alone = BayesAdapterClassifier(task.text, **fixed).fit(X, y, sample_weight=weight)
    assert alone.temperature_ < grouped.temperature_
    truth = -log_loss(task.y_test, grouped.predict_proba(task.X_test))
    # Leaving one of four images out is harder than the test, never easier.
    pessimistic = left_out_log_likelihood(grouped, X, y, weight, groups)
    assert pessimistic < truth < left_out_log_likelihood(alone, X, y, weight)


def test_groups_may_have_any_name(task):
    X, y, groups, weight = views_of(task, 2, noise=0.1)
    names = np.array([f"image {g}" for g in groups])
    left, right = (
        BayesAdapterClassifier(task.text).fit(X, y, sample_weight=weight, groups=g)
        for g in (groups, names)
    )
    # Names sort otherwise than numbers, which moves sums by rounding.
    np.testing.assert_allclose(left.coef_, right.coef_, atol=1e-4)


def test_a_group_has_one_label(task):
    groups = np.arange(len(task.X)) // 2
    with pytest.raises(ValueError, match="All rows of a group must have one label"):
        BayesAdapterClassifier(task.text).fit(task.X, task.y, groups=groups)


def test_groups_are_as_many_as_rows(task):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        BayesAdapterClassifier(task.text).fit(task.X, task.y, groups=[0, 1])


def test_groups_and_weights_are_routed(task):
    X, y, groups, weight = views_of(task, 2, noise=0.1)
    with sklearn.config_context(enable_metadata_routing=True):
        adapter = BayesAdapterClassifier(task.text)
        adapter.set_fit_request(groups=True, sample_weight=True)
        adapter.set_score_request(sample_weight=False)
        scores = cross_validate(
            adapter,
            X,
            y,
            cv=GroupKFold(3),
            params={"groups": groups, "sample_weight": weight},
            error_score="raise",
        )
    assert np.all(scores["test_score"] > 0.5)
