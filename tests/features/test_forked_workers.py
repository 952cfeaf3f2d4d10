"""Processes that are forked after torch has worked: multiprocessing's fork, gunicorn --preload."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import multiprocessing, sys
import numpy as np
import torch
torch.set_num_threads(2)
from skclip import BayesAdapterClassifier, CLIPFeaturizer, embed_files
from skclip.datasets import make_clip_features, save_digits_images, tiny_clip

folder = sys.argv[1]
data = make_clip_features(n_samples_per_class=16, n_classes=10, n_features=256, random_state=0)
X = np.tile(data.X, (20, 1))
paths, _ = save_digits_images(folder, n_per_class=1)
featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
classifier = BayesAdapterClassifier(data.prototypes, device="cpu").fit(data.X, data.y)
classifier.predict_proba(X)
featurizer.transform(paths)
torch.nn.functional.gelu(torch.rand(10**6))  # the threads are there now

jobs = {
    "predict": lambda: classifier.predict_proba(X),
    "fit": lambda: BayesAdapterClassifier(data.prototypes, device="cpu").fit(data.X, data.y),
    "transform": lambda: featurizer.transform(paths),
    "embed": lambda: embed_files(paths, f"{folder}/out", pretrained=tiny_clip(), device="cpu"),
}
for name, job in jobs.items():
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join()
    print(name, process.exitcode, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have(tmp_path):
    """Torch's threads do not follow into a fork; a work that is shared out to them never ends."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # the script and the process that it waits for
            raise
    assert output.split() == ["predict", "0", "fit", "0", "transform", "0", "embed", "0"]
