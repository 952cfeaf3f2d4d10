"""Prototypes are open_clip's own zero-shot weights, on the shipped model."""

import numpy as np
import open_clip
import pytest

from skclip import ClassPrompts, CLIPFeaturizer, ZeroShotClassifier
from skclip.datasets import load_digits_images, tiny_clip
from skclip.prompts import get_templates

NAMES = ["eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero"]


@pytest.fixture(scope="module")
def bare():
    """The model and tokenizer as open_clip loads them."""
    model = open_clip.create_model_from_pretrained(tiny_clip(), return_transform=False)
    return model.eval(), open_clip.get_tokenizer(tiny_clip())


@pytest.mark.parametrize("templates", ["simple", "imagenet-select", "openai-imagenet"])
def test_prototypes_equal_open_clips_zero_shot_weights(bare, templates):
    expected = open_clip.build_zero_shot_classifier(*bare, NAMES, list(get_templates(templates)))
    prototypes = ClassPrompts(pretrained=tiny_clip(), templates=templates).encode(NAMES)
    assert prototypes.labels.tolist() == NAMES
    # Float precision: sums over 80 templates may be taken in another order.
    np.testing.assert_allclose(prototypes.vectors, expected.numpy().T, rtol=0, atol=2e-6)


def test_raw_prototypes_are_the_mean_of_the_raw_embeddings(bare):
    model, tokenizer = bare
    prompts = ["a photo of a one.", "art of the one."]
    expected = model.encode_text(tokenizer(prompts)).detach().numpy().mean(axis=0)
    prototypes = ClassPrompts(
        pretrained=tiny_clip(), templates=["a photo of a {}.", "art of the {}."], normalize=False
    ).encode(["one"])
    np.testing.assert_allclose(prototypes.vectors[0], expected, rtol=1e-5, atol=1e-5)


def test_the_logit_scale_is_the_models(bare):
    prototypes = ClassPrompts(pretrained=tiny_clip()).encode(["one"])
    expected = float(bare[0].logit_scale.detach().exp())
    assert prototypes.logit_scale == pytest.approx(expected, rel=1e-6)


def test_a_featurizer_serves_as_text_encoder():
    """The model is named once for images and texts."""
    featurizer = CLIPFeaturizer(pretrained=tiny_clip())
    by_featurizer = ClassPrompts(featurizer, templates="{}").encode(NAMES)
    by_name = ClassPrompts(pretrained=tiny_clip(), templates="{}").encode(NAMES)
    np.testing.assert_array_equal(by_featurizer.vectors, by_name.vectors)
    assert by_featurizer.logit_scale == by_name.logit_scale


def test_zero_shot_reads_upright_digits():
    """The whole path on images that the model has not seen: far above chance."""
    data = load_digits_images()
    X = CLIPFeaturizer(pretrained=tiny_clip()).transform(data.images)
    prompts = ClassPrompts(pretrained=tiny_clip(), templates="a photo of the digit {}.")
    classifier = ZeroShotClassifier(prompts).fit(X, data.labels)
    assert classifier.score(X, data.labels) > 0.95
