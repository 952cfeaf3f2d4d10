"""What the documentation says of the repository is true."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"``([\w/]+\.py)::(\w+)``")


def names_of_tests(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists():
    """A page that names tests is believed as long as they are there."""
    page = (ROOT / "docs" / "what_happens_when.rst").read_text(encoding="utf-8")
    named = NAMED.findall(page)
    assert len(named) > 100
    lost = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / "tests" / file).is_file()
        or name not in names_of_tests(ROOT / "tests" / file)
    ]
    assert lost == []


def test_no_example_changes_the_reader_s_pipeline():
    """An argument that sets parameters in place has them set afterwards, too."""
    pages = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
    assert len(pages) > 10
    changed = [
        page.name
        for page in pages
        if re.search(r"\.\.\. +(pipeline|classifier|pipe)\.set_params", page.read_text("utf-8"))
    ]
    assert changed == []


def test_every_row_names_a_test():
    page = (ROOT / "docs" / "what_happens_when.rst").read_text(encoding="utf-8")
    rows = page.split("\n   * - ")
    bare = [row.splitlines()[0] for row in rows[1:] if not row.startswith("Input\n")]
    assert len(bare) > 50
    assert [
        row for row in rows[1:] if not row.startswith("Input\n") and not NAMED.search(row)
    ] == []
