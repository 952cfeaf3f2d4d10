"""Posteriors of the linear form: averages, parts of uncertainty, acquisition."""

import numpy as np
import pytest
from netcal.metrics import ECE
from sklearn.metrics import log_loss
from sklearn.utils import check_random_state

from skclip import BayesAdapterClassifier, Laplace, Prototypes, Variational
from skclip._core.model import FittedModel
from skclip.metrics import expected_calibration_error

from .conftest import make_task

COVARIANCES = ["isotropic", "diagonal", "full"]
POSTERIORS = [Laplace, Variational]


def adapter_for(prototypes, posterior=Laplace, *, prior_shape="adaptive", **details):
    """Fixed hyper-parameters, the posterior at a tenth of its covariance; or "map"."""
    return BayesAdapterClassifier(
        prototypes,
        prior_precision=20.0,
        temperature=1.0,
        prior_shape=prior_shape,
        posterior=posterior if posterior == "map" else posterior(**{"temperature": 0.1, **details}),
        tol=1e-10,
        random_state=0,
    )


@pytest.mark.parametrize("prior_shape", ["isotropic", "adaptive"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_vanishing_posterior_temperature_predicts_at_the_mode(
    task, posterior, covariance, prior_shape
):
    mode = adapter_for(task.text, "map", prior_shape=prior_shape).fit(task.X, task.y)
    cold = adapter_for(
        task.text, posterior, prior_shape=prior_shape, covariance=covariance, temperature=1e-10
    )
    np.testing.assert_allclose(
        cold.fit(task.X, task.y).predict_proba(task.X_test),
        mode.predict_proba(task.X_test),
        atol=1e-4,
    )


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_averages_do_not_depend_on_order_basis_or_duplication(task, posterior):
    """What the contract asks of exact classifiers, but for the order of classes."""
    reference = adapter_for(task.text, posterior).fit(task.X, task.y)
    expected = reference.predict_proba(task.X_test)
    order = np.random.default_rng(0).permutation(len(task.X))
    shuffled = adapter_for(task.text, posterior).fit(task.X[order], task.y[order])
    np.testing.assert_allclose(shuffled.predict_proba(task.X_test), expected, atol=1e-6)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))
    rotated = adapter_for(task.text @ rotation, posterior).fit(task.X @ rotation, task.y)
    np.testing.assert_allclose(rotated.predict_proba(task.X_test @ rotation), expected, atol=1e-6)
    weight = np.where(np.arange(len(task.X)) % 3 == 0, 2, 1)
    rows = np.repeat(np.arange(len(task.X)), weight)
    heavy = adapter_for(task.text, posterior).fit(task.X, task.y, sample_weight=weight)
    twice = adapter_for(task.text, posterior).fit(task.X[rows], task.y[rows])
    np.testing.assert_allclose(
        heavy.predict_proba(task.X_test), twice.predict_proba(task.X_test), atol=1e-6
    )


def test_the_order_of_classes_matters_up_to_the_error_of_the_draws(task):
    order = np.array([2, 0, 3, 1])
    expected = adapter_for(task.text, n_samples=2048).fit(task.X, task.y)
    renamed = adapter_for(task.text[order], n_samples=2048)
    renamed.fit(task.X, np.argsort(order)[task.y])
    np.testing.assert_allclose(
        renamed.predict_proba(task.X_test),
        expected.predict_proba(task.X_test)[:, order],
        atol=1e-2,
    )


def test_far_from_the_support_set_the_spread_is_that_of_the_prior():
    """The support rows lie in a plane; a row orthogonal to it meets the prior alone."""
    text = np.eye(3, 4)
    X = np.array([[1.0, 0.2, 0, 0], [0.1, 1.0, 0, 0], [0.8, 0.6, 0, 0], [0.3, 0.9, 0, 0]])
    adapter = adapter_for(Prototypes(text, range(3)), prior_shape="isotropic", n_samples=4096)
    adapter.set_params(prior_precision=25.0, logit_scale=10.0).fit(X, [0, 1, 0, 1])
    # Log-probabilities of two classes with mean zero differ as their logits do.
    draws = np.log(adapter.sample_proba([[0, 0, 0, 1.0]]))[:, 0, :2]
    variance = np.var(draws[:, 0] - draws[:, 1])
    assert variance == pytest.approx(2 * 0.1 * 10.0**2 / 25.0, rel=0.02)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_predict_proba_is_the_average_of_its_draws(task, average):
    adapter = adapter_for(task.text, average=average).fit(task.X, task.y)
    draws = adapter.sample_proba(task.X_test)
    assert draws.shape == (256, 80, 4)
    if average == "probabilities":
        mean = draws.mean(axis=0)
    else:
        mean = np.exp(np.log(draws).mean(axis=0))
        mean /= mean.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mean, adapter.predict_proba(task.X_test), atol=1e-12)


def test_the_average_of_logits_is_the_prediction_at_the_mean(task):
    averaged = adapter_for(task.text, average="logits").fit(task.X, task.y)
    mode = adapter_for(task.text, "map").fit(task.X, task.y)
    np.testing.assert_allclose(
        averaged.predict_proba(task.X_test), mode.predict_proba(task.X_test), atol=1e-9
    )


def test_draws_follow_their_seed(task):
    adapter = adapter_for(task.text).set_params(random_state=None).fit(task.X, task.y)
    np.testing.assert_array_equal(
        adapter.sample_proba(task.X_test), adapter.sample_proba(task.X_test)
    )
    first = adapter.sample_proba(task.X_test, 5, random_state=3)
    np.testing.assert_array_equal(first, adapter.sample_proba(task.X_test, 5, random_state=3))
    assert not np.array_equal(first, adapter.sample_proba(task.X_test, 5, random_state=4))
    generator = check_random_state(3)
    np.testing.assert_array_equal(
        first, adapter.sample_proba(task.X_test, 5, random_state=generator)
    )


def test_chunks_change_nothing(task, monkeypatch):
    adapter = adapter_for(task.text).fit(task.X, task.y)
    draws, parts = adapter.sample_proba(task.X_test), adapter.predict_uncertainty(task.X_test)
    monkeypatch.setattr(FittedModel, "bytes_per_chunk", 300)
    assert max(len(rows) for _, rows, _ in adapter._in_chunks(task.X_test)) == 9
    np.testing.assert_allclose(adapter.sample_proba(task.X_test), draws, atol=1e-12)
    for part, again in zip(parts, adapter.predict_uncertainty(task.X_test), strict=True):
        np.testing.assert_allclose(part, again, atol=1e-12)


def test_netcal_takes_the_draws_as_they_are(task):
    adapter = adapter_for(task.text).fit(task.X, task.y)
    draws = adapter.sample_proba(task.X_test)
    bayesian = ECE(10).measure(draws, task.y_test)
    expected = expected_calibration_error(task.y_test, draws.mean(axis=0))
    assert bayesian == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("posterior", ["map", *POSTERIORS])
def test_entropy_is_aleatoric_plus_epistemic(task, posterior):
    adapter = adapter_for(task.text, posterior).fit(task.X, task.y)
    parts = adapter.predict_uncertainty(task.X_test)
    proba = adapter.predict_proba(task.X_test)
    of_prediction = -(proba * np.log(proba)).sum(axis=1)
    if posterior == "map":  # It averages only to say what it does not know.
        assert parts.entropy.mean() > of_prediction.mean()
    else:
        np.testing.assert_allclose(parts.entropy, of_prediction, atol=1e-9)
    np.testing.assert_allclose(parts.entropy, parts.aleatoric + parts.epistemic)
    np.testing.assert_allclose(parts.confidence, proba.max(axis=1))
    assert np.all(parts.epistemic > 0)


def test_more_labels_remove_the_epistemic_part():
    few, many = (make_task(shots=shots, n_test=200) for shots in (2, 40))
    spread = [
        adapter_for(task.text).fit(task.X, task.y).predict_uncertainty(few.X_test).epistemic.mean()
        for task in (few, many)
    ]
    assert spread[1] < 0.5 * spread[0]


def test_the_paper_recipe_has_the_same_methods(task):
    recipe = BayesAdapterClassifier.from_recipe("paper", task.text, max_iter=5, random_state=0)
    recipe.fit(task.X, task.y)
    assert recipe.sample_proba(task.X_test).shape == (10, 80, 4)
    np.testing.assert_allclose(
        recipe.sample_proba(task.X_test).mean(axis=0), recipe.predict_proba(task.X_test)
    )
    assert np.all(recipe.predict_uncertainty(task.X_test).epistemic >= 0)
    assert recipe.acquisition(task.X_test).shape == (80,)


# -- what to label next ---------------------------------------------------------------


def test_acquisition_is_larger_where_a_label_is_worth_more(task):
    adapter = adapter_for(task.text).fit(task.X, task.y)
    parts = adapter.predict_uncertainty(task.X_test)
    np.testing.assert_array_equal(adapter.acquisition(task.X_test), parts.epistemic)
    np.testing.assert_allclose(adapter.acquisition(task.X_test, kind="entropy"), parts.entropy)
    top = np.sort(adapter.predict_proba(task.X_test), axis=1)
    np.testing.assert_allclose(
        adapter.acquisition(task.X_test, kind="margin"), 1 - (top[:, -1] - top[:, -2])
    )


def test_without_spread_a_small_one_says_what_is_not_known(task):
    small = adapter_for(task.text, temperature=0.03, n_samples=4096)
    expected = small.fit(task.X, task.y).predict_uncertainty(task.X_test)
    none = adapter_for(task.text, temperature=0.0).fit(task.X, task.y)
    parts = none.predict_uncertainty(task.X_test)
    # Its draws are others, of which there are fewer.
    np.testing.assert_allclose(parts.epistemic, expected.epistemic, rtol=0.2, atol=2e-3)
    np.testing.assert_allclose(parts.aleatoric, expected.aleatoric, rtol=0.05, atol=2e-3)
    np.testing.assert_array_equal(none.acquisition(task.X_test), parts.epistemic)
    proba = none.predict_proba(task.X_test)
    np.testing.assert_array_equal(parts.confidence, proba.max(axis=1))
    np.testing.assert_allclose(
        none.acquisition(task.X_test, kind="entropy"), -(proba * np.log(proba)).sum(axis=1)
    )


def test_the_mode_ranks_rows_by_the_spread_it_does_not_average_over(task):
    """Its precision is the diagonal one."""
    mode = adapter_for(task.text, "map").fit(task.X, task.y)
    diagonal = adapter_for(task.text, covariance="diagonal", temperature=0.0)
    diagonal.fit(task.X, task.y)
    np.testing.assert_allclose(
        mode.acquisition(task.X_test), diagonal.acquisition(task.X_test), rtol=1e-6
    )


def test_what_cannot_be_asked_is_refused(task):
    adapter = adapter_for(task.text).fit(task.X, task.y)
    with pytest.raises(ValueError, match="kind must be one of 'bald', 'entropy', 'margin'; got"):
        adapter.acquisition(task.X_test, kind="random")
    with pytest.raises(ValueError, match="n_samples must be at least 1; got 0"):
        adapter.sample_proba(task.X_test, 0)


# -- automatic choices ----------------------------------------------------------------


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_chosen_posterior_temperature_is_no_worse_than_the_true_posterior(posterior, seed):
    task = make_task(n_classes=6, n_features=24, shots=4, n_test=400, seed=seed)

    def loss(temperature):
        adapter = BayesAdapterClassifier(
            task.text,
            posterior=posterior(temperature=temperature),
            random_state=0,
            tol=1e-4,
        ).fit(task.X, task.y)
        return log_loss(task.y_test, adapter.predict_proba(task.X_test))

    assert loss("auto") < loss(1.0)


def test_the_paper_temperature_of_the_posterior(task):
    adapter = adapter_for(task.text, temperature="paper").fit(task.X, task.y)
    assert adapter.posterior_temperature_ == pytest.approx(24 / (500 * 4 * 16))


def test_another_fit_forgets_the_posterior(task):
    adapter = adapter_for(task.text, Variational).fit(task.X, task.y)
    assert adapter.elbo_ < 0
    adapter.set_params(posterior="map").fit(task.X, task.y)
    assert not hasattr(adapter, "elbo_")
    assert adapter.posterior_temperature_ == 0


def test_an_isotropic_posterior_has_one_deviation_per_class(task):
    """Scaled by the posterior temperature, and narrower than the prior's."""
    adapter = adapter_for(task.text, prior_shape="isotropic", covariance="isotropic")
    adapter.fit(task.X, task.y)
    assert adapter.posterior_std_.shape == (4,)
    assert np.all(adapter.posterior_std_ < np.sqrt(0.1 / 20.0))


# -- the prior of CLAP ----------------------------------------------------------------


def test_a_class_without_image_has_the_mean_multiplier(task):
    keep = task.y != 2
    adapter = BayesAdapterClassifier(
        Prototypes(task.text, range(4)), prior_precision="clap", temperature=1.0
    ).fit(task.X[keep], task.y[keep])
    others = adapter.prior_precision_[[0, 1, 3]]
    assert adapter.prior_precision_[2] == pytest.approx(others.mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("posterior", [Laplace, Variational])
def test_the_default_number_of_draws_is_near_the_limit(posterior, seed):
    """32 draws were up to 0.1 away, and a tenth of the epistemic entropy."""
    task = make_task(n_classes=12, shots=2, seed=seed)
    parameters = {"prior_precision": 20.0, "temperature": 1.0, "random_state": seed}
    found, limit = (
        BayesAdapterClassifier(task.text, posterior=details, **parameters).fit(task.X, task.y)
        for details in (posterior(temperature=1.0), posterior(temperature=1.0, n_samples=8192))
    )
    error = np.abs(found.predict_proba(task.X_test) - limit.predict_proba(task.X_test)).max()
    assert error < 0.05
    epistemic = [c.predict_uncertainty(task.X_test).epistemic for c in (found, limit)]
    assert np.abs(epistemic[0] - epistemic[1]).mean() < 0.04 * epistemic[1].mean()
