"""Messages of a command speak of its options, not of parameters in Python."""

import argparse
import re

import pytest

from skclip.cli import main
from skclip.cli.shared.wording import in_options
from skclip.datasets import save_digits_images, tiny_clip

OPTIONS = argparse.Namespace(model=None, pretrained=None, target_risk=None, config=None)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Pass for instance model='ViT-B-32'; only", "Pass for instance --model ViT-B-32; only"),
        ("got model=None with pretrained='a b'.", "got no --model with --pretrained a b."),
        ("Pass model=None, since the", "Leave out --model, since the"),
        ("so pretrained must be None; got", "so --pretrained must be left out; got"),
        ("target_risk=0.05 lets", "--target-risk 0.05 lets"),
        ("confidence_level=0.9 is none", "confidence_level=0.9 is none"),
        ("'/a/model=1/x.png' and '/b model.png'", "'/a/model=1/x.png' and '/b model.png'"),
    ],
)
def test_parameters_are_options(said, meant):
    assert in_options(said, OPTIONS) == meant


def test_a_study_in_a_file_has_no_options():
    arguments = argparse.Namespace(model=None, config="study.toml")
    assert in_options("Pass model='ViT-B-32'.", arguments) == "Pass model='ViT-B-32'."


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        (["--pretrained", "openai"], "Pass for instance --model ViT-B-32"),
        (["--model", "ViT-B-32", "--pretrained", tiny_clip()], "Leave out --model"),
        (["--model", tiny_clip(), "--pretrained", "openai"], "--pretrained must be left out"),
    ],
)
def test_an_error_of_the_model_says_which_option_to_change(tmp_path, capsys, model, remedy):
    save_digits_images(tmp_path / "digits", n_per_class=2)
    out = ["--out", str(tmp_path / "out.safetensors")]
    assert main(["fit", str(tmp_path / "digits"), *model, *out, "--quiet"]) == 1
    said = capsys.readouterr().err
    assert remedy in said
    assert not re.search(r"\b(model|pretrained)=", said)
