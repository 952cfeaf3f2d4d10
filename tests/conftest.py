"""What every test may use."""

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from skclip.datasets import make_clip_features

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config):
    """Workers of pytest-xdist share the cores: one torch thread each."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


def pytest_report_header():
    """Which versions a log is about: `make test-oldest` has others than `make test`."""
    names = ("numpy", "scipy", "scikit-learn", "torch", "open_clip_torch", "netcal", "matplotlib")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _fail_if_skipped(report):
    """Where SKCLIP_ALLOWED_SKIPS is set, a skip for another reason than those is a failure.

    It holds parts of reasons, between semicolons; CI sets it, so that a test that never runs
    there is found.
    """
    allowed = os.environ.get("SKCLIP_ALLOWED_SKIPS")
    if allowed is None or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2]
    if not any(part and part in reason for part in allowed.split(";")):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nSKCLIP_ALLOWED_SKIPS={allowed!r} does not allow this skip."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Tests and fixtures that skip."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Modules that skip while they are imported (pytest.importorskip)."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.fixture(scope="session")
def feature_sets():
    """Folder with arrays of real CLIP features; tests that ask for it carry the mark."""
    folder = os.environ.get("SKCLIP_FEATURE_SETS")
    if not folder:
        pytest.skip("SKCLIP_FEATURE_SETS is not set: it names a folder of real CLIP features")
    if not Path(folder).is_dir():
        pytest.skip(f"SKCLIP_FEATURE_SETS={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def feature_file(tmp_path_factory):
    """Features of 5 classes: pools of 12 training and 5 validation rows per class, 100 to test."""
    data = make_clip_features(
        n_samples_per_class=17,
        n_classes=5,
        n_features=24,
        n_informative=16,
        n_test_per_class=20,
        random_state=0,
    )
    first = np.concatenate([np.flatnonzero(data.y == k)[:12] for k in range(5)])
    rest = np.setdiff1d(np.arange(len(data.y)), first)
    path = tmp_path_factory.mktemp("features") / "small.npz"
    np.savez(
        path,
        text_features=data.prototypes,
        class_names=np.array(["ant", "bee", "cow", "dog", "emu"]),
        train_features=data.X[first],
        train_labels=data.y[first],
        val_features=data.X[rest],
        val_labels=data.y[rest],
        test_features=data.X_test,
        test_labels=data.y_test,
    )
    return path


BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def browser(tmp_path):
    """Runs a browser without a window and returns what it printed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed")
    command = [
        *(found, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
    ]
    given = {"capture_output": True, "text": True, "check": True, "timeout": 120}
    return lambda *arguments: subprocess.run([*command, *arguments], **given)
