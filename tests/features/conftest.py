"""A small CLIP in a folder, open_clip's own loop over it, and images on disk."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory):
    """The name of a model with random weights that were saved: loading it is real."""
    folder = tmp_path_factory.mktemp("clip") / "small"
    folder.mkdir()
    described = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(open_clip.CLIP(**CONFIG).state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


@pytest.fixture(scope="session")
def pixels():
    """Forty colour images, uint8, (40, 48, 36, 3): smooth, in two visibly different classes."""
    rng = np.random.default_rng(0)
    h, w = np.mgrid[0:48, 0:36] / 48
    phase = rng.uniform(0, 0.5, (40, 1, 1))
    kind = (np.arange(40) % 2)[:, None, None]
    grey = 0.5 + 0.5 * np.sin(2 * np.pi * (4 * np.where(kind, h, w) + phase))
    colour = np.stack([grey, 1 - grey, np.full_like(grey, 0.3)], axis=-1)
    return np.round(255 * colour).astype(np.uint8)


@pytest.fixture(scope="session")
def kinds():
    """The class of each image of `pixels`."""
    return np.array(["vertical", "horizontal"])[np.arange(40) % 2]


@pytest.fixture(scope="session")
def paths(pixels, tmp_path_factory):
    """The same images as PNG files, which lose nothing."""
    folder = tmp_path_factory.mktemp("images")
    names = [folder / f"{i}.png" for i in range(len(pixels))]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(name)
    return names


@pytest.fixture(scope="session")
def open_clip_loop(small_clip):
    """What a user of bare open_clip writes: PIL images -> raw features."""
    model, preprocess = open_clip.create_model_from_pretrained(small_clip)
    model.eval()

    def loop(images):
        with torch.no_grad():
            return np.concatenate(
                [model.encode_image(preprocess(image)[None]).numpy() for image in images]
            )

    return loop


@pytest.fixture
def encoded(monkeypatch):
    """How many images each call of a model got, in this process."""
    from skclip.backbones import Backbone

    sizes, original = [], Backbone.encode_images

    def count(self, batch):
        sizes.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(Backbone, "encode_images", count)
    return sizes


@pytest.fixture
def settled(monkeypatch):
    """Files count as left alone at once, so that no test has to wait."""
    monkeypatch.setattr("skclip.features.image_reading._SETTLED_NS", 0)
