"""Acceptance by class and by group: by hand, against scipy, and its error rates by simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.frozen import FrozenEstimator

from skclip import BayesAdapterClassifier, SelectiveClassifier
from skclip.datasets import make_clip_features
from skclip.exceptions import GuaranteeWarning
from skclip.metrics import ClassReliabilityDisplay, ErrorDisplay, selective_table

plt = pytest.importorskip("matplotlib.pyplot")

PROBA = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55], [0.7, 0.3]])
TRUE = ["cat", "cat", "dog", "dog", "dog"]
ACCEPTED = np.array([True, True, True, False, True])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize(
    ("by", "index", "rows", "accepted", "wrong"),
    [
        ("true", ["cat", "dog"], [2, 3], [2, 2], [1, 1]),
        ("predicted", ["cat", "dog"], [2, 3], [2, 2], [1, 1]),
        (["b", "a", "a", "a", "b"], ["a", "b"], [3, 2], [2, 2], [1, 1]),
        ([1, 1, 2, 3, 1], [1, 2, 3], [3, 1, 1], [3, 1, 0], [2, 0, 0]),
    ],
)
def test_rows_are_counted_by_hand(by, index, rows, accepted, wrong):
    table = selective_table(TRUE, PROBA, ACCEPTED, by=by)
    assert table.index.tolist() == index
    assert table["rows"].tolist() == rows
    assert table["accepted"].tolist() == accepted
    assert table["wrong"].tolist() == wrong
    np.testing.assert_allclose(table["coverage"], np.divide(accepted, rows))
    assert table["risk"].isna().tolist() == [m == 0 for m in accepted]


def test_the_interval_is_scipys_exact_one():
    rng = np.random.default_rng(0)
    y, proba = rng.integers(3, size=200), rng.dirichlet(np.ones(3), size=200)
    table = selective_table(y, proba, proba.max(axis=1) > 0.5, confidence_level=0.9)
    for row in table.itertuples():
        exact = binomtest(row.wrong, row.accepted).proportion_ci(0.9, method="exact")
        assert (row.risk_low, row.risk_high) == pytest.approx((exact.low, exact.high))


def test_verdicts_say_what_is_shown():
    """Of five classes of 100 rows each: all right, all wrong, too few, none accepted, none seen."""
    y, wrong = np.repeat(np.arange(5), 100), np.zeros(500, bool)
    wrong[100:200] = True
    accepted = np.ones(500, bool)
    accepted[205:300] = accepted[300:400] = False
    proba = np.eye(5)[np.where(wrong, (y + 1) % 5, y)]
    table = selective_table(
        y, proba, accepted, y_support=[0, 0, 1, 2, 3], target_risk=0.1, confidence_level=0.95
    )
    expected = ["below target", "above target", "open", "nothing accepted", "no support"]
    assert table["verdict"].tolist() == expected
    assert table["support"].tolist() == [2, 1, 1, 1, 0]


@pytest.mark.parametrize("target", [0.02, 0.1])
def test_a_class_at_its_target_is_seldom_called_above_or_below(target):
    """Twenty classes whose risk is the target: 5 % of the tables at most, each way."""
    rng, found = np.random.default_rng(0), []
    y = np.repeat(np.arange(20), 50)
    for _ in range(200):
        proba = np.eye(20)[np.where(rng.random(len(y)) < target, (y + 1) % 20, y)]
        verdict = selective_table(y, proba, np.ones(len(y), bool), target_risk=target)["verdict"]
        found.append([(verdict == "above target").any(), (verdict == "below target").any()])
    assert (np.mean(found, axis=0) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accepted": [1, 1, 0, 0, 1]}, "accepted must be 5 booleans"),
        ({"accepted": [True]}, "accepted must be 5 booleans"),
        ({"by": "class"}, "by must be 'true', 'predicted' or an array"),
        ({"by": ["a"]}, "by must have a group for each of the 5 rows"),
        ({"target_risk": 5}, "target_risk must be a fraction"),
        ({"confidence_level": 95}, "confidence_level must be a fraction"),
    ],
)
def test_what_is_not_as_described_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        selective_table(TRUE, PROBA, **({"accepted": ACCEPTED} | change))


# -- displays -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def selective():
    data = make_clip_features(8, 5, n_test_per_class=80, random_state=0)
    classifier = FrozenEstimator(BayesAdapterClassifier(data.prototypes).fit(data.X, data.y))
    fitted = SelectiveClassifier(classifier, coverage=0.7).fit(data.X_test[::2], data.y_test[::2])
    return fitted, data.X_test[1::2], data.y_test[1::2]


def test_abstentions_have_a_column(selective):
    """Of a selective classifier they are found without being passed."""
    fitted, X, y = selective
    display = ErrorDisplay.from_estimator(fitted, X, y)
    accepted = fitted.accept(X)
    assert 0 < accepted.sum() < len(y)
    np.testing.assert_array_equal(display.abstained, np.bincount(y[~accepted], minlength=5))
    assert display.confusion.sum() == accepted.sum()
    assert display.ax_.get_xticklabels()[-1].get_text() == "(abstains)"
    assert display.ax_.images[0].get_array().shape[:2] == (5, 6)
    assert accepted[display.mistakes(100)].all()
    table = selective_table(y, fitted.predict_proba(X), accepted)
    assert len(display.mistakes(1000)) == table["wrong"].sum()


def test_without_abstentions_the_matrix_is_square(selective):
    fitted, X, y = selective
    display = ErrorDisplay.from_estimator(fitted.estimator_, X, y)
    assert display.ax_.images[0].get_array().shape[:2] == (5, 5)
    assert display.abstained.tolist() == [0] * 5


def test_classes_are_judged_by_those_predicted_as_them(selective):
    fitted, X, y = selective
    display = ClassReliabilityDisplay.from_estimator(fitted, X, y)
    proba = fitted.predict_proba(X)
    chosen = proba.argmax(axis=1) == 2
    assert display.count[2] == chosen.sum()
    assert display.confidence[2] == pytest.approx(proba[chosen].max(axis=1).mean())
    assert display.accuracy[2] == pytest.approx((y[chosen] == 2).mean())
    exact = binomtest(int((y[chosen] == 2).sum()), int(chosen.sum())).proportion_ci(0.95)
    assert (display.low[2], display.high[2]) == pytest.approx((exact.low, exact.high))


def test_a_class_is_seldom_called_wrong_whose_confidence_is_right():
    """Labels drawn from the probabilities: 5 % of the classes; and over-confidence is seen."""
    rng, called, seen = np.random.default_rng(0), [], []
    for _ in range(40):
        logits = rng.normal(scale=2, size=(1000, 10))
        y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        for sharpness, found in ((1, called), (2, seen)):
            proba = np.exp(sharpness * logits)
            proba /= proba.sum(axis=1, keepdims=True)
            display = ClassReliabilityDisplay.from_predictions(y, proba)
            found.extend(display.is_wrong)
            plt.close("all")
    assert np.mean(called) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(seen) > 0.5


def test_of_many_classes_the_worst_are_drawn():
    """The most over-confident first, the most under-confident last; absent ones not at all."""
    y = np.repeat(np.arange(30), 4)
    confidence = np.linspace(0.6, 0.9, 30)[y]
    proba = np.zeros((120, 31))
    proba[np.arange(120), y], proba[:, 30] = confidence, 1 - confidence
    display = ClassReliabilityDisplay.from_predictions(y, proba, labels=np.arange(31), n_classes=5)
    shown = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert shown == ["29 (4)", "28 (4)", "27 (4)", "1 (4)", "0 (4)"]
    with pytest.raises(ValueError, match="confidence_level must be a fraction"):
        ClassReliabilityDisplay.from_predictions(y, proba, labels=range(31), confidence_level=95)


def test_a_class_without_calibration_rows_is_said():
    data = make_clip_features(8, 5, n_test_per_class=80, random_state=0)
    classifier = FrozenEstimator(BayesAdapterClassifier(data.prototypes).fit(data.X, data.y))
    some = data.y_test != 3
    selective = SelectiveClassifier(classifier, target_risk=0.1)
    with pytest.warns(GuaranteeWarning, match="Every class needs calibration rows.* none of 3"):
        selective.fit(data.X_test[some], data.y_test[some])
    assert selective.calibration_class_counts_.tolist() == [80, 80, 80, 0, 80]
