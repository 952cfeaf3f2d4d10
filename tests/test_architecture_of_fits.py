"""Every fit leaves one model and its public attributes, enforced on every classifier."""

import inspect

import pytest
from sklearn.base import ClassifierMixin

import skclip
from skclip.datasets import make_clip_features

# What a constructor needs besides prototypes or an estimator, with fifteen images.
NEEDED = {
    "SelectiveClassifier": {"coverage": 0.5},
    "OpenSetClassifier": {"false_alarm_rate": 0.2},
}
PUBLIC = {name: getattr(skclip, name) for name in skclip.__all__}
CLASSIFIERS = sorted(
    name
    for name, value in PUBLIC.items()
    if isinstance(value, type) and issubclass(value, ClassifierMixin)
)


def fitted(name, data):
    cls, given = PUBLIC[name], dict(NEEDED.get(name, {}))
    parameters = inspect.signature(cls).parameters
    if "estimator" in parameters:
        given["estimator"] = skclip.BayesAdapterClassifier(data.prototypes)
    if "prototypes" in parameters:
        given["prototypes"] = data.prototypes
    if "random_state" in parameters:
        given["random_state"] = 0
    return cls(**given).fit(data.X, data.y)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def classifier(request):
    """Fitted to 5 rows of each of 3 classes."""
    data = make_clip_features(5, 3, n_features=12, n_informative=8, random_state=0)
    return fitted(request.param, data)


def test_the_model_is_the_only_private_attribute(classifier):
    """What predictions depend on lies in one object, which everything after fit asks."""
    assert {name for name in vars(classifier) if name.startswith("_")} <= {"_model"}


def test_an_attribute_is_a_parameter_or_the_outcome_of_fit(classifier):
    """scikit-learn's convention: parameters as given, outcomes with an underscore at the end."""
    parameters = classifier.get_params(deep=False)
    others = {name for name in vars(classifier) if not name.endswith("_") and name != "_model"}
    assert others == set(parameters)
