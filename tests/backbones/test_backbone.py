"""A loaded backbone: the same numbers as open_clip's, in every precision."""

import numpy as np
import open_clip
import pytest
import torch

from skclip.backbones import PRECISIONS, BackboneConfig, get_backbone

# Torch multiplies matrices in another order where weights record gradients (open_clip's do,
# ours do not) and for other batch sizes: some units in the last place of float32, 1.2e-7,
# through two layers of sums of up to 192 terms of order one.
ROUNDING = 5e-6


@pytest.fixture(scope="module")
def backbone(small_clip):
    return get_backbone(BackboneConfig(small_clip, device="cpu"))


@pytest.fixture(scope="module")
def batch():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


TEXTS = ["a photo of a cat.", "Ünïcode & <b>html</b>", "", "word " * 200]


def test_images_are_encoded_as_open_clip_encodes_them(backbone, reference, batch):
    """Raw, not normalised."""
    model, _, _ = reference
    with torch.no_grad():
        expected = model.encode_image(batch).numpy()
    encoded = backbone.encode_images(batch)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, expected, rtol=0, atol=ROUNDING)
    assert not np.allclose(np.linalg.norm(encoded, axis=1), 1)


def test_texts_are_encoded_as_open_clip_encodes_them(backbone, reference):
    model, _, tokenizer = reference
    with torch.no_grad():
        expected = model.encode_text(tokenizer(TEXTS)).numpy()
    np.testing.assert_allclose(backbone.encode_texts(TEXTS), expected, rtol=0, atol=ROUNDING)


def test_the_text_batch_size_changes_rounding_only(backbone):
    whole = backbone.encode_texts(TEXTS)
    one_by_one = backbone.encode_texts(TEXTS, batch_size=1)
    np.testing.assert_allclose(one_by_one, whole, rtol=0, atol=ROUNDING)


def test_preprocessing_is_the_models_own(backbone, reference):
    """The folder's mean, std, interpolation and resize mode, none of them the default."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    _, preprocess, _ = reference
    default = open_clip.transform.image_transform(32, is_train=False)
    torch.testing.assert_close(backbone.preprocess(image), preprocess(image), rtol=0, atol=0)
    assert not torch.allclose(backbone.preprocess(image), default(image))


def test_scale_and_bias_come_from_the_model(backbone):
    """The scale is stored as its logarithm, 3.25; a CLIP model has no bias."""
    assert backbone.logit_scale == pytest.approx(np.exp(3.25), rel=1e-7)
    assert backbone.logit_bias is None


def test_a_siglip_style_bias_is_read(tmp_path, make_clip, small_config):
    name = make_clip(tmp_path, config={**small_config, "init_logit_bias": -10.0})
    assert get_backbone(BackboneConfig(name, device="cpu")).logit_bias == -10.0


def test_sizes_are_those_of_the_configuration(backbone):
    assert backbone.embedding_dim == 16
    assert backbone.image_size == (32, 32)


def test_the_model_is_in_evaluation_mode_without_gradients(backbone):
    assert not any(module.training for module in backbone.model.modules())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_takes_float32_and_gives_float32(small_clip, backbone, batch, precision):
    """Half precision has at least 8 bits of mantissa: directions agree to about 1 %."""
    low = get_backbone(BackboneConfig(small_clip, device="cpu", precision=precision))
    for got, full in (
        (low.encode_images(batch), backbone.encode_images(batch)),
        (low.encode_texts(TEXTS), backbone.encode_texts(TEXTS)),
    ):
        assert got.dtype == np.float32
        cosine = (got * full).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(full, axis=1)
        assert cosine.min() > 0.99


def test_the_fingerprint_tells_weights_apart(tmp_path, make_clip, backbone):
    same = get_backbone(BackboneConfig(make_clip(tmp_path / "same", seed=0), device="cpu"))
    other = get_backbone(BackboneConfig(make_clip(tmp_path / "other", seed=1), device="cpu"))
    assert same.fingerprint == backbone.fingerprint
    assert other.fingerprint != backbone.fingerprint


def test_a_batch_that_does_not_fit_in_memory_is_halved(backbone, batch, monkeypatch, caplog):
    """A GPU that holds two images at a time gives the same rows as one that holds five."""
    expected = backbone.encode_images(batch)
    encode = backbone.model.encode_image

    def small_gpu(images, normalize):
        if len(images) > 2:
            raise torch.OutOfMemoryError("full")
        return encode(images, normalize=normalize)

    monkeypatch.setattr(backbone.model, "encode_image", small_gpu)
    np.testing.assert_allclose(backbone.encode_images(batch), expected, rtol=0, atol=ROUNDING)
    assert "out of memory with a batch of 5; trying 2" in caplog.text


def test_one_image_that_does_not_fit_in_memory_is_an_error(backbone, batch, monkeypatch):
    def no_gpu(images, normalize):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(backbone.model, "encode_image", no_gpu)
    with pytest.raises(torch.OutOfMemoryError):
        backbone.encode_images(batch)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("cat", "texts must be a collection of strings; got the single string 'cat'."),
        ([], "texts must hold at least one string; got none."),
        (["cat", 1, None], r"strings only; got item 1 \(int\), item 2 \(NoneType\)."),
        ([1] * 7, r"item 4 \(int\) and 2 more."),
    ],
)
def test_texts_must_be_strings(backbone, texts, message):
    with pytest.raises(ValueError, match=message):
        backbone.encode_texts(texts)


def test_progress_is_shown_when_asked_for(backbone, capsys):
    backbone.encode_texts(["a", "b"], verbose=1)
    assert "2/2" in capsys.readouterr().err


def test_coca_rows_are_raw_too(tmp_path, make_clip, small_config):
    """CoCa alone normalises by default in open_clip."""
    text = {**small_config["text_cfg"], "embed_cls": True, "output_tokens": True}
    vision = {**small_config["vision_cfg"], "attentional_pool": True, "output_tokens": True}
    coca = {
        **small_config,
        "text_cfg": {**text, "context_length": 76},
        "vision_cfg": {**vision, "attn_pooler_heads": 2},
        "multimodal_cfg": {"context_length": 76, "width": 16, "heads": 2, "layers": 1},
        "custom_text": True,
    }
    name = make_clip(tmp_path, config=coca, weights=False)
    with pytest.warns(UserWarning, match="random weights"):
        backbone = get_backbone(BackboneConfig(name, device="cpu", allow_random_weights=True))
    assert "CoCa" in type(backbone.model).__name__
    for rows in (backbone.encode_images(torch.zeros(1, 3, 32, 32)), backbone.encode_texts(["a"])):
        assert not np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
