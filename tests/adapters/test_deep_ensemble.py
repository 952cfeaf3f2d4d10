"""Deep ensembles: the mean of members, labels as they are, seeds everywhere."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skclip import DeepEnsembleClassifier, LinearProbeClassifier, Prototypes


def probe(text, **parameters):
    return LinearProbeClassifier(text, init="random", max_iter=5, **parameters)


def seeds(ensemble):
    return [member.random_state for member in ensemble.estimators_]


def test_it_is_the_mean_of_its_members(task):
    ensemble = DeepEnsembleClassifier(probe(task.text), n_members=3, random_state=0)
    ensemble.fit(task.X, task.y)
    members = [
        probe(task.text, random_state=seed).fit(task.X, task.y).predict_proba(task.X_test)
        for seed in seeds(ensemble)
    ]
    assert len(set(seeds(ensemble))) == 3
    np.testing.assert_allclose(ensemble.predict_proba(task.X_test), np.mean(members, axis=0))
    np.testing.assert_array_equal(ensemble.sample_proba(task.X_test), members)


def test_it_is_scikit_learns_soft_vote(task):
    ensemble = DeepEnsembleClassifier(probe(task.text), n_members=3, random_state=0)
    ensemble.fit(task.X, task.y)
    vote = VotingClassifier(
        [(str(seed), probe(task.text, random_state=seed)) for seed in seeds(ensemble)],
        voting="soft",
    ).fit(task.X, task.y)
    np.testing.assert_allclose(
        ensemble.predict_proba(task.X_test), vote.predict_proba(task.X_test), rtol=1e-12
    )


def test_prototypes_with_names_fit(task):
    """A soft vote would show the members codes in place of the names."""
    names = np.array(["d", "b", "c", "a"])
    ensemble = DeepEnsembleClassifier(
        probe(Prototypes(task.text, names)), n_members=2, random_state=0
    ).fit(task.X, names[task.y])
    assert ensemble.classes_.tolist() == ["a", "b", "c", "d"]
    assert set(ensemble.predict(task.X_test)) <= set(names)


def test_the_decision_function_is_the_logarithm_of_the_mean(task):
    ensemble = DeepEnsembleClassifier(probe(task.text), n_members=2, random_state=0)
    ensemble.fit(task.X, task.y)
    p = ensemble.predict_proba(task.X_test)
    np.testing.assert_allclose(ensemble.decision_function(task.X_test), np.log(p))


def test_seeds_of_nested_estimators_are_set_and_the_original_is_not(task):
    pipeline = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=3))
    ensemble = DeepEnsembleClassifier(pipeline, n_members=2, random_state=0).fit(task.X, task.y)
    first, second = (member[-1] for member in ensemble.estimators_)
    assert first.random_state != second.random_state
    assert not np.array_equal(first.coef_, second.coef_)
    assert pipeline[-1].random_state == 3


def test_uncertainty_is_disagreement(task):
    ensemble = DeepEnsembleClassifier(probe(task.text), n_members=3, random_state=0)
    parts = ensemble.fit(task.X, task.y).predict_uncertainty(task.X_test)
    draws = ensemble.sample_proba(task.X_test)
    aleatoric = -(draws * np.log(draws)).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(parts.aleatoric, aleatoric)
    np.testing.assert_allclose(parts.entropy, parts.aleatoric + parts.epistemic)
    assert np.all(parts.epistemic > 0)


def test_equal_members_do_not_disagree(task):
    """A convex problem has one optimum, wherever the seed starts."""
    convex = LinearProbeClassifier(task.text)
    ensemble = DeepEnsembleClassifier(convex, n_members=2, random_state=0).fit(task.X, task.y)
    parts = ensemble.predict_uncertainty(task.X_test)
    np.testing.assert_allclose(parts.epistemic, 0.0, atol=1e-12)


def test_weights_and_names_reach_the_members(task):
    X = pd.DataFrame(task.X, columns=[f"x{j}" for j in range(16)])
    weight = np.arange(1.0, 25.0)
    convex = LinearProbeClassifier(task.text)
    ensemble = DeepEnsembleClassifier(convex, n_members=1).fit(X, task.y, sample_weight=weight)
    direct = LinearProbeClassifier(task.text).fit(X, task.y, sample_weight=weight)
    np.testing.assert_array_equal(ensemble.estimators_[0].coef_, direct.coef_)
    assert ensemble.feature_names_in_.tolist() == X.columns.tolist()


def test_an_estimator_without_a_seed_is_refused(task):
    message = "Members of an ensemble differ by their random_state; got GaussianNB, which has none"
    with pytest.raises(ValueError, match=message):
        DeepEnsembleClassifier(GaussianNB()).fit(task.X, task.y)
