"""The model's preprocessing in two halves gives the numbers of the whole."""

from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from skclip.backbones import Backbone
from skclip.backbones import batch_size as batch_size_module
from skclip.backbones.batch_size import automatic_batch_size
from tests.accelerators import PretendAccelerator


def backbone_of(preprocess):
    return Backbone(
        torch.nn.Module(),
        preprocess=preprocess,
        model_name="none",
        model_config={},
        tokenizer_name="none",
        device=torch.device("cpu"),
        precision="fp32",
    )


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 48, 36, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels]


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_halves_equal_the_whole_bit_for_bit(images, resize_mode, interpolation):
    preprocess = image_transform_v2(
        PreprocessCfg(
            size=24,
            mean=open_clip.OPENAI_DATASET_MEAN,
            std=open_clip.OPENAI_DATASET_STD,
            resize_mode=resize_mode,
            interpolation=interpolation,
        ),
        is_train=False,
    )
    backbone = backbone_of(preprocess)
    halves = [backbone.prepare(image) for image in images]
    assert all(half.dtype == np.uint8 for half in halves)
    whole = torch.stack([preprocess(image) for image in images])
    assert torch.equal(backbone.stack(halves), whole)


def test_a_batch_is_on_the_device_of_the_model(images):
    """Whatever device that is, and whether it has double precision."""
    preprocess = image_transform_v2(PreprocessCfg(size=24), is_train=False)
    backbone = backbone_of(preprocess)
    halves = [backbone.prepare(image) for image in images]
    expected = backbone.stack(halves)
    with PretendAccelerator("mps", has_float64=False):
        backbone.device = torch.device("mps")
        batch = backbone.stack(halves)
        assert batch.device.type == "mps"
        np.testing.assert_array_equal(batch.cpu().numpy(), expected.numpy())


def test_a_preprocessing_of_another_kind_is_called_as_it_is(images):
    def preprocess(image):
        return torch.from_numpy(np.array(image.resize((24, 24)))).permute(2, 0, 1) / 7.0

    backbone = backbone_of(preprocess)
    batch = backbone.stack([backbone.prepare(image) for image in images])
    assert torch.equal(batch, torch.stack([preprocess(image) for image in images]))


def test_on_a_cpu_the_automatic_batch_is_small():
    assert automatic_batch_size(print, (24, 24), torch.device("cpu")) == 32


@pytest.mark.parametrize(
    ("free", "expected"), [(64 * 2**30, 1024), (2**30, 32), (2**20, 1), (3 * 2**30, 64)]
)
def test_on_a_gpu_the_automatic_batch_fills_half_of_the_memory(monkeypatch, free, expected):
    """With a probe of 16 images that takes 256 MiB, 16 MiB each."""
    cuda = SimpleNamespace(
        reset_peak_memory_stats=lambda device: None,
        memory_allocated=lambda device: 2**30,
        max_memory_allocated=lambda device: 2**30 + 2**28,
        mem_get_info=lambda device: (free, 80 * 2**30),
    )
    monkeypatch.setattr(batch_size_module.torch, "cuda", cuda)
    calls = []
    assert automatic_batch_size(calls.append, (24, 24), torch.device("cuda:0")) == expected
    assert [len(call) for call in calls] == [16, 16], "the probe runs after one to warm up"


def test_the_automatic_batch_is_found_once_per_backbone(monkeypatch):
    """On a GPU looking for it costs two batches."""
    backbone, calls = backbone_of(None), []
    backbone.model.visual = SimpleNamespace(image_size=24)
    monkeypatch.setattr(
        "skclip.backbones.backbone.automatic_batch_size", lambda *args: calls.append(args) or 8
    )
    assert backbone.batch_size == backbone.batch_size == 8
    assert len(calls) == 1
