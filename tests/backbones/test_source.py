"""What `model` and `pretrained` may mean, and the errors for what they may not."""

from pathlib import Path

import open_clip
import pytest

from skclip.backbones import BackboneConfig
from skclip.backbones.source import resolve_source
from skclip.exceptions import BackboneError


def resolve(model, pretrained=None, **options):
    return resolve_source(BackboneConfig(model, pretrained, **options))


def quick_gelu_tags():
    return [
        (model, tag)
        for model, tag in open_clip.list_pretrained()
        if open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
    ]


def test_openai_weights_get_quick_gelu():
    """open_clip 3 builds the exact GELU for ("ViT-B-32", "openai") and only warns."""
    source = resolve("ViT-B-32", "openai")
    assert (source.kind, source.name, source.weights) == ("tag", "ViT-B-32-quickgelu", "openai")


@pytest.mark.parametrize(("model", "tag"), quick_gelu_tags())
def test_every_tag_gets_the_activation_that_it_was_trained_with(model, tag):
    source = resolve(model, tag)
    assert open_clip.get_model_config(source.name)["quick_gelu"]
    assert open_clip.is_pretrained_cfg(source.name, tag)


def test_other_tags_keep_the_exact_gelu():
    assert resolve("ViT-B-32", "laion2b_s34b_b79k").name == "ViT-B-32"


def test_tags_may_be_written_as_open_clip_lets_one_write_them():
    assert resolve("ViT-B/32", "laion2b-s34b-b79k").kind == "tag"


def test_a_tag_wins_over_a_file_of_the_same_name_and_a_path_is_never_a_tag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("openai").write_bytes(b"")
    assert resolve("ViT-B-32", "openai").kind == "tag"
    assert resolve("ViT-B-32", Path("openai")).kind == "file"


def test_a_file_is_named_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.pt").write_bytes(b"")
    assert resolve("ViT-B-32", "w.pt") == resolve("ViT-B-32", tmp_path / "w.pt")


def test_a_hub_repository_may_stand_in_either_place():
    assert resolve("hf-hub:org/name") == resolve(None, "hf-hub:org/name")
    assert resolve("ViT-B-32", "hf-hub:org/name").declared == "ViT-B-32"


def test_random_weights_are_an_explicit_choice(tmp_path, make_clip):
    name = make_clip(tmp_path, weights=False)
    assert resolve("ViT-B-32", allow_random_weights=True).kind == "random"
    assert resolve(name, allow_random_weights=True).kind == "random"


def refused(message, *args):
    with pytest.raises(BackboneError) as info:
        resolve(*args)
    assert str(info.value).startswith(message)
    return str(info.value)


def test_nothing_named():
    refused("A CLIP model must be named; got model=None and pretrained=None.", None)


def test_an_architecture_alone_is_refused():
    message = refused("pretrained must name trained weights for 'ViT-B-32'; got None.", "ViT-B-32")
    assert "Tags of 'ViT-B-32': 'openai', " in message
    assert "and 17 more" in message


def test_an_architecture_without_published_weights_alone_is_refused():
    message = refused("pretrained must name trained weights for 'ViT-S-32'; got None.", "ViT-S-32")
    assert "No weights are published for 'ViT-S-32': pass a weights file" in message


def test_weights_without_an_architecture_are_refused():
    refused("model must name the architecture of a tag or of a weights file;", None, "openai")


def test_an_unknown_architecture_gets_close_names():
    message = refused("model must be an architecture that open_clip knows, ", "vit-b-32", "openai")
    assert "Closest: 'ViT-B-32', " in message


def test_an_unknown_tag_gets_at_most_five_close_ones():
    message = refused("pretrained must be a tag of 'ViT-B-32', ", "ViT-B-32", "laion2b")
    listed = message.partition("Tags of 'ViT-B-32': ")[2]
    assert listed.count("'") == 10
    assert "'laion2b_e16'" in listed


def test_a_tag_of_the_plain_architecture_names_it():
    message = refused(
        "pretrained must be a tag of 'ViT-B-32-quickgelu'",
        "ViT-B-32-quickgelu",
        "laion2b_s34b_b79k",
    )
    assert message.endswith("exact GELU, not QuickGELU: pass model='ViT-B-32'.")


def test_a_tag_of_another_architecture_says_so():
    message = refused("pretrained must be a tag of 'RN50'", "RN50", "laion2b_s34b_b79k")
    assert "That tag exists for 'ViT-B-32'." in message


def test_two_sources_of_weights_are_refused(small_clip):
    refused(f"model={small_clip!r} brings its own weights", small_clip, "openai")


def test_a_bare_folder_is_told_its_prefix(tmp_path):
    message = refused("pretrained must be a tag, a weights file,", "ViT-B-32", str(tmp_path))
    assert message.endswith(f"Pass pretrained='local-dir:{tmp_path}'.")


@pytest.mark.parametrize("missing", ["weights.pt", "folder/weights", Path("weights")])
def test_a_missing_file_is_not_taken_for_a_tag(missing):
    refused("pretrained must be an existing weights file; ", "ViT-B-32", missing)


def test_a_missing_folder(tmp_path):
    refused("'local-dir:' must be followed by an existing folder; ", f"local-dir:{tmp_path / 'x'}")


def test_a_file_as_a_folder(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    assert "is a file." in refused("'local-dir:' must be", f"local-dir:{tmp_path / 'x'}")


def test_a_folder_without_configuration(tmp_path):
    refused("A 'local-dir:' folder must hold open_clip_config.json; ", f"local-dir:{tmp_path}")


def test_a_folder_without_weights(tmp_path, make_clip):
    name = make_clip(tmp_path, weights=False)
    refused("A 'local-dir:' folder must hold trained weights (.safetensors, .bin, .pth); ", name)


@pytest.mark.parametrize("empty", ["local-dir:", "hf-hub:", "hf-hub:/"])
def test_an_empty_schema(empty):
    refused(f"'{empty.rstrip('/')}' must be followed by a ", empty)


# Names of the Hugging Face hub, and folders


@pytest.mark.parametrize(
    ("name", "model", "tag"),
    [
        ("openai/clip-vit-base-patch32", "ViT-B-32", "openai"),
        ("openai/clip-vit-base-patch16", "ViT-B-16", "openai"),
        ("openai/clip-vit-large-patch14", "ViT-L-14", "openai"),
        ("openai/clip-vit-large-patch14-336", "ViT-L-14-336", "openai"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B-32", "laion2b_s34b_b79k"),
        ("laion/clip-vit-b-32-laion2b-s34b-b79k", "ViT-B-32", "laion2b_s34b_b79k"),
        ("google/siglip-base-patch16-224", "ViT-B-16-SigLIP", "webli"),
        ("google/siglip-base-patch16-256-i18n", "ViT-B-16-SigLIP-i18n-256", "webli"),
        ("google/siglip-so400m-patch14-384", "ViT-SO400M-14-SigLIP-384", "webli"),
        ("google/siglip2-base-patch32-256", "ViT-B-32-SigLIP2-256", "webli"),
        ("google/siglip2-so400m-patch14-384", "ViT-SO400M-14-SigLIP2-378", "webli"),
        ("google/siglip2-giant-opt-patch16-256", "ViT-gopt-16-SigLIP2-256", "webli"),
        ("timm/ViT-B-16-SigLIP2", "ViT-B-16-SigLIP2", "webli"),
        ("apple/DFN5B-CLIP-ViT-H-14", "ViT-H-14", "dfn5b"),
    ],
)
def test_names_of_the_hub_are_said_in_open_clips_words(name, model, tag):
    """And what is said works."""
    advice = f"model={model!r}, pretrained={tag!r}."
    assert advice in refused("model must be an architecture", name)
    assert advice in refused("model must be an architecture", name, "openai")
    assert advice in refused("pretrained must be a tag", "ViT-B-32", name)
    assert resolve(model, tag).kind == "tag"


def test_an_unknown_repository_may_be_one_of_the_hub():
    message = refused("model must be an architecture", "somebody/their-clip")
    assert "pass 'hf-hub:somebody/their-clip'; checkpoints for transformers are not." in message
    assert "Closest: " in refused("model must be an architecture", "ViT-B/23")


def test_a_folder_or_a_file_as_a_model_says_where_it_belongs(tmp_path, make_clip):
    folder = make_clip(tmp_path / "clip").removeprefix("local-dir:")
    for name in (folder, Path(folder)):
        assert f"pass 'local-dir:{folder}'" in refused("model must be an architecture", name)
    file = Path(folder) / "open_clip_model.safetensors"
    for name in (file, str(file)):
        message = refused("model must be an architecture", name)
        assert f"pass model='<architecture>' and pretrained={str(file)!r}." in message
    assert file.exists()
    assert f"'local-dir:{folder}'" in refused("pretrained must be a tag", "ViT-B-32", folder)


@pytest.mark.parametrize("model", [3, ["ViT-B-32"], "x" * 5000, "a\0b"])
def test_what_is_no_name_is_refused(model):
    refused("model must be an architecture that open_clip knows", model)
    if not isinstance(model, str):
        refused("pretrained must be a tag, a weights file", "ViT-B-32", model)
