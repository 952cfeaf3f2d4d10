"""Are exports slower than the pipeline that they were made of? Seconds for 1,000 images, by route.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/export_speed.py``. The pipeline's own
``predict_proba`` starts from pixels, so that the exports are given what its preprocessing makes,
and that is timed apart: what is compared is the preprocessing plus the export with the pipeline.
The model is the shipped one, or an untrained ViT-B-32 with ``--model``, whose speed is that of any.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from result_files import environment, plain_table
from sklearn.pipeline import make_pipeline

from skclip import BayesAdapterClassifier, CLIPFeaturizer
from skclip.datasets import load_digits_images, tiny_clip
from skclip.export import to_onnx, to_torch


def fastest(job, repeats):
    """Seconds of the fastest of several calls, and what it returned."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = job()
        times.append(time.perf_counter() - start)
    return min(times), result


def pipeline_of(model, images, labels):
    given = {"pretrained": tiny_clip()}
    if model is not None:
        given = {"model": model, "allow_random_weights": True}
    featurizer = CLIPFeaturizer(**given, device="cpu", batch_size=32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*random weights.*")
        return make_pipeline(featurizer, BayesAdapterClassifier()).fit(images[:50], labels[:50])


def in_batches(forward, batch):
    return np.concatenate([forward(batch[i : i + 32]) for i in range(0, len(batch), 32)])


def main():
    parser = argparse.ArgumentParser(description="Speed of exports.")
    parser.add_argument("--quick", action="store_true", help="100 images, once")
    parser.add_argument("--model", help="an architecture of open_clip, without trained weights")
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    n, repeats = (100, 1) if arguments.quick else (arguments.images, 3)
    data = load_digits_images(subset="test", size=224)
    images = np.concatenate([data.images] * 2)[:n]
    pipeline = pipeline_of(arguments.model, data.images, data.labels)
    module = to_torch(pipeline)
    backbone = module.backbone
    prepare = lambda: backbone.stack(  # noqa: E731
        [backbone.prepare(Image.fromarray(image)) for image in images]
    )
    seconds = {}
    seconds["preprocessing"], batch = fastest(prepare, repeats)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*random weights.*")
        seconds["predict_proba"], expected = fastest(
            lambda: pipeline.predict_proba(images), repeats
        )
    with torch.inference_mode():
        seconds["to_torch"], in_torch = fastest(
            lambda: in_batches(lambda part: module(part).numpy(), batch), repeats
        )
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*random weights.*")
            path = to_onnx(pipeline, Path(folder) / "pipeline.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        seconds["to_onnx"], in_onnx = fastest(
            lambda: in_batches(lambda part: session.run(None, {"images": part})[0], batch.numpy()),
            repeats,
        )
    whole = {name: seconds[name] + seconds["preprocessing"] for name in ("to_torch", "to_onnx")}
    whole["predict_proba"] = seconds["predict_proba"]
    found = {"to_torch": in_torch, "to_onnx": in_onnx, "predict_proba": expected}
    rows = [
        (
            name,
            f"{whole[name]:.2f}",
            f"{whole[name] / whole['predict_proba']:.2f}",
            f"{np.abs(found[name] - expected).max():.1e}",
        )
        for name in ("predict_proba", "to_torch", "to_onnx")
    ]
    print(
        f"{n} images, {arguments.model or 'the shipped model'}, {torch.get_num_threads()} threads"
    )
    print(plain_table(("route", "seconds", "ratio", "largest difference"), rows))
    print(environment(onnxruntime=onnxruntime.__version__))


if __name__ == "__main__":
    main()
