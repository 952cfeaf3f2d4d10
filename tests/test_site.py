"""The documentation in a browser, on a screen of 1300 pixels and on a phone."""

from pathlib import Path

import pytest

from tests.pages_in_browser import faults_of_pages

BUILT = Path(__file__).resolve().parent.parent / "docs" / "_build" / "html"

SOUND = "<p>Text</p><div class='highlight'><pre>code</pre></div><img alt='' src='x'>"
FAULTY = {
    "wide": ("<div style='width: 1992px'>wide</div>", "is 2000 pixels wide"),
    "cut": (
        f"<p style='overflow: hidden'><b style='white-space: nowrap'>{'word ' * 300}</b></p>",
        "cuts off B word word",
    ),
    "code": (
        f"<div class='highlight'><pre style='overflow: auto'>{'x' * 500}</pre></div>",
        "scrolls code sideways: xxx",
    ),
    "picture": ("<img src='y.png'>", "has a picture without a text: y.png"),
    "sidebar": (
        "<div class='bd-sidebar-primary' style='width: 9px; height: 9px'></div>",
        "has an empty sidebar",
    ),
}


def test_every_kind_of_fault_is_found(browser, tmp_path):
    for name, (body, _) in {"sound": (SOUND, None), **FAULTY}.items():
        (tmp_path / f"{name}.html").write_text(f"<!doctype html><main>{body}</main>")
    found = faults_of_pages(browser, tmp_path, 1300, code_fits=True)
    assert found.pop("sound.html") == []
    for name, (_, fault) in FAULTY.items():
        assert found[f"{name}.html"][0].startswith(fault), name


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 390])
def test_no_page_is_cut_off(browser, width):
    """Code of a hundred columns fits on a screen; on a phone it scrolls by itself."""
    if not (BUILT / "index.html").is_file():
        pytest.skip("the documentation is not built: run make docs")
    found = faults_of_pages(browser, BUILT, width, code_fits=width == 1300)
    assert len(found) > 100
    assert {page: faults for page, faults in found.items() if faults} == {}
