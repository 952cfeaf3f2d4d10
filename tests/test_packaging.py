"""What pyproject.toml promises to whoever installs the package."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import skclip
from tests.installed import readme_lines

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What a user's environment may hold beside the package, and what the tests need.
EXTRAS = ("tables", "dask", "ray", "conformal", "heif", "test")
OF_DEVELOPERS = {"test", "docs", "lint", "dist"}
# Too large for a second copy; of the same age as torch, whose exporter they serve; or made by
# others, for tests of what their columns hold: `make test-oldest` takes those of today.
NOT_PINNED = {
    *("torch", "torchvision", "onnx", "onnxruntime", "onnxscript"),
    *("polars", "datasets", "skore"),
}


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


def test_version_citation_and_changelog_are_of_one_release():
    """A version in development is unreleased in all of them; a release has a date."""
    ours = Version(skclip.__version__)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    heading = (ROOT / "CHANGES.rst").read_text(encoding="utf-8").splitlines()[3]
    name, said = re.fullmatch(r"(\S+) \((.+)\)", heading).groups()
    assert ours.base_version == cited == name
    assert (said == "unreleased") == ours.is_devrelease
    assert ours.is_devrelease or re.fullmatch(r"\d{4}-\d\d-\d\d", said)


def test_documents_name_the_oldest_python():
    (oldest,) = re.findall(r">=(\S+)", PROJECT["requires-python"])
    for name in ("README.rst", "docs/install.rst", "CONTRIBUTING.rst"):
        versions = set(re.findall(r"Python (3\.\d+)", (ROOT / name).read_text(encoding="utf-8")))
        assert versions == {oldest}, name


@pytest.mark.parametrize("extra", sorted({*PROJECT["optional-dependencies"]} - OF_DEVELOPERS))
def test_an_extra_is_named_where_one_installs(extra):
    text = (ROOT / "docs" / "install.rst").read_text(encoding="utf-8")
    assert f"skclip[{extra}]" in text


def test_what_is_run_after_installation_reads_the_readme():
    """`make dist` runs the lines that stand there."""
    lines = readme_lines(ROOT / "README.rst")
    assert "make_pipeline(featurizer, classifier).fit(paths, labels)" in lines
    assert '"ViT-B-32", pretrained="openai"' in lines
    assert 'find_images("my_images")' in lines  # of every ending
    compile(lines, "README.rst", "exec")
