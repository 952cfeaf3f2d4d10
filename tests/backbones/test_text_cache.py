"""Prompts are encoded once for all processes, and never taken for others."""

import numpy as np
import pytest

import skclip
from skclip import ClassPrompts
from skclip.backbones import Backbone, BackboneConfig, encode_texts_once, get_backbone
from skclip.datasets import tiny_clip
from skclip.exceptions import PrototypeWarning
from skclip.prompts import class_prompts

TEXTS = ["a photo of a cat.", "a photo of a dog.", "a photo of a cat."]


@pytest.fixture
def backbone():
    return get_backbone(BackboneConfig(None, tiny_clip(), device="cpu"))


@pytest.fixture
def encoded(monkeypatch):
    """How many texts each call of the model got."""
    sizes, original = [], Backbone.encode_tokens

    def count(self, tokens, *args, **kwargs):
        sizes.append(len(tokens))
        return original(self, tokens, *args, **kwargs)

    monkeypatch.setattr(Backbone, "encode_tokens", count)
    return sizes


def test_rows_are_those_of_the_model(backbone, tmp_path, encoded):
    expected = backbone.encode_texts(TEXTS)
    for _ in range(2):
        rows = encode_texts_once(backbone, TEXTS, tmp_path)
        # Rounding: the model gets the equal texts once.
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
    assert encoded == [3, 2]


def test_only_new_texts_are_encoded(backbone, tmp_path, encoded):
    encode_texts_once(backbone, TEXTS, tmp_path)
    rows = encode_texts_once(backbone, ["a photo of a bird.", *TEXTS], tmp_path)
    assert encoded == [2, 1]
    np.testing.assert_array_equal(rows[1], rows[3])


def test_another_tokenizer_is_another_key(backbone, tmp_path, encoded, monkeypatch):
    """What the model sees are numbers: the same text with others is another text."""
    encode_texts_once(backbone, TEXTS, tmp_path)
    original = backbone.tokenize
    monkeypatch.setattr(backbone, "tokenize", lambda texts: original([t.upper() for t in texts]))
    encode_texts_once(backbone, TEXTS, tmp_path)  # CLIP's tokenizer ignores case
    monkeypatch.setattr(backbone, "tokenize", lambda texts: original([t + "!" for t in texts]))
    encode_texts_once(backbone, TEXTS, tmp_path)
    assert encoded == [2, 2]


def test_prototypes_of_another_process_are_found(tmp_path, encoded):
    """As in a new process: nothing is held in memory."""
    names = ["one", "two", "three"]
    prompts = ClassPrompts(
        pretrained=tiny_clip(), templates="imagenet-select", device="cpu", cache_dir=tmp_path
    )
    first = prompts.encode(names)
    assert encoded == [24]
    class_prompts._encode_once.cache_clear()
    again = prompts.encode(names[::-1])
    assert encoded == [24]
    np.testing.assert_array_equal(again.vectors, first.vectors)
    (space,) = skclip.cache_info(tmp_path).spaces
    assert (space.kind, space.n_rows) == ("text", 24)


def test_a_folder_that_cannot_be_written_costs_no_prototypes(
    backbone, tmp_path, caplog, monkeypatch
):
    def refuse(*args):
        raise OSError("Read-only file system")

    monkeypatch.setattr("skclip.store.cache.Cache.put", refuse)
    rows = encode_texts_once(backbone, TEXTS, tmp_path)
    assert np.isfinite(rows).all()
    assert "texts cannot be stored in" in caplog.text


@pytest.mark.parametrize("cached", [True, False])
def test_texts_are_encoded_again_when_the_weights_under_a_name_change(tmp_path, make_clip, cached):
    """One process, one name, one list of texts: only the file is another."""
    folder = tmp_path / "clip"
    prompts = ClassPrompts(
        pretrained=make_clip(folder, seed=0),
        device="cpu",
        cache_dir=tmp_path / "cache" if cached else None,
    )
    first = prompts.encode(["cat", "dog"]).vectors
    np.testing.assert_array_equal(prompts.encode(["cat", "dog"]).vectors, first)
    make_clip(folder, seed=1)
    other = ClassPrompts(pretrained=make_clip(tmp_path / "new", seed=1), device="cpu")
    np.testing.assert_allclose(
        prompts.encode(["cat", "dog"]).vectors,
        other.encode(["cat", "dog"]).vectors,
        rtol=0,
        atol=1e-6,
    )


def test_prompts_that_are_cut_are_said_with_their_classes(backbone):
    """Two tokens of the context are the beginning and the end; also of a featurizer."""
    room = backbone.context_length - 2
    fits, long = "a " * (room - 1) + "cat", "a " * room + "cat"
    names = {"cat": "cat", "exact": fits, "long": long, "longer": long + " that sleeps"}
    for model in (None, skclip.CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")):
        pretrained = tiny_clip() if model is None else None
        prompts = ClassPrompts(model, pretrained, templates="{}", class_names=names)
        with pytest.warns(PrototypeWarning, match="of 'long', 'longer' the model sees the begin"):
            prompts.encode([*names])
        prompts.encode(["cat", "exact"])


def test_names_that_the_tokenizer_takes_for_one_are_said():
    prompts = ClassPrompts(pretrained=tiny_clip(), device="cpu")
    with pytest.warns(PrototypeWarning, match="among those of 'Jaguar', 'jaguar' there are equal"):
        skclip.ZeroShotClassifier(prompts).fit(np.eye(3, 64), ["jaguar", "Jaguar", "cat"])
