"""How many requests a second the example service answers, how late the last ones, and for how long.

Run it as ``python benchmarks/service_load.py --seconds 60``. Four clients on the loopback address
send one image after the other, every tenth of them no image; half-way the service is killed with
SIGKILL and started again, which takes no part of the time. Prints requests per second, latencies,
errors, and the memory of the service process in the middle and at the end of each of its two lives.
Whatever a client sends while there is no service is sent again; anything else that is not the right
answer is an error.
"""

import argparse
import contextlib
import http.client
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline

import skclip
from skclip.datasets import load_digits_images, save_digits_images, tiny_clip

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "service.py"
CLIENTS = 4
GONE = (OSError, http.client.HTTPException)  # no answer, or half of one


def saved_pipeline(folder):
    """A classifier of digits in a file, some images, and the class that it gives each."""
    data = load_digits_images()
    featurizer = skclip.CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
    classifier = skclip.BayesAdapterClassifier(skclip.ClassPrompts(featurizer))
    pipeline = make_pipeline(featurizer, classifier).fit(data.images[:100], data.labels[:100])
    skclip.save(pipeline, folder / "digits.skclip")
    paths, _ = save_digits_images(folder / "digits", n_per_class=3, size=224)
    return folder / "digits.skclip", [p.read_bytes() for p in paths], pipeline.predict(paths)


class Server:
    """The service as a process, always on the port that it got first."""

    def __init__(self, path):
        self.path, self.port, self.end = path, 0, math.inf
        self.up = threading.Event()
        self.start()

    def start(self):
        command = [sys.executable, str(SCRIPT), str(self.path), "--port", str(self.port)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the service did not start: exit code {self.process.wait()}")
        self.port = int(line.rsplit(":", 1)[1])
        self.up.set()

    def stop(self, how):
        """End it; returns its exit code."""
        self.up.clear()
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code

    def resident(self):
        """MiB of memory, where the system says."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
            return int(status.split("VmRSS:")[1].split()[0]) / 1024
        return float("nan")


def client(server, images, expected, seed, latencies, errors):
    """Send images until the time is over."""
    rng = np.random.default_rng(seed)
    while time.monotonic() < server.end:
        k = int(rng.integers(len(images)))
        good = rng.random() > 0.1
        body = images[k] if good else b"no image"
        life, start = server.process.pid, time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", "/predict", body)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except GONE as error:
            if server.up.is_set() and server.process.pid == life:
                time.sleep(0.2)  # it may have been killed a moment ago
                if server.up.is_set() and server.process.pid == life:
                    errors.append(repr(error))
            server.up.wait(timeout=60)
            continue
        finally:
            connection.close()
        latencies.append(time.monotonic() - start)
        (result,) = answer["results"]
        right = result.get("class") == str(expected[k]) if good else "cannot" in result["error"]
        if not right or response.status != (200 if good else 422):
            errors.append(f"{response.status} {answer}")


def load(seconds):
    """Latencies in seconds, errors, MiB at the beginnings and ends, exit codes of the service."""
    latencies, errors, memory = [], [], []
    with tempfile.TemporaryDirectory() as name:
        path, images, expected = saved_pipeline(Path(name))
        server = Server(path)
        threads = [
            threading.Thread(
                target=client, args=(server, images, expected, seed, latencies, errors)
            )
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        # Allocators take some hundred requests to settle.
        time.sleep(seconds / 4)
        memory.append(server.resident())
        time.sleep(seconds / 4)
        memory.append(server.resident())
        codes = [server.stop(signal.SIGKILL)]
        server.start()
        server.end = time.monotonic() + seconds / 2
        time.sleep(seconds / 4)
        memory.append(server.resident())
        for thread in threads:
            thread.join()
        memory.append(server.resident())
        codes.append(server.stop(signal.SIGTERM))
    return np.array(latencies), errors, memory, codes


def main():
    parser = argparse.ArgumentParser(description="Load on the example service.")
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    seconds = 8.0 if arguments.quick else arguments.seconds
    latencies, errors, memory, codes = load(seconds)
    p50, p99 = 1000 * np.quantile(latencies, [0.5, 0.99])
    print(f"{CLIENTS} clients, {seconds:g} s, {os.cpu_count()} cores, one kill")
    n = len(latencies)
    print(f"{n} requests, {n / seconds:.1f} per second, {len(errors)} errors")
    print(f"latency p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    shown = " -> ".join(f"{value:.0f}" for value in memory)
    print(f"memory of the service {shown} MiB; exit codes {codes}")
    for error in errors[:5]:
        print(error)


if __name__ == "__main__":
    main()
