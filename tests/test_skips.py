"""A test that CI skips unseen is a test that does not exist: the hook of conftest.py."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = {
    "test_module": "import pytest\nmissing = pytest.importorskip('no_such_module')\n",
    "test_single": """
        import pytest

        @pytest.fixture
        def folder():
            pytest.skip("FOLDER is not set")

        @pytest.mark.skipif(True, reason="needs a GPU")
        def test_mark(): ...

        def test_call():
            pytest.skip("no browser")

        def test_fixture(folder): ...

        @pytest.mark.xfail(reason="known")
        def test_expected():
            raise ValueError

        def test_passes(): ...
    """,
}


@pytest.fixture
def outcomes(pytester, monkeypatch):
    """Numbers of outcomes of the tests above under the hooks of our conftest.py."""
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(**TESTS)

    def run(allowed):
        monkeypatch.delenv("SKCLIP_ALLOWED_SKIPS", raising=False)
        if allowed is not None:
            monkeypatch.setenv("SKCLIP_ALLOWED_SKIPS", allowed)
        result = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "--continue-on-collection-errors"
        )
        return result.parseoutcomes()

    return run


def test_skips_are_skips_where_the_variable_is_not_set(outcomes):
    """Who has no GPU, no browser and no folder can run the tests all the same."""
    assert outcomes(None) == {"skipped": 4, "xfailed": 1, "passed": 1}


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("", {"errors": 3, "failed": 1, "xfailed": 1, "passed": 1}),
        (
            "needs a GPU;FOLDER is not set",
            {"errors": 1, "failed": 1, "skipped": 2, "xfailed": 1, "passed": 1},
        ),
    ],
    ids=["none", "two"],
)
def test_other_skips_than_those_allowed_are_failures(outcomes, allowed, expected):
    """A module and a fixture that skip are errors, as when they raise; xfail is no skip."""
    assert outcomes(allowed) == expected
