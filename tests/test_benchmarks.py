"""The comparison scripts run from the command line; their numbers are not judged here."""

import json
import re
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(script, *arguments):
    """What the script prints; it must not change the repository."""
    outputs = [ROOT / "benchmarks" / "results", ROOT / "docs" / "tables"]
    before = {p: p.stat().st_mtime_ns for folder in outputs for p in folder.iterdir()}
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert before == {p: p.stat().st_mtime_ns for folder in outputs for p in folder.iterdir()}
    return result.stdout


def test_fit_speed_prints_ratios():
    assert "LogisticRegression s" in run("fit_speed.py")


def test_embedding_speed_prints_ratios():
    printed = run("embedding_speed.py")
    assert "transform, images/s" in printed
    assert "MiB above the loaded model and the output" in printed


def test_jpeg_draft_prints_changes_of_features(monkeypatch):
    """Without photographs at hand those of scikit-learn are taken."""
    monkeypatch.delenv("SKCLIP_PHOTOS", raising=False)
    assert "scikit-learn's sample photographs" in run("jpeg_draft.py")


def test_adapter_speed_times_every_adapter():
    printed = run("adapter_speed.py")
    for name in ("BayesAdapterClassifier", "TipAdapterClassifier", "ProKeRClassifier"):
        assert name in printed


def test_class_scaling_prints_seconds_memory_and_growth():
    names = ("BayesAdapterClassifier", "ZeroShotClassifier", "LogisticRegression(C=100, tol=1e-6)")
    printed = run("class_scaling.py", "--classifiers", *names)
    assert "Exponent" in printed
    assert all(name in printed for name in names)
    assert "error" not in printed


@pytest.mark.parametrize(
    ("limits", "status", "printed"),
    [((100, 10), 0, '"memory limit"'), ((0, 4096), -signal.SIGXCPU, "")],
    ids=["memory", "time"],
)
def test_class_scaling_ends_fits_that_want_too_much(limits, status, printed):
    cell = json.dumps(["CLAPClassifier", 100, 16, 512, *limits])
    command = [sys.executable, str(ROOT / "benchmarks" / "class_scaling.py"), "--cell", cell]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert printed in result.stdout


def test_proker_landmarks_compares_keys():
    printed = run("proker_landmarks.py")
    assert "12 of 96 rows" in printed
    assert "all 96 rows" in printed


def test_views_prints_gains_with_their_errors():
    assert "gain in NLL" in run("views.py")


@pytest.mark.feature_sets
def test_feature_sets_prints_the_bars(feature_sets):
    printed = run("feature_sets.py", "--methods", "bayes", "zero-shot")
    assert "single view: NLL / best recipe, geometric mean" in printed


@pytest.mark.parametrize("variant", ["bayes-isotropic", "bayes-laplace-full-tempered"])
def test_tune_default_compares_variants(variant, monkeypatch):
    """Without real features the synthetic tasks run, for variants without a posterior."""
    monkeypatch.delenv("SKCLIP_FEATURE_SETS", raising=False)
    printed = run("tune_default.py", "--variants", "bayes", variant)
    assert "30 classes, good" in printed


def test_export_speed_prints_every_route():
    printed = run("export_speed.py")
    for route in ("predict_proba", "to_torch", "to_onnx"):
        assert route in printed


def test_drift_prints_what_is_noticed():
    assert "turned by 30" in run("drift.py")


@pytest.mark.feature_sets
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("prediction_sets.py", "size over that of split"),
        ("selective_risk.py", "Stated: at most 5 % of the draws"),
        ("out_of_distribution.py", "mutual_information"),
        ("left_out_risk.py", "of these miss the target"),
        ("open_set.py", "False alarms by class"),
        ("selection_scores.py", "smallest AURC in"),
        ("label_shift.py", "EM has a smaller log-loss"),
        ("active_learning.py", "random, balanced"),
        ("text_order.py", "texts of other classes"),
        ("many_labels.py", "BayesAdapter, no text"),
    ],
)
def test_scripts_print_their_tables(script, expected, feature_sets):
    assert expected in run(script)


def test_metrics_speed_prints_seconds():
    assert "expected_calibration_error" in run("metrics_speed.py")


def test_interval_coverage_prints_shares():
    assert "percentile" in run("interval_coverage.py")


def test_scorer_choice_prints_what_was_selected():
    assert "neg_log_loss" in run("scorer_choice.py")


@pytest.fixture(scope="module")
def few_labels():
    """What the script of the README's picture computes from the raw results that are stored."""
    return json.loads(run("few_labels_figure.py"))


def test_the_picture_of_the_readme_is_of_the_stored_results(few_labels):
    """It holds the numbers of its curves: run few_labels_figure.py after feature_sets.py."""
    drawn = (ROOT / "docs" / "_static" / "few_labels.svg").read_text(encoding="utf-8")
    inside = re.search("<dc:description>(.*?)</dc:description>", drawn, re.DOTALL)[1]
    assert json.loads(unescape(inside)) == few_labels


@pytest.mark.parametrize(
    ("column", "method"),
    [(1, "bayes"), (2, "logistic-regression-cv"), (3, "tip-adapter-f")],
)
def test_the_numbers_of_the_readme_are_those_of_the_picture(column, method, few_labels):
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    for name, metric in (("Accuracy", "acc"), ("Calibration error (ECE)", "ece10")):
        row = re.search(rf"   \* - {re.escape(name)}, 4 per class\n((?:     - .*\n)+)", readme)[1]
        cell = row.splitlines()[column - 1].removeprefix("     - ")
        assert cell == f"{few_labels[metric][method][2]:.1f} %"
