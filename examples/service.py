"""
A service on the standard library
=================================

A saved pipeline behind HTTP: images in, classes and probabilities out. Run it as

.. code-block:: console

   $ python service.py classifier.skclip --port 8000
   $ curl -F a=@cat.jpg -F b=@dog.heic http://127.0.0.1:8000/predict
   $ curl --data-binary @cat.jpg http://127.0.0.1:8000/predict

Every upload has an answer of its own: a file that is no image is rejected with the reason, and the
others are answered. ``GET /health`` says that the model is loaded. SIGTERM and Ctrl-C end the
service when the requests that are being answered have been. Weights must be on this machine:
nothing is fetched.
"""

import argparse
import json
import os
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Before anything that might ask the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from PIL import Image

import skclip
from skclip.exceptions import ImageError
from skclip.features import open_image

MOST_BYTES = 64 * 2**20  # of a request
MOST_PIXELS = 50_000_000  # of an image


class Rejected(Exception):
    """A request that cannot be answered: the status, and the reason."""


class Classifier:
    """A pipeline from images to probabilities, for several threads."""

    def __init__(self, path, threads=1, at_once=2):
        torch.set_num_threads(threads)
        self.pipeline = skclip.load(path)
        self.classes = [str(label) for label in self.pipeline.classes_]
        # More requests than cores wait here, with their bytes, rather than with decoded images.
        self._turn = threading.Semaphore(at_once)
        self.pipeline.predict_proba([Image.new("RGB", (8, 8))])  # the model is loaded now

    def predict(self, uploads):
        """One dictionary for every upload: class and probabilities, or the reason why not."""
        answers, images = [], []
        with self._turn:
            for upload in uploads:
                try:
                    images.append(open_image(upload, MOST_PIXELS))
                    answers.append({})
                except ImageError as error:
                    answers.append({"error": str(error)})
            proba = iter(self.pipeline.predict_proba(images) if images else ())
        for answer in answers:
            if not answer:
                row = next(proba)
                answer["class"] = self.classes[row.argmax()]
                answer["probabilities"] = dict(
                    zip(self.classes, row.astype(float).round(6).tolist(), strict=True)
                )
        return answers


class Handler(BaseHTTPRequestHandler):
    """Two addresses: GET /health and POST /predict."""

    timeout = 30  # seconds that a client may be silent

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok", "classes": len(self.server.classifier.classes)})
        else:
            self.answer(404, {"error": "there are GET /health and POST /predict"})

    def do_POST(self):
        try:
            if self.path != "/predict":
                raise Rejected(404, "there are GET /health and POST /predict")
            names, uploads = zip(*self.uploads(), strict=True)
        except Rejected as rejected:
            status, reason = rejected.args
            self.answer(status, {"error": reason})
            return
        answers = self.server.classifier.predict(uploads)
        results = [{"name": name, **answer} for name, answer in zip(names, answers, strict=True)]
        failed = all("error" in result for result in results)
        self.answer(422 if failed else 200, {"results": results})

    def uploads(self):
        """(name, bytes) of every image of the request."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise Rejected(411, "Content-Length must say how many bytes follow")
        if int(length) > MOST_BYTES:
            raise Rejected(413, f"a request may have {MOST_BYTES} bytes; this one has {length}")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Rejected(400, f"{length} bytes were announced and {len(body)} came")
        form = re.match(
            r'multipart/form-data;.*boundary="?([^";]+)', self.headers.get("Content-Type", ""), re.I
        )
        parts = list(parts_of(body, form[1].encode())) if form else [("body", body)]
        if not parts or not body:
            raise Rejected(400, "send an image as the body, or images as multipart/form-data")
        return parts

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        if self.server.verbose:
            super().log_message(*arguments)


def parts_of(body, boundary):
    """(name of the file or field, content) of the parts of a form."""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        names = dict(re.findall(rb'(\bname|\bfilename)="([^"]*)"', head))
        name = names.get(b"filename") or names.get(b"name", b"")
        yield name.decode("utf-8", "replace"), content


class Service(ThreadingHTTPServer):
    """Waits, when it is closed, for the requests that are being answered."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address, classifier, verbose=False):
        self.classifier = classifier
        self.verbose = verbose
        super().__init__(address, Handler)


def main():
    parser = argparse.ArgumentParser(description="A classifier behind HTTP.")
    parser.add_argument("classifier", help="file that skclip.save wrote")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--verbose", action="store_true", help="a line for every request")
    arguments = parser.parse_args()
    classifier = Classifier(arguments.classifier)
    with Service((arguments.host, arguments.port), classifier, arguments.verbose) as service:
        # shutdown() waits for the loop, which is in this thread.
        stop = lambda *_: threading.Thread(target=service.shutdown).start()  # noqa: E731
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        print(f"http://{arguments.host}:{service.server_address[1]}", flush=True)
        service.serve_forever()


if __name__ == "__main__":
    main()
