"""Labels that are written otherwise than the classes are no wrong predictions."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skclip import BayesAdapterClassifier
from skclip.datasets import make_clip_features
from skclip.metrics import class_table, get_scorer, get_scorer_names

OTHERWISE = r"must be written as the classes that are predicted, in type and spelling; got "


@pytest.fixture(scope="module")
def named():
    data = make_clip_features(5, 4, random_state=0)
    return data.X, np.array(["cat", "dog", "eel", "fox"])[data.y], data.y


@pytest.mark.parametrize("Classifier", [BayesAdapterClassifier, LogisticRegression])
def test_scores_refuse_labels_of_another_spelling_or_type(named, Classifier):
    X, y, codes = named
    classifier = Classifier().fit(X, y)
    scorers = [get_scorer(name) for name in get_scorer_names()]
    if Classifier is BayesAdapterClassifier:
        scorers.append(lambda estimator, X, y: estimator.score(X, y))
    for scorer in scorers:
        scorer(classifier, X, y)
        scorer(classifier, X, np.where(y == "cat", "cow", y))  # unknown, and therefore wrong
        for other in (np.char.upper(y), codes):
            with pytest.raises(ValueError, match=OTHERWISE):
                scorer(classifier, X, other)


def test_shots_are_not_counted_of_labels_of_another_spelling(named):
    X, y, codes = named
    proba = LogisticRegression().fit(X, y).predict_proba(X)
    assert class_table(y, proba, y_train=y)["shots"].tolist() == [5] * 4
    assert class_table(y, proba, y_train=["cat", "cow"])["shots"].tolist() == [1, 0, 0, 0]
    for other in (np.char.capitalize(y), codes):
        with pytest.raises(ValueError, match="y_train " + OTHERWISE):
            class_table(y, proba, y_train=other)
