"""What every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config):
    """Workers of pytest-xdist share the cores: one torch thread each."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def feature_sets():
    """Folder with arrays of real CLIP features; tests that ask for it carry the mark."""
    folder = os.environ.get("SKCLIP_FEATURE_SETS")
    if not folder:
        pytest.skip("SKCLIP_FEATURE_SETS is not set: it names a folder of real CLIP features")
    if not Path(folder).is_dir():
        pytest.skip(f"SKCLIP_FEATURE_SETS={folder} is not a folder")
    return Path(folder)
