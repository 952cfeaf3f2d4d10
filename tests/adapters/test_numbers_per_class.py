"""Numbers per class are read by label where they have labels."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from skclip import (
    BayesAdapterClassifier,
    CLAPClassifier,
    CosineBayesAdapterClassifier,
    GaussianDAClassifier,
)

PARAMETERS = [
    (BayesAdapterClassifier, "prior_precision"),
    (partial(CosineBayesAdapterClassifier, random_state=0), "prior_precision"),
    (CLAPClassifier, "multipliers"),
    (GaussianDAClassifier, "priors"),
]


@pytest.fixture
def named(task):
    y = np.char.mod("class %d", task.y)
    names = np.unique(y)
    return task.X, y, task.text, pd.Series(np.arange(1.0, 1 + len(names)), index=names)


@pytest.mark.parametrize(("Classifier", "parameter"), PARAMETERS)
def test_numbers_per_class_are_read_by_label(named, Classifier, parameter):
    X, y, text, numbers = named

    def logits(values):
        return Classifier(text, **{parameter: values}).fit(X, y).logits(X)

    expected = logits(numbers.to_numpy())
    turned = numbers[::-1]
    np.testing.assert_array_equal(logits(turned), expected)
    np.testing.assert_array_equal(logits(turned.to_dict()), expected)
    assert np.abs(logits(turned.to_numpy()) - expected).max() > 1e-4


@pytest.mark.parametrize(("Classifier", "parameter"), PARAMETERS)
def test_numbers_of_other_classes_are_refused(named, Classifier, parameter):
    X, y, text, numbers = named
    wrong = [
        (numbers[1:], "no entry for 'class 0'"),
        (numbers.reset_index(drop=True), "no entry for 'class 0', "),
        ({**numbers, "class": 1.0}, "got entries for 'class'"),
        (pd.concat([numbers, numbers[:1]]), "several for one class"),
    ]
    for values, message in wrong:
        with pytest.raises(ValueError, match=rf"{parameter} as a dict or Series .*{message}"):
            Classifier(text, **{parameter: values}).fit(X, y)
