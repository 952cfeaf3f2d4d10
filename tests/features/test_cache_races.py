"""Processes that use, count and clear one cache folder at the same time: no error, no wrong row."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import skclip
from skclip.datasets import save_digits_images

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def race(tmp_path, seconds):
    """No process fails, none finds a wrong row, none has a reason to warn, nothing is left."""
    save_digits_images(tmp_path / "digits", n_per_class=4)
    cache_dir = tmp_path / "cache"
    script = Path(__file__).with_name("_cache_race.py")
    finished = subprocess.run(
        [sys.executable, str(script), str(cache_dir), str(seconds), str(tmp_path / "digits")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    said = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(said) == 5
    for found in said:
        assert found["wrong"] == 0, found
        assert found["warned"] == [], found
        assert found["turns"] > 1, found
    skclip.clear_cache(cache_dir)
    assert skclip.cache_info(cache_dir).n_bytes == 0
    assert [path for path in cache_dir.rglob("*") if path.is_file()] == []


def test_a_short_race_for_the_cache(tmp_path):
    race(tmp_path, 3)


@pytest.mark.slow
def test_a_minute_of_a_race_for_the_cache(tmp_path):
    race(tmp_path, 60)
