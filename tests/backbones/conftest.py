"""A small CLIP with random weights that were saved, so that loading it is real."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
# Nothing here is open_clip's default, so that a default that creeps in is seen.
PREPROCESSING = {
    "size": 32,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "fill_color": 0,
}


def save_clip(folder, *, seed=0, config=CONFIG, preprocessing=PREPROCESSING, weights=True):
    """Write a `local-dir:` folder: configuration and, unless told otherwise, weights."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    if weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = open_clip.CLIP(**config)
        with torch.no_grad():
            model.logit_scale.fill_(3.25)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


@pytest.fixture(scope="session")
def small_config():
    return CONFIG


@pytest.fixture(scope="session")
def make_clip():
    return save_clip


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture(scope="session")
def reference(small_clip):
    """The same model as open_clip loads it: model, preprocessing, tokenizer."""
    model, preprocess = open_clip.create_model_from_pretrained(small_clip)
    return model.eval(), preprocess, open_clip.get_tokenizer(small_clip)


@pytest.fixture
def registered(monkeypatch):
    """Makes open_clip know the small architecture, in both activations, and given tags."""

    def register(name="small", **tags):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, dict(CONFIG))
        monkeypatch.setitem(
            open_clip.factory._MODEL_CONFIGS, f"{name}-quickgelu", {**CONFIG, "quick_gelu": True}
        )
        quick = {tag: value for tag, value in tags.items() if value.get("quick_gelu")}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, tags)
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, f"{name}-quickgelu", quick)

    return register


@pytest.fixture
def no_backbones():
    """No backbone is loaded before and after the test."""
    from skclip.backbones import clear_backbones

    clear_backbones()
    yield
    clear_backbones()
