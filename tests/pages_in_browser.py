"""Every page of a folder of HTML in a browser, at several widths."""

import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PAGES_PER_CALL = 40
# What may be wider than the page, because it scrolls by itself.
SCROLLERS = "pre, .highlight, .pst-scrollable-table-container, .formula, .output_subarea"

# The picture is answered when the pages have been measured: the browser waits for it.
MEASURING = """<!doctype html><title>pages</title><body><img src="/held" alt=""><script>
const pages = PAGES, width = WIDTH, scrollers = "SCROLLERS", wide = WIDE_CODE;
function faults(document) {
  const root = document.documentElement, found = [], seen = (x) => x.getClientRects().length;
  if (root.scrollWidth > width) found.push(`is ${root.scrollWidth} pixels wide`);
  for (const x of document.querySelectorAll("main *"))
    if (seen(x) && x.getBoundingClientRect().right > root.clientWidth + 1 && !x.closest(scrollers))
      { found.push(`cuts off ${x.tagName} ${x.textContent.trim().slice(0, 60)}`); break; }
  if (wide) for (const x of document.querySelectorAll("div.highlight pre"))
    if (x.scrollWidth > x.clientWidth + 1)
      found.push(`scrolls code sideways: ${x.textContent.trim().slice(0, 60)}`);
  for (const x of document.querySelectorAll("img:not([alt])"))
    found.push(`has a picture without a text: ${x.getAttribute("src")}`);
  for (const x of document.querySelectorAll(".bd-sidebar-primary, .bd-sidebar-secondary"))
    if (seen(x) && x.offsetWidth && !x.textContent.trim()) found.push(`has an empty sidebar`);
  return found;
}
(async () => {
  const frame = document.createElement("iframe"), found = {};
  frame.style = `border: 0; width: ${width}px; height: 900px`;
  document.body.append(frame);
  for (const page of pages) {
    await new Promise((done) => { frame.onload = done; frame.src = "/" + page; });
    await new Promise((done) => setTimeout(done, 50));
    found[page] = faults(frame.contentDocument);
  }
  await fetch("/found", { method: "POST", body: JSON.stringify(found) });
})();
</script>"""


class Handler(SimpleHTTPRequestHandler):
    """The folder, the measuring page, and the place where it leaves what it found."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.path == "/measure":
            self.answer(self.server.measuring.encode(), "text/html")
        elif self.path == "/held":
            self.server.measured.wait(100)
            self.answer(b"", "image/png")
        else:
            super().do_GET()

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.found |= json.loads(self.rfile.read(length))
        self.answer(b"", "text/plain")
        self.server.measured.set()

    def answer(self, content, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def served(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.found, server.daemon_threads = {}, True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def faults_of_pages(browser, folder, width, *, code_fits=False):
    """Page -> what is wrong with it in a window of a width; every page of the folder.

    Faults are a page that is wider than the window or cuts something off, a picture without a text
    in its place, an empty sidebar, and with `code_fits` code that must be scrolled sideways.
    """
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    pages = sorted(page for page in found if not page.startswith("_static/"))
    with served(folder) as server:
        for start in range(0, len(pages), PAGES_PER_CALL):
            server.measured = threading.Event()
            some = json.dumps(pages[start : start + PAGES_PER_CALL])
            server.measuring = (
                MEASURING.replace("PAGES", some)
                .replace("WIDTH", str(width))
                .replace("SCROLLERS", SCROLLERS)
                .replace("WIDE_CODE", json.dumps(code_fits))
            )
            address = f"http://127.0.0.1:{server.server_port}/measure"
            browser("--window-size=1400,1000", "--dump-dom", address)
        assert set(server.found) == set(pages), "not every page was measured"
        return server.found
