"""What features lose when JPEG files are decoded at a fraction of their size.

Run it as ``SKCLIP_PHOTOS=folder python benchmarks/jpeg_draft.py``, with a folder of class folders
of JPEG photographs, at most a few hundred pixels wide; without it the two photographs that
scikit-learn has are cut into parts. They are laid side by side into larger pictures, which have the
detail of their size, and saved as JPEG files of quality 90. Two models see them: the shipped
tiny CLIP, which is trained, and ViT-B-32 with random weights.

The change is one minus the cosine of the two features. Beside it are that of saving the picture
again with quality 95 or 75, and that between two pictures. "Rounded" are pictures whose sides
the fraction does not divide: ``jpeg_draft=True`` decodes these whole.

The results go to ``benchmarks/results/jpeg_draft.json`` and ``docs/tables/jpeg_draft.rst``.
"""

import argparse
import io
import json
import logging
import os
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from result_files import RESULTS, environment, plain_table, write_json, write_table
from sklearn.datasets import load_sample_images

from skclip import CLIPFeaturizer
from skclip.backbones import get_backbone
from skclip.benchmark.rendering import list_table
from skclip.datasets import tiny_clip

TINY = ("tiny CLIP", {"pretrained": tiny_clip()})
VIT = ("ViT-B-32, random", {"model": "ViT-B-32", "allow_random_weights": True})
# Model, side of the pictures, and the divisor of what is decoded; the last ones are rounded.
CASES = [(TINY, 224, 2), (TINY, 672, 8), (VIT, 896, 2), (VIT, 1792, 4)]
CASES += [(TINY, 227, 2), (TINY, 681, 8), (VIT, 909, 2), (VIT, 1801, 4)]
QUALITY = 90


def photographs():
    """Small real photographs, and what they are called in the table."""
    folder = os.environ.get("SKCLIP_PHOTOS")
    if folder:
        files = sorted(Path(folder).rglob("*.jpg"))
        return [Image.open(file).convert("RGB") for file in files], "SKCLIP_PHOTOS"
    whole = [Image.fromarray(image) for image in load_sample_images().images]
    corners = [(x, y) for x in range(0, 400, 100) for y in range(0, 200, 100)]
    parts = [image.crop((x, y, x + 227, y + 227)) for image in whole for x, y in corners]
    return parts, "scikit-learn's sample photographs"


def picture(parts, side, rng):
    """A square picture of parts side by side, as a JPEG file."""
    out, size = Image.new("RGB", (side, side)), parts[0].width
    for x in range(0, side, size):
        for y in range(0, side, size):
            out.paste(parts[rng.integers(len(parts))], (x, y))
    return jpeg(out, QUALITY)


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def decoded(content, factor=1):
    image = Image.open(io.BytesIO(content))
    image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return image


def features(backbone, images):
    rows = backbone.encode_images(backbone.stack([backbone.prepare(image) for image in images]))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def seconds(function, repeat=5):
    """Processor time of one call, the least of a few."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def measure(model, side, factor, parts, n):
    name, parameters = model
    backbone = get_backbone(CLIPFeaturizer(**parameters, device="cpu").backbone_config())
    rng = np.random.default_rng(0)
    files = [picture(parts, side, rng) for _ in range(n)]
    whole = [decoded(file) for file in files]
    small = [decoded(file, factor) for file in files]
    expected = features(backbone, whole)

    def change(images):
        return 1 - (expected * features(backbone, images)).sum(axis=1)

    draft = change(small)
    between = (1 - expected @ expected.T)[np.triu_indices(n, 1)]
    return {
        "model": name,
        "sees": backbone.image_size[0],
        "side": side,
        "decoded": small[0].width,
        "rounded": side % factor != 0,
        "n_pictures": n,
        "median": float(np.median(draft)),
        "largest": float(draft.max()),
        "saved_95": float(np.median(change([decoded(jpeg(im, 95)) for im in whole]))),
        "saved_75": float(np.median(change([decoded(jpeg(im, 75)) for im in whole]))),
        "between": float(np.median(between)),
        "whole_ms": 1e3 * seconds(lambda: backbone.prepare(decoded(files[0]))),
        "draft_ms": 1e3 * seconds(lambda: backbone.prepare(decoded(files[0], factor))),
    }


def report(content, *, write):
    header = [
        "Model, what it sees",
        "Side",
        "Decoded",
        "Median",
        "Largest",
        "Saved, 95",
        "Saved, 75",
    ]
    header += ["Others", "Whole, ms", "Fraction, ms"]
    rows = [
        [
            f"{m['model']}, {m['sees']}",
            m["side"],
            f"{m['decoded']}, rounded" if m["rounded"] else m["decoded"],
            *(f"{1e6 * m[k]:,.0f}" for k in ("median", "largest", "saved_95", "saved_75")),
            f"{1e6 * m['between']:,.0f}",
            f"{m['whole_ms']:.1f}",
            f"{m['draft_ms']:.1f}",
        ]
        for m in content["cases"]
    ]
    sentence = (
        f"{content['cases'][0]['n_pictures']} pictures each, laid together from "
        f"{content['source']}. Columns are the median and the largest change, the medians of "
        "saving again and between two pictures, and the time of decoding, resizing and cropping."
    )
    print(plain_table(header, rows), sentence, sep="\n\n")
    if write:
        title = "One minus the cosine of features, in millionths: JPEG at a fraction of its size"
        write_table("jpeg_draft", "jpeg_draft.py", list_table(title, header, rows), sentence + "\n")
        write_json(RESULTS / "jpeg_draft.json", content)


def main():
    parser = argparse.ArgumentParser(description="What features lose by decoding a fraction.")
    parser.add_argument("--quick", action="store_true", help="few pictures, no file")
    parser.add_argument("--table", action="store_true", help="write the table of the last run")
    arguments = parser.parse_args()
    quick = arguments.quick
    if arguments.table:
        report(json.loads((RESULTS / "jpeg_draft.json").read_text()), write=True)
        return
    warnings.filterwarnings("ignore", message=".*has random weights")
    logging.disable(logging.WARNING)  # open_clip's, of random weights
    parts, source = photographs()
    cases = CASES[:2] + CASES[-1:] if quick else CASES
    measured = [measure(*case, parts, 4 if quick else 32) for case in cases]
    report({"environment": environment(), "source": source, "cases": measured}, write=not quick)


if __name__ == "__main__":
    main()
