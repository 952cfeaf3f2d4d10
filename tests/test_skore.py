"""skore's reports read a pipeline of images as they read any other classifier."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer
from skclip.datasets import load_digits_images, tiny_clip

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore")  # of the libraries below skore
def test_a_report_has_the_numbers_of_the_pipeline():
    skore = pytest.importorskip("skore")
    data = load_digits_images()
    train, test = slice(0, 400, 4), slice(1, 400, 4)
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
    pipeline = make_pipeline(featurizer, BayesAdapterClassifier(ClassPrompts(featurizer)))
    X, y = np.asarray(data.images), np.asarray(data.labels)
    report = skore.EstimatorReport(
        pipeline, X_train=X[train], y_train=y[train], X_test=X[test], y_test=y[test]
    )
    expected = accuracy_score(y[test], report.estimator_.predict(X[test]))
    assert report.metrics.accuracy() == pytest.approx(expected)
    assert expected > 0.8
