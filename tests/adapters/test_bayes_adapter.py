"""The Bayesian adapter: its limits, its identities, and its automatic choices."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from skclip import (
    BayesAdapterClassifier,
    CosineBayesAdapterClassifier,
    Laplace,
    LinearProbeClassifier,
    Prototypes,
    Variational,
    ZeroShotClassifier,
)
from skclip.datasets import make_clip_features

from .conftest import make_task


def test_a_large_precision_is_zero_shot(task):
    """|w_c - t_c| <= tau n / lambda: at 1e9 logits move by at most 100 * 100 * 24 / 1e9."""
    adapter = BayesAdapterClassifier(task.text, prior_precision=1e9, temperature=1.0)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(
        adapter.fit(task.X, task.y).predict_proba(task.X_test),
        zero_shot.predict_proba(task.X_test),
        atol=100 * 100 * 24 / 1e9,
    )


def test_without_text_it_is_the_linear_probe(task):
    """A prior at zero of precision 1/C is the penalty of logistic regression."""
    adapter = BayesAdapterClassifier(
        prior_precision=0.5,
        prior_shape="isotropic",
        temperature=1.0,
        logit_scale=3.0,
        tol=1e-10,
    )
    probe = LinearProbeClassifier(C=2.0, logit_scale=3.0, tol=1e-10)
    np.testing.assert_allclose(
        adapter.fit(task.X, task.y).prototypes_, probe.fit(task.X, task.y).prototypes_, atol=1e-6
    )


def test_an_absent_class_keeps_its_text_prior(task):
    """The optimum is w_c = t_c + (tau / lambda) sum_i (y_ic - p_ic) x_i, and y_i2 = 0."""
    X, y = task.X[task.y != 2], task.y[task.y != 2]
    adapter = BayesAdapterClassifier(
        Prototypes(task.text, range(4)),
        prior_precision=50.0,
        prior_shape="isotropic",
        temperature=1.0,
        logit_scale=30.0,
        tol=1e-11,
    ).fit(X, y)
    residuals = np.eye(4)[y] - adapter.predict_proba(X)
    weights = task.text + 30 / 50 * residuals.T @ X
    # Up to what is the same in every row (intercepts) and in every class (the normaliser).
    left = adapter.predict_log_proba(task.X_test) - 30 * task.X_test @ weights.T
    np.testing.assert_allclose(np.ptp(left - left[:, :1], axis=0), 0, atol=1e-9)


def test_one_precision_per_class_moves_each_class_as_told(task):
    free_first = BayesAdapterClassifier(
        task.text, prior_precision=[1.0, 1e8, 1e8, 1e8], temperature=1.0
    ).fit(task.X, task.y)
    moved = np.linalg.norm(free_first.prototypes_ - task.text, axis=1)
    assert moved[0] > 1e3 * moved[1:].max()
    np.testing.assert_array_equal(free_first.prior_precision_, [1.0, 1e8, 1e8, 1e8])


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(("fit_intercept", "free"), [(True, True), (False, False), ("auto", None)])
def test_a_free_intercept_predicts_each_class_as_often_as_it_occurs(
    task, text, fit_intercept, free
):
    """On the support, where the gradient in the intercepts vanishes. "auto" frees it without text,
    where a cosine has no meaning of its own."""
    keep = np.arange(24) % 4 <= np.arange(24) % 5  # unequal frequencies
    X, y = task.X[keep], task.y[keep]
    adapter = BayesAdapterClassifier(
        task.text if text else None,
        prior_precision=5.0,
        temperature=1.0,
        fit_intercept=fit_intercept,
        tol=1e-10,
    ).fit(X, y)
    gap = np.abs(adapter.predict_proba(X).mean(axis=0) - np.bincount(y) / len(y)).max()
    assert (gap < 1e-7) == (free if free is not None else not text)
    if fit_intercept is False:
        np.testing.assert_array_equal(adapter.intercept_, 0)


def test_the_precision_is_one_for_all_classes_and_less_where_the_text_fits_worse():
    data = make_clip_features(n_samples_per_class=4, n_classes=20, random_state=0)
    right, wrong = (
        BayesAdapterClassifier(Prototypes(np.roll(data.prototypes, by, axis=0), np.arange(20))).fit(
            data.X, data.y
        )
        for by in (0, 10)
    )
    assert np.ptp(right.prior_precision_) == 0
    assert wrong.prior_precision_[0] < right.prior_precision_[0]


def test_means_of_views_change_the_temperature_and_nothing_else(task):
    single, mean = (
        BayesAdapterClassifier(task.text).fit(task.X, task.y, n_views=n_views)
        for n_views in (1, 10)
    )
    np.testing.assert_array_equal(single.prototypes_, mean.prototypes_)
    assert single.temperature_ != mean.temperature_
    with pytest.raises(ValueError, match="n_views == 0, must be >= 1"):
        BayesAdapterClassifier(task.text).fit(task.X, task.y, n_views=0)


def test_without_a_text_the_units_of_columns_do_not_matter(task):
    units = np.logspace(-3, 3, task.X.shape[1])
    one = BayesAdapterClassifier().fit(task.X, task.y).predict_proba(task.X_test)
    other = BayesAdapterClassifier().fit(task.X * units, task.y)
    np.testing.assert_allclose(other.predict_proba(task.X_test * units), one, atol=1e-5)


def test_the_temperature_divides_the_logits(task):
    warm = BayesAdapterClassifier(task.text, prior_precision=10.0, temperature=2.0)
    plain = BayesAdapterClassifier(task.text, prior_precision=10.0, temperature=1.0)
    p = plain.fit(task.X, task.y).predict_proba(task.X_test)
    expected = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        warm.fit(task.X, task.y).predict_proba(task.X_test), expected, atol=1e-10
    )


def test_fixing_what_auto_chose_gives_the_same_model(task):
    auto = BayesAdapterClassifier(task.text, tol=1e-10).fit(task.X, task.y)
    fixed = BayesAdapterClassifier(
        task.text,
        prior_precision=auto.prior_precision_,
        temperature=auto.temperature_,
        tol=1e-10,
    ).fit(task.X, task.y)
    np.testing.assert_allclose(
        fixed.predict_proba(task.X_test), auto.predict_proba(task.X_test), atol=1e-7
    )


@pytest.mark.parametrize("parameter", ["prior_precision", "temperature"])
def test_either_choice_can_be_automatic_alone(task, parameter):
    fixed = {"prior_precision": 30.0, "temperature": 1.0}
    del fixed[parameter]
    adapter = BayesAdapterClassifier(task.text, **fixed).fit(task.X, task.y)
    for name, value in fixed.items():
        np.testing.assert_allclose(getattr(adapter, name + "_"), value)
    (free,) = {"prior_precision", "temperature"} - set(fixed)
    assert np.all(
        getattr(adapter, free + "_") != {"prior_precision": 30.0, "temperature": 1.0}[free]
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auto_beats_zero_shot_and_logistic_regression(seed):
    """The text prior and the images together tell more than either alone."""
    task = make_task(n_classes=8, n_features=32, shots=4, n_test=400, seed=seed)

    def loss(classifier):
        proba = classifier.fit(task.X, task.y).predict_proba(task.X_test)
        return log_loss(task.y_test, proba)

    adapter = loss(BayesAdapterClassifier(task.text))
    assert adapter < loss(ZeroShotClassifier(task.text))
    assert adapter < loss(LogisticRegression(C=100.0))


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
@pytest.mark.parametrize("scaled", [True, False])
def test_without_text_it_replaces_logistic_regression(load, scaled):
    """On data that have nothing to do with CLIP, scaled or with columns as they come."""
    X, y = load(return_X_y=True)
    steps = [StandardScaler()] if scaled else []

    def score(classifier):
        pipeline = make_pipeline(*steps, classifier)
        return cross_val_score(pipeline, X, y, scoring="neg_log_loss").mean()

    theirs = score(LogisticRegression(max_iter=10_000))
    assert score(BayesAdapterClassifier()) > theirs - 0.05


def test_the_unit_of_the_features_does_not_matter_without_text():
    X, y = load_iris(return_X_y=True)
    reference = BayesAdapterClassifier(tol=1e-10).fit(X, y).predict_proba(X)
    scaled = BayesAdapterClassifier(tol=1e-10).fit(1e3 * X, y).predict_proba(1e3 * X)
    np.testing.assert_allclose(scaled, reference, atol=1e-7)


def test_the_certificate_is_below_tol(task):
    for tol in (1e-3, 1e-6, 1e-9):
        adapter = BayesAdapterClassifier(task.text, prior_precision=10.0, tol=tol)
        assert adapter.fit(task.X, task.y).gradient_norm_ <= tol


def test_both_solvers_find_the_same_mode(task):
    newton, lbfgs = (
        BayesAdapterClassifier(task.text, prior_precision=10.0, solver=solver, tol=1e-10)
        .fit(task.X, task.y)
        .prototypes_
        for solver in ("newton-cg", "lbfgs")
    )
    np.testing.assert_allclose(newton, lbfgs, atol=1e-6)


def test_grid_search_finds_nested_parameters(task):
    search = GridSearchCV(
        BayesAdapterClassifier(task.text, temperature=1.0),
        {"prior_precision": [1.0, 30.0, 1e6]},
        scoring="neg_log_loss",
        cv=3,
    ).fit(task.X, task.y)
    assert search.best_params_["prior_precision"] in (1.0, 30.0)


# -- the paper recipe -----------------------------------------------------------------


def test_the_paper_recipe_has_the_published_settings(task):
    recipe = BayesAdapterClassifier.from_recipe("paper", task.text)
    assert isinstance(recipe, CosineBayesAdapterClassifier)
    assert recipe.prior_precision == pytest.approx(0.01**-2)
    assert recipe.prototype_norm == 8.8
    assert (recipe.kl_weight, recipe.n_samples) == ("paper", 10)
    assert (recipe.learning_rate, recipe.batch_size) == (0.1, 256)


def test_raw_prototypes_keep_their_norm_in_the_recipe(task):
    raw = 9.3 * task.text
    assert BayesAdapterClassifier.from_recipe("paper", raw).prototype_norm is None
    labelled = BayesAdapterClassifier.from_recipe("paper", Prototypes(raw, range(4)))
    assert labelled.prototype_norm is None
    fitted = labelled.set_params(max_iter=1).fit(task.X, task.y)
    np.testing.assert_allclose(np.linalg.norm(fitted.prototypes_, axis=1), 9.3, rtol=1e-3)


def test_changes_replace_settings_of_the_recipe(task):
    recipe = BayesAdapterClassifier.from_recipe("paper", task.text, max_iter=7, average="logits")
    assert (recipe.max_iter, recipe.average) == (7, "logits")
    assert recipe.fit(task.X, task.y).n_iter_ == 7


def test_the_recipe_learns_and_keeps_a_small_spread(task):
    """The spread hardly leaves its start of 0.01: the recipe's known behaviour."""
    recipe = BayesAdapterClassifier.from_recipe("paper", task.text, random_state=0)
    recipe.fit(task.X, task.y)
    zero_shot = ZeroShotClassifier(task.text).fit(task.X, task.y)
    assert recipe.score(task.X_test, task.y_test) > zero_shot.score(task.X_test, task.y_test)
    assert recipe.posterior_std_.shape == (4,)
    assert np.all((recipe.posterior_std_ > 0) & (recipe.posterior_std_ < 0.1))


def test_both_averages_agree_when_the_posterior_has_no_spread(task):
    """A prior of no width, which the recipe starts at and hardly leaves in one epoch."""
    by_average = [
        BayesAdapterClassifier.from_recipe(
            "paper", task.text, prior_precision=1e20, average=average, max_iter=1, random_state=0
        )
        .fit(task.X, task.y)
        .predict_proba(task.X_test)
        for average in ("probabilities", "logits")
    ]
    np.testing.assert_allclose(*by_average, atol=1e-7)


def test_averaging_probabilities_is_less_confident_than_the_mean_weights(task):
    wide = BayesAdapterClassifier.from_recipe(
        "paper", task.text, prior_precision=10.0, kl_weight=0.0, max_iter=5, random_state=0
    ).fit(task.X, task.y)
    averaged = wide.predict_proba(task.X_test).max(axis=1)
    cosines = task.X_test @ normalize(wide.prototypes_).T
    at_the_mean = softmax(wide.logit_scale_ * cosines, axis=1).max(axis=1)
    assert averaged.mean() < at_the_mean.mean() - 0.05


def test_a_recipe_can_be_cloned(task):
    recipe = BayesAdapterClassifier.from_recipe("paper", task.text, max_iter=5, random_state=0)
    np.testing.assert_array_equal(
        clone(recipe).fit(task.X, task.y).predict_proba(task.X_test),
        recipe.fit(task.X, task.y).predict_proba(task.X_test),
    )


# -- errors ---------------------------------------------------------------------------


def test_an_unknown_recipe_is_refused(task):
    with pytest.raises(ValueError, match=r"The recipes are: 'paper'; got 'cake'\."):
        BayesAdapterClassifier.from_recipe("cake", task.text)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "sgd"}, "The 'solver' parameter"),
        ({"posterior": Laplace("round")}, "The 'covariance' parameter of Laplace must be"),
        (
            {"posterior": Variational(temperature=-1.0)},
            "The 'temperature' parameter of Variational",
        ),
        ({"prior_precision": [1.0, 2.0]}, r"one entry per class, shape \(4,\); got shape \(2,\)"),
        ({"prior_precision": [1.0, 2.0, 0.0, 1.0]}, "prior_precision must be positive and finite"),
        ({"prior_precision": -1.0}, "The 'prior_precision' parameter"),
        ({"temperature": 0.0}, "The 'temperature' parameter"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(task, parameters, message):
    with pytest.raises(ValueError, match=message):
        BayesAdapterClassifier(task.text, **parameters).fit(task.X, task.y)


def test_the_cosine_form_needs_text(task):
    with pytest.raises(ValueError, match="CosineBayesAdapterClassifier needs text prototypes; got"):
        CosineBayesAdapterClassifier().fit(task.X, task.y)


def test_the_clap_prior_needs_text(task):
    adapter = BayesAdapterClassifier(prior_precision="clap")
    with pytest.raises(ValueError, match="prior_precision='clap' is how well the text predicts"):
        adapter.fit(task.X, task.y)
