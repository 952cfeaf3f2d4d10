"""The page of a fit: what it says, that it needs nothing else, and what a browser shows."""

import re

import numpy as np
import pytest
from PIL import Image

from skclip.datasets import save_digits_images, tiny_clip
from skclip.workflow import fit_dataset, write_page
from tests.browsers import width_in_browser


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Of images of which one lies in the wrong folder, and one is there twice."""
    folder = tmp_path_factory.mktemp("photos")
    save_digits_images(folder, n_per_class=8, shift="combined")
    moved = sorted((folder / "seven").iterdir())[0]
    moved.rename(folder / "zero" / "<moved>.png")
    (folder / "one" / "again.png").write_bytes(sorted((folder / "one").iterdir())[0].read_bytes())
    report = fit_dataset(folder, pretrained=tiny_clip(), device="cpu")
    return report, write_page(report, folder / "page.html")


def test_the_page_begins_with_the_answer_and_has_the_images(fitted):
    report, path = fitted
    text = path.read_text(encoding="utf-8")
    accuracy = report.measured.metrics["adapted"]["accuracy"]
    answer = f"It recognises {100 * accuracy.value:.0f} of 100 images that it has not seen"
    parts = ("<h2>Answer", answer, "<h2>Errors by class", "<h2>Images to look at")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    errors = report.measured.errors()
    (first,) = errors.mistakes(1)
    assert errors.caption(first).split("\n")[0] in text
    assert "labelled zero" in text
    assert "&lt;moved&gt;.png" in text
    assert "<moved>" not in text
    assert "warning: 1 images are copies of another one of their class" in text
    assert text.count("<img ") == len(errors.mistakes()) + 12 + len(report.label_errors)


def test_the_page_fetches_nothing(fitted):
    text = fitted[1].read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "<script" not in text


@pytest.mark.parametrize("width", [390, 1100])
def test_a_phone_and_a_screen_show_it_without_scrolling_sideways(fitted, browser, width):
    assert width_in_browser(browser, fitted[1], width) == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_as_the_reader_is(fitted, browser, tmp_path, scheme):
    picture = tmp_path / "page.png"
    preferred = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    arguments = (preferred, "--window-size=390,1600", f"--screenshot={picture}")
    assert "CONSOLE" not in browser(*arguments, fitted[1].as_uri()).stderr
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"), float)
    assert pixels.std() > 10
    assert (np.median(pixels) > 128) == (scheme == "light")


def test_where_nothing_was_measured_the_page_says_so(tmp_path):
    save_digits_images(tmp_path / "few", n_per_class=1)
    report = fit_dataset(tmp_path / "few", pretrained=tiny_clip(), device="cpu")
    text = write_page(report, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Nothing could be held out" in text
