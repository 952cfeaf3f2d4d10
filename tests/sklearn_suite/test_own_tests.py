"""scikit-learn's own tests judge BayesAdapterClassifier in LogisticRegression's place.

They come with its wheel. Each module runs in a process of its own, as `stand_in` replaces
LogisticRegression for whoever imports it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sklearn_suite.expected_failures import EXPECTED_FAILURES

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
MODULES = [
    "sklearn.ensemble.tests.test_bagging",
    "sklearn.ensemble.tests.test_common",
    "sklearn.ensemble.tests.test_stacking",
    "sklearn.ensemble.tests.test_voting",
    "sklearn.ensemble.tests.test_weight_boosting",
    "sklearn.feature_selection.tests.test_from_model",
    "sklearn.feature_selection.tests.test_rfe",
    "sklearn.frozen.tests.test_frozen",
    "sklearn.inspection._plot.tests.test_boundary_decision_display",
    "sklearn.inspection.tests.test_partial_dependence",
    "sklearn.inspection.tests.test_permutation_importance",
    "sklearn.metrics._plot.tests.test_common_curve_display",
    "sklearn.metrics._plot.tests.test_confusion_matrix_display",
    "sklearn.metrics._plot.tests.test_det_curve_display",
    "sklearn.metrics._plot.tests.test_precision_recall_display",
    "sklearn.metrics._plot.tests.test_roc_curve_display",
    "sklearn.metrics.tests.test_ranking",
    "sklearn.metrics.tests.test_score_objects",
    "sklearn.model_selection.tests.test_classification_threshold",
    "sklearn.model_selection.tests.test_search",
    "sklearn.model_selection.tests.test_validation",
    "sklearn.semi_supervised.tests.test_self_training",
    "sklearn.tests.test_calibration",
    "sklearn.tests.test_metaestimators",
    "sklearn.tests.test_multiclass",
    "sklearn.tests.test_multioutput",
    "sklearn.tests.test_pipeline",
    "sklearn.utils.tests.test_response",
]


def run_with_stand_in(target, folder, *path):
    """The finished pytest process; `path` comes before this folder on PYTHONPATH."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = [*path, HERE, HERE.parents[1], environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(str(p) for p in path if p)
    options = ["-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "stand_in", "-q", "-rfEX", *target],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", MODULES)
def test_scikit_learn_accepts_it_as_logistic_regression(module, tmp_path):
    """Everything passes but `EXPECTED_FAILURES`, which fail."""
    result = run_with_stand_in(["--pyargs", module], tmp_path)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr


def test_expected_failures_are_of_modules_that_run():
    assert set(EXPECTED_FAILURES) <= set(MODULES)


JUDGED = """
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._logistic import LogisticRegression as original

@pytest.fixture
def classifier():
    return LogisticRegression(C=2)

def test_replaced(classifier):
    assert type(classifier).__mro__[1].__name__ == "BayesAdapterClassifier"

def test_passes_although_expected_to_fail():
    assert LogisticRegression is not original

@pytest.mark.parametrize("classifier", [LogisticRegression()])
@pytest.mark.parametrize("bad", [True, False])
def test_fails_as_expected(classifier, bad):
    assert not bad

def test_of_something_else():
    assert False
"""
EXPECTED = """
EXPECTED_FAILURES = {
    "test_judged": {
        "test_passes_although_expected_to_fail": ("it does not", None),
        "test_fails_as_expected": ("it does", lambda bad, classifier: bad),
    }
}
"""


def test_an_expected_failure_that_passes_is_an_error(tmp_path):
    """The list of expected failures stays true; tests of other things do not run."""
    (tmp_path / "test_judged.py").write_text(JUDGED, encoding="utf-8")
    (tmp_path / "expected_failures.py").write_text(EXPECTED, encoding="utf-8")
    result = run_with_stand_in(["test_judged.py"], tmp_path, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 failed, 2 passed, 1 deselected, 1 xfailed" in result.stdout
    assert "[XPASS(strict)] it does not" in result.stdout


def test_an_expected_failure_that_is_no_test_is_an_error(tmp_path):
    (tmp_path / "test_judged.py").write_text(JUDGED, encoding="utf-8")
    expected = EXPECTED.replace("test_fails_as_expected", "test_renamed")
    (tmp_path / "expected_failures.py").write_text(expected, encoding="utf-8")
    result = run_with_stand_in(["test_judged.py"], tmp_path, tmp_path)
    assert "test_judged has no test test_renamed, expected to fail." in result.stderr
    assert result.returncode == 4
