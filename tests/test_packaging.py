"""What pyproject.toml promises to whoever installs the package."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import skclip

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What a user's environment may hold beside the package, and what the tests need.
EXTRAS = ("tables", "dask", "ray", "conformal", "heif", "test")
# Too large for a second copy, or of the same age as torch, whose exporter they serve:
# `make test-oldest` takes those that pip installs today.
NOT_PINNED = {"torch", "torchvision", "onnx", "onnxruntime", "onnxscript"}


def requirements(lines):
    return [Requirement(line) for line in lines]


def pins():
    """Version of every package in oldest.txt."""
    lines = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = requirements(line for line in lines if line and not line.startswith("#"))
    return {r.name: Version(next(iter(r.specifier)).version) for r in pinned}


def bounded():
    """Every dependency that has a lower bound to test."""
    extras = PROJECT["optional-dependencies"]
    lines = [line for extra in EXTRAS for line in extras.get(extra, ())]
    all_of_them = requirements(PROJECT["dependencies"] + lines)
    return [r for r in all_of_them if r.name not in NOT_PINNED]


@pytest.mark.parametrize("requirement", bounded(), ids=str)
def test_a_lower_bound_is_the_version_that_is_tested(requirement):
    """Otherwise pyproject.toml promises versions that nobody has tried."""
    lower = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
    assert lower == [pins()[requirement.name]]


def test_nothing_else_is_pinned():
    """But what an old dependency calls and a newer version warns of."""
    assert set(pins()) - {r.name for r in bounded()} == {"pyparsing"}


def test_annotations_are_for_users_too():
    """Type checkers read the annotations of an installed package only with this file."""
    assert (Path(skclip.__file__).parent / "py.typed").is_file()
