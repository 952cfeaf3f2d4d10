"""What a page is in a browser."""

import html
import re


def width_in_browser(browser, path, width):
    """How wide a page is in a frame of a width: no wider, unless it must be scrolled sideways.

    In a frame, since a window is at least 500 pixels wide.
    """
    text = html.escape(path.read_text(encoding="utf-8"), quote=True)
    measured = path.with_name("measured.html")
    measured.write_text(
        f'<html><head><title>unknown</title></head><body><iframe srcdoc="{text}" style="border: 0; '
        f'width: {width}px; height: 800px"></iframe><script>addEventListener("load", () => {{'
        'document.title = document.querySelector("iframe").contentDocument.documentElement'
        ".scrollWidth}})</script></body></html>".replace("}})", "})"),
        encoding="utf-8",
    )
    dumped = browser("--window-size=1400,900", "--dump-dom", measured.as_uri()).stdout
    return int(re.search(r"<title>(\d+)</title>", dumped)[1])
