"""The example service answers every upload, from several threads, and ends when it should."""

import http.client
import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import service
from PIL import Image
from sklearn.pipeline import make_pipeline

import skclip
from skclip.datasets import load_digits_images, tiny_clip

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
BOUNDARY = "a-boundary"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pipeline():
    data = load_digits_images()
    featurizer = skclip.CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
    classifier = skclip.BayesAdapterClassifier(skclip.ClassPrompts(featurizer))
    return make_pipeline(featurizer, classifier).fit(data.images[:60], data.labels[:60])


@pytest.fixture(scope="module")
def images():
    return load_digits_images(subset="test").images[:12]


@pytest.fixture(scope="module")
def running(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("service") / "digits.skclip"
    skclip.save(pipeline, path)
    with service.Service(("127.0.0.1", 0), service.Classifier(path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, headers=None):
    """Status and content of an answer."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def form(*parts):
    """(headers, body) of a form with files, as browsers and curl write it."""
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="x"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in parts
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return headers, body + f"--{BOUNDARY}--\r\n".encode()


def test_one_image_is_answered_with_the_pipelines_probabilities(running, pipeline, images):
    status, answer = ask(running, "POST", "/predict", png(images[0]))
    (result,) = answer["results"]
    assert status == 200
    expected = pipeline.predict_proba(images[:1])[0]
    assert result["class"] == pipeline.classes_[expected.argmax()]
    assert list(result["probabilities"]) == pipeline.classes_.tolist()
    np.testing.assert_allclose([*result["probabilities"].values()], expected, atol=1e-6)


def test_the_bad_image_is_rejected_with_a_reason_and_the_others_are_answered(
    running, pipeline, images
):
    """Also content that looks like the end of a line or of a part."""
    odd = png(images[1]) + b"\r\n--\r\n"
    headers, body = form(("a.png", png(images[0])), ("b.png", b"no image"), ("c.png", odd))
    status, answer = ask(running, "POST", "/predict", body, headers)
    assert status == 200
    assert [result["name"] for result in answer["results"]] == ["a.png", "b.png", "c.png"]
    assert "cannot identify image file" in answer["results"][1]["error"]
    labels = pipeline.predict(images[:2]).tolist()
    assert [answer["results"][i]["class"] for i in (0, 2)] == labels


def test_threads_get_their_own_answers(running, pipeline, images):
    expected = pipeline.predict(images).tolist()

    def classify(k):
        return ask(running, "POST", "/predict", png(images[k]))[1]["results"][0]["class"]

    with ThreadPoolExecutor(6) as pool:
        assert [*pool.map(classify, [*range(12)] * 3)] == expected * 3


REQUESTS = {
    "health": ("GET", "/health", None, {}, 200, "ok"),
    "another address": ("GET", "/", None, {}, 404, "GET /health and POST /predict"),
    "another address to post to": ("POST", "/x", b"x", {}, 404, "GET /health and POST /predict"),
    "nothing": ("POST", "/predict", b"", {}, 400, "send an image as the body"),
    "an empty form": ("POST", "/predict", form()[1], form()[0], 400, "send an image as the body"),
    "no image": ("POST", "/predict", b"x", {}, 422, "cannot identify image file"),
    "no length": ("POST", "/predict", None, {"Content-Length": "x"}, 411, "Content-Length must"),
    "too much": ("POST", "/predict", None, {"Content-Length": "9" * 12}, 413, "may have 671088"),
}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "said"), REQUESTS.values(), ids=REQUESTS
)
def test_requests_have_a_status_and_a_sentence(running, method, path, body, headers, status, said):
    found, answer = ask(running, method, path, body, headers)
    assert found == status
    assert said in json.dumps(answer)


def test_closing_waits_for_what_is_being_answered(pipeline, images, monkeypatch):
    """A request that came before the end has its answer."""

    class Slow:
        classes = ("one",)
        came, go_on = threading.Event(), threading.Event()

        def predict(self, uploads):
            self.came.set()
            self.go_on.wait(30)
            return [{"class": "one"} for _ in uploads]

    slow = Slow()
    server = service.Service(("127.0.0.1", 0), slow)
    loop = threading.Thread(target=server.serve_forever)
    loop.start()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(ask, server, "POST", "/predict", b"x")
        assert slow.came.wait(30)
        server.shutdown()
        closed = pool.submit(server.server_close)
        assert not closed.done()
        slow.go_on.set()
        assert answer.result(30) == (200, {"results": [{"name": "body", "class": "one"}]})
        closed.result(30)
    loop.join()


def loaded(monkeypatch, seconds):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import service_load

    return service_load.load(seconds)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and SIGTERM")
def test_seconds_of_load_with_a_kill_in_between(monkeypatch):
    latencies, errors, _, codes = loaded(monkeypatch, 4)
    assert errors == []
    assert len(latencies) > 8
    assert codes == [-9, 0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and SIGTERM")
def test_a_minute_of_load_leaves_memory_as_it_was(monkeypatch):
    latencies, errors, memory, codes = loaded(monkeypatch, 60)
    assert errors == []
    assert len(latencies) > 120
    assert codes == [-9, 0]
    # Within each life of the service, after a quarter of the time.
    assert memory[1] - memory[0] < 20
    assert memory[3] - memory[2] < 20
