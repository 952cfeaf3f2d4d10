"""Learning in batches: the posterior becomes the prior."""

import pickle

import numpy as np
import pytest

from skclip import BayesAdapterClassifier, Laplace, Prototypes, Variational
from skclip.exceptions import PrototypeMismatchError

from .conftest import make_task


def adapter_for(prototypes, **changes):
    parameters = {"prior_precision": 10.0, "temperature": 1.0, "random_state": 0, **changes}
    return BayesAdapterClassifier(prototypes, **parameters)


def halves(task, shots=6):
    first = np.arange(len(task.y)) < len(task.y) // 2
    return first, ~first


def distance(left, right):
    return np.abs(left - right).mean()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"posterior": Laplace("diagonal", temperature=0.0)},
        {"prior_shape": "isotropic"},
        {"posterior": Laplace(temperature=0.05)},
        {"posterior": Variational(temperature=0.05)},
        # A precision of "auto" hardly is a prior for these random texts, and a Gaussian says
        # little about the weights of few rows without one.
        {"temperature": "auto", "logit_scale": 10.0},
    ],
)
@pytest.mark.parametrize(("n_features", "text"), [(32, True), (8, True), (32, False)])
def test_two_batches_are_close_to_one_fit(parameters, n_features, text):
    """Much closer than either batch alone, within and beyond the span of the first."""
    task = make_task(n_classes=6, n_features=n_features, shots=8)
    prototypes = task.text if text else None
    first, second = halves(task)

    def make(**changes):
        return adapter_for(prototypes, **{"logit_scale": 30.0, **parameters, **changes})

    online = make().partial_fit(task.X[first], task.y[first])
    alone = online.predict_proba(task.X_test)
    chosen = {"prior_precision": online.prior_precision_, "temperature": online.temperature_}
    online.partial_fit(task.X[second], task.y[second])
    both = make(**chosen).fit(task.X, task.y).predict_proba(task.X_test)
    other = make(**chosen).fit(task.X[second], task.y[second]).predict_proba(task.X_test)
    error = distance(online.predict_proba(task.X_test), both)
    assert error < 0.5 * distance(alone, both)
    assert error < 0.5 * distance(other, both)


def test_the_first_batch_is_fit(task):
    batch = adapter_for(task.text).partial_fit(task.X, task.y)
    whole = adapter_for(task.text).fit(task.X, task.y)
    np.testing.assert_array_equal(
        batch.predict_proba(task.X_test), whole.predict_proba(task.X_test)
    )


def test_a_batch_of_no_weight_changes_nothing(task):
    adapter = adapter_for(task.text).partial_fit(task.X[:12], task.y[:12])
    before = adapter.predict_proba(task.X_test)
    adapter.partial_fit(task.X[12:], task.y[12:], sample_weight=np.full(12, 1e-12))
    np.testing.assert_allclose(adapter.predict_proba(task.X_test), before, atol=1e-9)


def test_a_fitted_mode_can_be_continued(task):
    """From the diagonal of its precision."""
    continued = adapter_for(task.text).fit(task.X[:12], task.y[:12])
    alone = continued.predict_proba(task.X_test)
    continued.partial_fit(task.X[12:], task.y[12:])
    whole = adapter_for(task.text).fit(task.X, task.y).predict_proba(task.X_test)
    error = distance(continued.predict_proba(task.X_test), whole)
    assert error < 0.5 * distance(alone, whole)


def test_fit_with_a_posterior_can_be_continued(task):
    fitted = adapter_for(task.text, posterior=Laplace(temperature=0.1))
    continued = fitted.fit(task.X[:12], task.y[:12]).partial_fit(task.X[12:], task.y[12:])
    batches = adapter_for(task.text, posterior=Laplace(temperature=0.1))
    batches.partial_fit(task.X[:12], task.y[:12]).partial_fit(task.X[12:], task.y[12:])
    np.testing.assert_array_equal(
        continued.predict_proba(task.X_test), batches.predict_proba(task.X_test)
    )


@pytest.mark.parametrize(
    "posterior",
    ["map", Laplace("diagonal", temperature=0.02), Variational(temperature=0.02)],
    ids=["map", "laplace", "variational"],
)
@pytest.mark.parametrize("labels", [range(4), ["d", "b", "c", "a"]])
def test_a_new_class_arrives_with_its_prototype(posterior, labels):
    """It is learned, and the first classes are not forgotten."""
    task = make_task(shots=8, n_test=200)
    labels = np.array(list(labels))
    y, y_test = labels[task.y], labels[task.y_test]
    old = task.y != 0
    known = Prototypes(task.text[1:], labels[1:])
    adapter = adapter_for(known, posterior=posterior)
    adapter.partial_fit(task.X[old], y[old])
    adapter.set_params(prototypes=Prototypes(task.text, labels))
    adapter.partial_fit(task.X[~old], y[~old])
    assert adapter.classes_.tolist() == sorted(labels.tolist())
    assert adapter.prototypes_.shape == (4, 16)
    assert adapter.prior_precision_.shape == (4,)
    whole = adapter_for(Prototypes(task.text, labels)).fit(task.X, y)
    assert adapter.score(task.X_test, y_test) > whole.score(task.X_test, y_test) - 0.1
    assert (adapter.predict(task.X_test[task.y_test == 0]) == labels[0]).mean() > 0.5


def test_classes_that_arrive_one_by_one_are_all_remembered():
    task = make_task(n_classes=6, shots=8, n_test=300)
    adapter = adapter_for(None)
    for c in range(6):
        # The second class is announced with the first: one class alone is no classification.
        known = max(c + 1, 2)
        adapter.set_params(prototypes=Prototypes(task.text[:known], range(known)))
        adapter.partial_fit(task.X[task.y == c], task.y[task.y == c])
    whole = adapter_for(task.text).fit(task.X, task.y)
    assert adapter.score(task.X_test, task.y_test) > whole.score(task.X_test, task.y_test) - 0.1


def test_classes_may_be_announced(task):
    adapter = adapter_for(task.text)
    some = task.y < 3
    adapter.partial_fit(task.X[some], task.y[some], classes=range(4))
    assert adapter.classes_.tolist() == [0, 1, 2, 3]
    adapter.partial_fit(task.X[~some], task.y[~some])
    assert adapter.score(task.X, task.y) > 0.8


def test_without_text_classes_may_be_announced_or_arrive(task):
    announced = adapter_for(None, logit_scale=30.0)
    announced.partial_fit(task.X[task.y < 2], task.y[task.y < 2], classes=[0, 1, 2, 3])
    later = adapter_for(None, logit_scale=30.0)
    later.partial_fit(task.X[task.y < 2], task.y[task.y < 2])
    for adapter in (announced, later):
        adapter.partial_fit(task.X[task.y >= 2], task.y[task.y >= 2])
        assert adapter.classes_.tolist() == [0, 1, 2, 3]
        assert adapter.score(task.X_test, task.y_test) > 0.6


def test_memory_does_not_grow_with_the_batches(task):
    """Precisions of c classes in at most d directions and the bias."""
    adapter = adapter_for(task.text)
    for seed in range(12):
        more = make_task(seed=seed, n_test=1)
        adapter.partial_fit(more.X, more.y)
    assert adapter.posterior_precision_["basis"].shape == (16, 16)
    assert len(adapter.posterior_precision_["factor"]) <= 4 * 17


def test_the_state_survives_pickling(task):
    adapter = adapter_for(task.text).partial_fit(task.X[:12], task.y[:12])
    copy = pickle.loads(pickle.dumps(adapter))
    for one in (adapter, copy):
        one.partial_fit(task.X[12:], task.y[12:])
    np.testing.assert_array_equal(
        adapter.predict_proba(task.X_test), copy.predict_proba(task.X_test)
    )


# -- errors ---------------------------------------------------------------------------


def test_a_refused_batch_leaves_the_model_as_it_was(task):
    adapter = adapter_for(Prototypes(task.text, range(4))).partial_fit(task.X, task.y)
    before = adapter.predict_proba(task.X_test)
    with pytest.raises(PrototypeMismatchError, match="Every class of y needs a prototype"):
        adapter.partial_fit(task.X, task.y + 1)
    np.testing.assert_array_equal(adapter.predict_proba(task.X_test), before)


def test_balanced_weights_are_refused(task):
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
        adapter_for(task.text, class_weight="balanced").partial_fit(task.X, task.y)


def test_batches_have_labels_of_one_type(task):
    """NumPy would make strings of all, and 0 and "class 0" two classes."""
    names = np.char.mod("class %d", task.y)
    one_type = r"must hold labels of one type; got .* Convert them all, for instance with str\("
    for first, then in [(names, task.y), (task.y, names), (task.y, task.y > 0)]:
        adapter = BayesAdapterClassifier().partial_fit(task.X, first)
        before = adapter.classes_
        with pytest.raises(ValueError, match=one_type):
            adapter.partial_fit(task.X, then)
        assert adapter.classes_ is before
        with pytest.raises(ValueError, match=one_type):
            BayesAdapterClassifier().partial_fit(task.X, first, classes=np.unique(then))
    adapter = BayesAdapterClassifier().partial_fit(task.X, task.y)
    with pytest.raises(ValueError, match=one_type):
        adapter.partial_fit(task.X, task.y, classes=["class 0"])


def test_labels_that_are_not_among_the_classes_given_are_refused(task):
    some = task.y < 2
    with pytest.raises(ValueError, match=r"in classes, where .* and classes are 0, 1\. Add"):
        BayesAdapterClassifier().partial_fit(task.X, task.y, classes=[0, 1])
    adapter = BayesAdapterClassifier().partial_fit(task.X[some], task.y[some], classes=[0, 1])
    adapter.partial_fit(task.X[some], task.y[some], classes=[2])
    np.testing.assert_array_equal(adapter.classes_, [0, 1, 2])
