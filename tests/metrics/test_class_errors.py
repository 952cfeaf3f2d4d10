"""Errors by class, the display of them, and labels that are probably wrong."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from sklearn.model_selection import cross_val_predict

from skclip.datasets import make_clip_features
from skclip.metrics import ErrorDisplay, class_table, probable_label_errors


@pytest.fixture(scope="module")
def predictions():
    """Labels of 6 classes, a twentieth of them wrong, and left-out probabilities."""
    data = make_clip_features(40, 6, random_state=0)
    rng = np.random.default_rng(0)
    y = data.y.copy()
    wrong = rng.choice(len(y), len(y) // 20, replace=False)
    y[wrong] = (y[wrong] + rng.integers(1, 6, len(wrong))) % 6
    model = LogisticRegression(C=10, max_iter=1000)
    return y, cross_val_predict(model, data.X, y, cv=5, method="predict_proba"), set(wrong.tolist())


def test_the_table_is_that_of_scikit_learn(predictions):
    y, proba, _ = predictions
    names = np.array(list("abcdef"))
    table = class_table(names[y], proba, labels=names, y_train=["a", "a", "b"])
    predicted = proba.argmax(axis=1)
    np.testing.assert_allclose(table["precision"], precision_score(y, predicted, average=None))
    np.testing.assert_allclose(table["recall"], recall_score(y, predicted, average=None))
    assert table["images"].tolist() == np.bincount(y).tolist()
    assert table["shots"].tolist() == [2, 1, 0, 0, 0, 0]
    assert list(table.index) == list("abcdef")
    chosen = predicted == 2
    gap = proba[chosen].max(axis=1).mean() - (y[chosen] == 2).mean()
    assert table["overconfidence"].iloc[2] == pytest.approx(gap)


def test_a_share_of_nothing_is_no_number():
    table = class_table(["a"], [[1.0, 0.0]], labels=["a", "b"])
    assert np.isnan(table.loc["b", ["recall", "precision", "overconfidence"]]).all()
    assert table["images"].tolist() == [1, 0]


def test_label_errors_are_those_of_cleanlab(predictions):
    """Which rows, and their order."""
    cleanlab = pytest.importorskip("cleanlab.filter", reason="needs cleanlab")
    y, proba, wrong = predictions
    theirs = cleanlab.find_label_issues(
        y, proba, filter_by="confident_learning", return_indices_ranked_by="self_confidence"
    )
    ours = probable_label_errors(y, proba)
    assert ours.tolist() == theirs.tolist()
    assert len(wrong & set(ours.tolist())) >= 0.8 * len(wrong)


def test_of_right_labels_with_sure_predictions_none_is_wrong():
    y = np.repeat([0, 1], 5)
    proba = np.where(np.eye(2)[y] > 0, 0.9, 0.1)
    assert probable_label_errors(y, proba).tolist() == []
    assert probable_label_errors([0, 1], proba[[5, 5]], labels=[0, 1]).tolist() == [0]


def test_the_display_counts_ranks_and_draws(predictions):
    y, proba, _ = predictions
    display = ErrorDisplay.from_predictions(y, proba, name="mine")
    predicted = proba.argmax(axis=1)
    np.testing.assert_array_equal(display.confusion, confusion_matrix(y, predicted))
    rows = display.mistakes(5)
    assert (predicted[rows] != y[rows]).all()
    confidence = proba.max(axis=1)
    assert (np.diff(confidence[rows]) <= 0).all()
    assert confidence[rows[0]] == confidence[predicted != y].max()
    assert display.least_sure(1)[0] == confidence.argmin()
    assert display.ax_.get_title() == "mine"
    assert {text.get_text() for text in display.ax_.texts} == {
        str(count) for count in display.confusion.ravel() if count
    }
    images = np.zeros((len(y), 4, 4, 3), np.uint8)
    figure = display.plot_images(images)
    assert figure.axes[0].get_title() == display.caption(rows[0])
    assert f"is {y[rows[0]]}" in display.caption(rows[0])
    plt.close("all")


def test_many_classes_are_drawn_without_names():
    y = np.arange(60)
    display = ErrorDisplay.from_predictions(y, np.eye(60))
    assert not display.ax_.texts
    assert len(display.mistakes()) == 0
    plt.close("all")
