"""scikit-learn's callbacks hear of every fit, alone and inside of pipelines and searches."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import BayesAdapterClassifier, CLIPFeaturizer, Prototypes
from skclip.datasets import load_digits_images, tiny_clip
from tests.persistence.conftest import NAMES, classifier_names, make_classifier

TEXT = np.eye(4, 6)
y = NAMES[np.arange(24) % 4]
X = TEXT[np.arange(24) % 4] + 0.1 * np.random.default_rng(0).normal(size=(24, 6))


class Recorder:
    """Handed on to every estimator inside, with what each is told."""

    max_propagation_depth = None

    def __init__(self):
        self.seen, self.told = [], {}

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.seen.append(f"begin {context.estimator_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.seen.append(f"end {context.estimator_name}")
        self.told = {"X": X, "y": y, "metadata": metadata, "fitted": fitted_estimator}


@pytest.mark.parametrize("name", classifier_names())
def test_every_fit_is_a_task(name):
    """In a pipeline scikit-learn warns of estimators that are none, and warnings are errors."""
    recorder = Recorder()
    classifier = make_classifier(name, Prototypes(TEXT, NAMES))
    make_pipeline(classifier).set_callbacks(recorder).fit(X, y)
    expected = ["begin Pipeline", f"begin {name}", f"end {name}", "end Pipeline"]
    assert recorder.seen == ["setup", *expected, "teardown"]


def test_what_a_callback_is_told():
    recorder, weights = Recorder(), np.arange(1.0, 25.0)
    classifier = BayesAdapterClassifier(Prototypes(TEXT, NAMES)).set_callbacks(recorder)
    classifier.fit(X, y=y, sample_weight=weights)
    assert recorder.told["X"] is X
    assert recorder.told["y"] is y
    assert recorder.told["metadata"] == {"sample_weight": weights}
    found = recorder.told["fitted"].predict_proba(X)
    np.testing.assert_array_equal(found, classifier.predict_proba(X))


def test_a_failed_fit_tears_down_and_leaves_no_trace():
    recorder = Recorder()
    classifier = BayesAdapterClassifier(Prototypes(TEXT, NAMES)).set_callbacks(recorder)
    before = dict(vars(classifier))
    with pytest.raises(ValueError, match="NaN"):
        classifier.fit(np.full_like(X, np.nan), y)
    assert recorder.seen == ["setup", "begin BayesAdapterClassifier", "teardown"]
    assert vars(classifier) == before


def test_scores_of_every_candidate_of_a_search():
    monitor = ScoringMonitor(scoring="neg_log_loss")
    classifier = BayesAdapterClassifier(Prototypes(TEXT, NAMES)).set_callbacks(monitor)
    search = GridSearchCV(classifier, {"prior_precision": [1.0, 100.0]}, cv=3, refit=False)
    search.fit(X, y)
    scores = [row["neg_log_loss"] for row in monitor.get_logs().data]
    assert len(scores) == 6
    assert np.all(np.isfinite(scores))


def test_images_of_a_pipeline_are_a_task():
    data = load_digits_images()
    images, labels = data.images[:20], data.labels[:20]
    recorder = Recorder()
    pipeline = make_pipeline(CLIPFeaturizer(pretrained=tiny_clip()), BayesAdapterClassifier())
    pipeline.set_callbacks(recorder).fit(images, labels)
    tasks = [line for line in recorder.seen if "CLIP" in line]
    assert tasks == ["begin CLIPFeaturizer", "end CLIPFeaturizer"]


def test_callbacks_are_no_part_of_a_saved_model(tmp_path):
    """They run on the machine that fits; a file without code could not hold them."""
    classifier = BayesAdapterClassifier(Prototypes(TEXT, NAMES)).fit(X, y)
    pipeline = make_pipeline(clone(classifier)).set_callbacks(Recorder()).fit(X, y)
    loaded = skclip.load(skclip.save(pipeline, tmp_path / "pipeline.safetensors"))
    np.testing.assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert "_skl_callbacks" not in vars(loaded)
