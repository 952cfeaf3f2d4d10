"""Time CLIPFeaturizer: its cache, its overhead over a bare model, its memory.

Run it as ``OMP_NUM_THREADS=2 python benchmarks/embedding_speed.py`` on an idle machine with two
cores. All models but the tiny CLIP have random weights: the time does not depend on them.

- *Cache.* The same image files are transformed twice with an empty `cache_dir`; the second time
  is the fastest of three. The first includes nothing but the work: the model is loaded before.
- *Overhead.* ``transform`` of JPEG files, without a cache, against a loop over
  batches that are already decoded and preprocessed and only go through open_clip's
  ``encode_image``: the model's own peak. Both take turns, with the same batch size and number of
  torch threads, one and two; what counts is the median of the ratios of neighbouring runs. Files
  are of 500 x 375 pixels, and photographs of 4000 x 3000, whole and with ``jpeg_draft=True``.
- *Memory.* A fresh process loads the tiny CLIP, embeds a few images, then many tiny files. The
  peak of its memory, less what it held before and less the output, is what embedding takes.
- *Files.* ``embed_files`` on the same tiny files, as images per second.

The results go to ``benchmarks/results/embedding_speed.json`` and
``docs/tables/embedding_speed.rst``.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from result_files import (
    RESULTS,
    environment,
    plain_table,
    write_json,
    write_table,
)

from skclip import CLIPFeaturizer, embed_files
from skclip.backbones import get_backbone
from skclip.benchmark.rendering import list_table
from skclip.datasets import tiny_clip

LARGE = {"model": "ViT-B-32", "allow_random_weights": True}
TINY = {"pretrained": tiny_clip()}
# A file is known by its times only when it was left alone for two seconds.
SETTLE = 2.5


def write_images(folder, n, size, suffix, seed=0):
    """Files of n images, (width, height) `size`, each another one."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(n):
        # Noise of a coarse grid, enlarged: a JPEG file of it is about as large as a photograph's.
        grid = rng.integers(0, 256, (max(size[1] // 5, 8), max(size[0] // 5, 8), 3), dtype=np.uint8)
        path = folder / f"{i:06d}{suffix}"
        Image.fromarray(grid).resize(size).save(path)
        paths.append(str(path))
    return paths


def time_call(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def time_cache(name, model, paths, folder, device):
    """Seconds of the first and of the second transform of the same files."""
    featurizer = CLIPFeaturizer(**model, device=device, cache_dir=folder / "cache")
    CLIPFeaturizer(**model, device=device).transform(paths[:8])  # loads the model
    get_backbone(featurizer.backbone_config()).fingerprint  # noqa: B018  # once per process, as loading is
    first, expected = time_call(lambda: featurizer.transform(paths))
    second = []
    for _ in range(3):
        seconds, features = time_call(lambda: featurizer.transform(paths))
        second.append(seconds)
        np.testing.assert_array_equal(features, expected)
    shutil.rmtree(folder / "cache")
    return {
        "model": name,
        "n_images": len(paths),
        "first_s": first,
        "second_s": min(second),
        "ratio": first / min(second),
    }


def time_overhead(model, paths, batch_size, n_jobs, torch_threads, draft, repeat, device):
    """Images per second of a bare loop over preprocessed batches, and of transform."""
    torch.set_num_threads(torch_threads)
    featurizer = CLIPFeaturizer(
        **model, device=device, batch_size=batch_size, n_jobs=n_jobs, jpeg_draft=draft
    )
    backbone = get_backbone(featurizer.backbone_config())
    with Image.open(paths[0]) as first:
        size = first.size
    images = [backbone.preprocess(Image.open(path).convert("RGB")) for path in paths]
    batches = [
        torch.stack(images[i : i + batch_size]).to(backbone.device)
        for i in range(0, len(images), batch_size)
    ]

    def bare():
        with torch.inference_mode():
            return torch.cat([backbone.model.encode_image(batch) for batch in batches]).cpu()

    bare()
    featurizer.transform(paths[:batch_size])
    runs = []
    for turn in range(repeat):
        timed = {}
        pair = (("bare", bare), ("transform", lambda: featurizer.transform(paths)))
        for name, function in pair if turn % 2 else pair[::-1]:
            timed[name], _ = time_call(function)
        runs.append(timed)
    n = len(paths)
    return {
        "size": size,
        "jpeg_draft": draft,
        "batch_size": batch_size,
        "torch_threads": torch_threads,
        "n_jobs": n_jobs,
        "n_images": n,
        "bare_per_s": n / float(np.median([run["bare"] for run in runs])),
        "transform_per_s": n / float(np.median([run["transform"] for run in runs])),
        "ratio": float(np.median([run["bare"] / run["transform"] for run in runs])),
        "runs": runs,
    }


def measure_memory(paths, folder):
    """MiB above the loaded model and the output, in a fresh process."""
    listed = folder / "paths.json"
    listed.write_text(json.dumps(paths))
    command = [sys.executable, __file__, "--memory-of", str(listed)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def memory_mib(field):
    """What this process holds ("VmRSS") or the most it has held ("VmHWM"), in MiB; Linux only.

    Not getrusage: there a process starts with the peak of the one that started it.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def memory_of(listed):
    """What the fresh process does."""
    featurizer = CLIPFeaturizer(
        **TINY, device="cpu", n_jobs=2, cache_dir=Path(listed).parent / "memory-cache"
    )
    paths = json.loads(Path(listed).read_text())
    featurizer.transform(paths[:64])
    before = memory_mib("VmRSS")
    seconds, features = time_call(lambda: featurizer.transform(paths))
    above = memory_mib("VmHWM") - before - features.nbytes / 2**20
    print(json.dumps({"n_images": len(paths), "above_mib": above, "per_s": len(paths) / seconds}))


def time_files(paths, folder):
    report = embed_files(paths, folder / "out", **TINY, device="cpu", dtype="float16")
    seconds = report.seconds
    again = embed_files(paths, folder / "out", **TINY, device="cpu", dtype="float16")
    return {
        "n_images": len(paths),
        "per_s": len(paths) / seconds,
        "again_s": again.seconds,
        "bytes_per_row": (report.out / "features.npy").stat().st_size / len(paths),
    }


def report(content, *, write):
    cache = content["cache"]
    header = ["Model", "Images", "First, s", "Second, s", "Ratio"]
    rows = [
        [
            c["model"],
            f"{c['n_images']:,}",
            f"{c['first_s']:.2f}",
            f"{c['second_s']:.4f}",
            f"{c['ratio']:.0f}",
        ]
        for c in cache
    ]
    header_2 = [
        "Files",
        "Threads of torch",
        "Threads that decode",
        "Bare loop, images/s",
        "transform, images/s",
        "Ratio",
    ]
    rows_2 = [
        [
            "{} x {}".format(*o["size"]) + ", draft" * o["jpeg_draft"],
            o["torch_threads"],
            o["n_jobs"],
            f"{o['bare_per_s']:.2f}",
            f"{o['transform_per_s']:.2f}",
            f"{o['ratio']:.3f}",
        ]
        for o in content["overhead"]
    ]
    memory, files = content["memory"], content["files"]
    sentences = [
        f"Embedding {memory['n_images']:,} tiny files with a cache takes {memory['above_mib']:.0f} "
        f"MiB above the loaded model and the output, at {memory['per_s']:.0f} images per second.",
        f"``embed_files`` with the tiny CLIP embeds {files['per_s']:.0f} images per second; a call "
        f"on the finished folder of {files['n_images']:,} files returns after "
        f"{files['again_s']:.2f} s.",
    ]
    print(plain_table(header, rows), plain_table(header_2, rows_2), *sentences, sep="\n\n")
    if not write:
        return
    write_table(
        "embedding_speed",
        "embedding_speed.py",
        list_table("The same files twice, with an empty cache", header, rows),
        list_table("ViT-B-32 without a cache, from JPEG files in batches of 32", header_2, rows_2),
        *(f"{s}\n" for s in sentences),
    )
    write_table("embedding_many", "embedding_speed.py", f"{describe_many(content['overhead'])}\n")
    write_json(RESULTS / "embedding_speed.json", content)


def describe_many(overhead):
    """The arithmetic for 100 million images, of 512 features, from what was measured."""
    n, d, shard = 100_000_000, 512, 8192
    per_s = max(o["transform_per_s"] for o in overhead if o["size"] == overhead[0]["size"])
    days = n / per_s / 86_400
    return (
        f"**100 million images** with ViT-B-32 at {per_s:.1f} images per second and machine, as "
        f"here, are {days:.0f} machine-days: {days / 64:.1f} days on 64 such machines. Divide by "
        "how much faster yours embed. The output is "
        f"{n * d * 2 / 1e9:.0f} GB in float16 ({n * d * 4 / 1e9:.0f} GB in float32), in "
        f"{-(-n // shard):,} shards of {shard:,} files; a kill costs at most "
        f"{shard / per_s / 60:.0f} minutes of one machine. At 80 kB each the files are "
        f"{n * 80e3 / 1e12:.0f} TB, to be read once: {per_s * 80e3 / 1e6:.1f} MB/s for each "
        "machine."
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description="Time CLIPFeaturizer and measure its memory.")
    parser.add_argument("--quick", action="store_true", help="few images, no file")
    parser.add_argument("--repeat", type=int, default=5, help="turns of the overhead comparison")
    parser.add_argument("--images", type=int, default=100_000, help="of the memory measurement")
    parser.add_argument("--large-images", type=int, default=192, help="that ViT-B-32 embeds")
    parser.add_argument("--photographs", type=int, default=96, help="of 4000 x 3000 pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="write the table of the last run")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    warnings.filterwarnings("ignore", message=".*has random weights")
    logging.disable(logging.WARNING)  # open_clip's, of random weights
    if arguments.table:
        report(json.loads((RESULTS / "embedding_speed.json").read_text()), write=True)
        return
    if arguments.memory_of:
        memory_of(arguments.memory_of)
        return
    n_tiny, n_large, n_many = 1000, arguments.large_images, arguments.images
    name, large_model = "ViT-B-32", LARGE
    if arguments.quick:
        n_tiny, n_large, n_many, arguments.repeat = 100, 8, 300, 1
        name, large_model, arguments.photographs = "tiny CLIP", TINY, 2
    content = {"environment": environment(torch_threads=torch.get_num_threads())}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tiny = write_images(folder / "tiny", n_tiny, (32, 32), ".png")
        large = write_images(folder / "large", n_large, (500, 375), ".jpg")
        time.sleep(SETTLE)
        content["cache"] = [
            time_cache("tiny CLIP", TINY, tiny, folder, arguments.device),
            time_cache(name, large_model, large, folder, arguments.device),
        ]
        huge = write_images(folder / "huge", arguments.photographs, (4000, 3000), ".jpg")
        content["overhead"] = [
            time_overhead(
                *(large_model, paths, min(32, len(paths)), n_jobs, torch_threads, draft),
                *(arguments.repeat, arguments.device),
            )
            for paths, draft in ((large, False), (huge, False), (huge, True))
            for torch_threads in (1, 2)
            for n_jobs in (1, 2)
        ]
        torch.set_num_threads(content["environment"]["torch_threads"])
        many = write_images(folder / "many", n_many, (16, 16), ".png", seed=1)
        content["memory"] = measure_memory(many, folder)
        content["files"] = time_files(many[: max(len(many) // 10, 300)], folder)
    report(content, write=not arguments.quick)


if __name__ == "__main__":
    main()
