"""The shipped tiny CLIP: loads through open_clip offline, and is as good as is said of it."""

import functools
import json
import socket
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from skclip.datasets import DIGIT_NAMES, DIGIT_SHIFTS, load_digits_images, tiny_clip

FOLDER = Path(tiny_clip().removeprefix("local-dir:"))
PROMPT = "a photo of the digit {}."
TARGET = load_digits_images().target


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to open a connection fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def loaded():
    model, preprocess = open_clip.create_model_from_pretrained(tiny_clip())
    return model.eval(), preprocess, open_clip.get_tokenizer(tiny_clip())


@pytest.fixture(scope="module")
def training():
    """What the training script wrote down about the shipped weights."""
    return json.loads((FOLDER / "open_clip_config.json").read_text())["training"]


def prototypes(loaded, names, templates):
    """Columns of open_clip's own zero-shot classifier."""
    model, _, tokenizer = loaded
    with torch.inference_mode():
        return open_clip.build_zero_shot_classifier(model, tokenizer, names, templates)


@pytest.fixture(scope="module")
def features(loaded):
    """Unit features of the test half by shift, computed once."""
    model, preprocess, _ = loaded

    @functools.cache
    def of(shift):
        images = load_digits_images(shift=shift, as_pil=True).images
        with torch.inference_mode():
            return model.encode_image(torch.stack(list(map(preprocess, images))), normalize=True)

    return of


@pytest.fixture(scope="module")
def zero_shot(loaded, features):
    """Class probabilities of the test half by shift."""
    columns = loaded[0].logit_scale.exp().detach() * prototypes(
        loaded, DIGIT_NAMES, [PROMPT.format]
    )
    return lambda shift: (features(shift) @ columns).double().softmax(dim=1).numpy()


def accuracy(proba):
    return np.mean(proba.argmax(axis=1) == TARGET)


def test_the_name_is_an_absolute_local_dir():
    assert tiny_clip().startswith("local-dir:")
    assert FOLDER.is_absolute()
    assert FOLDER.is_dir()


def test_everything_is_under_five_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 5e6


@pytest.mark.usefixtures("no_network")
def test_open_clip_loads_model_and_tokenizer_without_a_network():
    """The tokenizer must be the vocabulary that open_clip carries, cut at 16 tokens."""
    model, preprocess = open_clip.create_model_from_pretrained(tiny_clip())
    tokenizer = open_clip.get_tokenizer(tiny_clip())
    assert type(model) is open_clip.CLIP
    assert isinstance(tokenizer, open_clip.SimpleTokenizer)
    assert tokenizer(["seven"]).shape == (1, 16)
    data = load_digits_images(as_pil=True)
    np.testing.assert_allclose(
        preprocess(data.images[0]).numpy(),
        np.asarray(data.images[0]).transpose(2, 0, 1) / 127.5 - 1,
        atol=1e-6,
    )


def test_the_weights_are_half_precision_and_finite():
    tensors = load_file(FOLDER / "open_clip_model.safetensors")
    assert tensors.pop("logit_scale").dtype == torch.float32
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_the_logit_scale_is_that_of_large_clip_models(loaded):
    assert loaded[0].logit_scale.exp().item() == pytest.approx(100, rel=1e-6)


def test_zero_shot_reads_held_out_upright_digits(zero_shot):
    """Chance is 10 %; the bar leaves about five standard errors (0.4 %) for other machines."""
    assert accuracy(zero_shot(None)) > 0.965


def test_confidence_on_held_out_upright_digits_is_near_the_accuracy(zero_shot):
    """A sensible logit scale: zero-shot probabilities can be taken at face value."""
    assert abs(zero_shot(None).max(axis=1).mean() - accuracy(zero_shot(None))) < 0.05


@pytest.mark.parametrize("shift", DIGIT_SHIFTS)
def test_every_shift_costs_accuracy(zero_shot, shift):
    """The shifts are the task that few-shot adaptation has to win, so there must be one."""
    assert accuracy(zero_shot(shift)) < accuracy(zero_shot(None)) - 0.01


def test_the_combined_shift_is_hard_but_the_texts_still_help(zero_shot):
    """Far below upright, far above chance, and too confident: what calibration is for."""
    proba = zero_shot("combined")
    assert 0.55 < accuracy(proba) < 0.8
    assert proba.max(axis=1).mean() > accuracy(proba) + 0.03


def test_the_texts_mislead_on_inverted_digits(zero_shot):
    """Below chance: the case in which a text prior must be overruled."""
    assert accuracy(zero_shot("inverted")) < 0.1


@pytest.mark.parametrize("shift", [None, *DIGIT_SHIFTS])
def test_the_recorded_accuracy_is_the_measured_one(zero_shot, training, shift):
    """Up to two images, for the last digits of arithmetic elsewhere."""
    recorded = training["zero_shot_on_the_test_half"][shift or "upright"]["single"]["accuracy"]
    assert accuracy(zero_shot(shift)) == pytest.approx(recorded, abs=2.5 / len(TARGET))


def test_the_docstring_states_the_recorded_accuracies(training):
    """Trained again, the docstring has to be written again."""
    stated = " ".join(tiny_clip.__doc__.split())
    for shift, prompts in training["zero_shot_on_the_test_half"].items():
        assert f"{prompts['single']['accuracy']:.1%}".replace("%", f" % {shift}") in stated


@pytest.mark.parametrize(
    ("names", "templates"),
    [
        (DIGIT_NAMES, open_clip.OPENAI_IMAGENET_TEMPLATES),
        (list("0123456789"), [PROMPT.format]),
        (DIGIT_NAMES, ["a photo of a {}, a type of pet.".format]),
    ],
    ids=["open_clip's templates", "numerals", "an unknown template"],
)
def test_other_prompts_read_the_digits_too(loaded, features, names, templates):
    """Template sets can be compared in a demo, and none of them breaks it."""
    proba = features(None) @ prototypes(loaded, names, templates)
    assert accuracy(proba.numpy()) > 0.965
