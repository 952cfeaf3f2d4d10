"""Loading: tags, files, folders and the hub, and what is said when it fails."""

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from skclip.backbones import BackboneConfig, get_backbone, get_embedding_dim
from skclip.backbones import open_clip_import as import_module
from skclip.exceptions import BackboneError

pytestmark = pytest.mark.usefixtures("no_backbones")


@pytest.fixture(scope="module")
def weights(tmp_path_factory, small_clip):
    """A weights file alone in its folder."""
    source = Path(small_clip.removeprefix("local-dir:")) / "open_clip_model.safetensors"
    return shutil.copy(source, tmp_path_factory.mktemp("bare") / "weights.safetensors")


def load(model, pretrained=None, **options):
    return get_backbone(BackboneConfig(model, pretrained, device="cpu", **options))


def refused(message, *args, **options):
    with pytest.raises(BackboneError) as info:
        load(*args, **options)
    assert str(info.value).startswith(message)
    return info.value


# Tags


def test_a_tag_brings_weights_preprocessing_and_activation(registered, weights, small_clip):
    registered(published={"file": str(weights), "quick_gelu": True, "mean": (0.1, 0.2, 0.3)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # open_clip warns of a mismatch; there must be none
        backbone = load("small", "published")
    activations = [
        m for m in backbone.model.modules() if isinstance(m, open_clip.transformer.QuickGELU)
    ]
    assert backbone.model_name == "small-quickgelu"
    assert len(activations) == 4
    assert backbone.fingerprint == load(small_clip).fingerprint
    assert backbone.preprocess.transforms[-1].mean == (0.1, 0.2, 0.3)


def test_quick_gelu_changes_the_features(registered, weights):
    """The reason for all the care: the same weights, another activation, other features."""
    registered(
        quick={"file": str(weights), "quick_gelu": True},
        exact={"file": str(weights)},
    )
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    quick, exact = (load("small", tag).encode_images(batch) for tag in ("quick", "exact"))
    assert np.abs(quick - exact).max() > 1e-3


# Files


def test_a_weights_file_gives_the_models_features(registered, weights, small_clip):
    registered()
    assert load("small", weights).fingerprint == load(small_clip).fingerprint


def test_a_training_checkpoint_is_read(registered, weights, tmp_path, small_clip):
    """open_clip's own training saves {"epoch", "name", "state_dict", ...}, maybe of a wrapper."""
    registered()
    state = {f"module.{name}": tensor for name, tensor in load_file(weights).items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, tmp_path / "epoch_3.pt")
    assert load("small", tmp_path / "epoch_3.pt").fingerprint == load(small_clip).fingerprint


@pytest.mark.parametrize(
    "name", ["ViT-B-32-openai.safetensors", "quick_gelu.pt", "QuickGELU-1.bin"]
)
def test_a_file_that_says_quick_gelu_is_refused_for_the_plain_architecture(
    registered, weights, tmp_path, name
):
    registered()
    path = shutil.copy(weights, tmp_path / name)
    message = str(refused("The activation of the model must be the one that its ", "small", path))
    assert f"{name!r} says QuickGELU but 'small' has the exact GELU." in message
    assert "Pass model='small-quickgelu'" in message


def test_a_hub_cache_folder_that_says_openai_is_refused(registered, weights, tmp_path):
    registered()
    folder = tmp_path / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    path = shutil.copy(weights, folder / "open_clip_model.safetensors")
    refused("The activation of the model must be the one that its weights", "small", path)


def test_the_quick_gelu_architecture_takes_such_a_file(registered, weights, tmp_path):
    registered()
    path = shutil.copy(weights, tmp_path / "openai.safetensors")
    assert load("small-quickgelu", path).model_name == "small-quickgelu"


def test_a_configuration_beside_the_file_that_says_quick_gelu_is_heeded(
    registered, tmp_path, make_clip, small_config
):
    registered()
    make_clip(tmp_path, config={**small_config, "quick_gelu": True})
    path = tmp_path / "open_clip_model.safetensors"
    message = str(refused("The activation of the model must be the one that", "small", path))
    assert "open_clip_config.json beside the file says QuickGELU" in message


def test_a_configuration_beside_the_file_with_other_preprocessing_is_an_error(
    registered, small_clip
):
    registered()
    folder = Path(small_clip.removeprefix("local-dir:"))
    message = str(
        refused(
            "The preprocessing must be the one that the weights were trained with; ",
            "small",
            folder / "open_clip_model.safetensors",
        )
    )
    assert "says mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation='bilinear'" in message
    assert message.endswith(f"Pass pretrained='{small_clip}'.")


def test_a_configuration_beside_the_file_that_agrees_is_silent(registered, tmp_path, make_clip):
    registered()
    make_clip(tmp_path, preprocessing={})
    backbone = load("small", tmp_path / "open_clip_model.safetensors")
    assert backbone.preprocess.transforms[-1].mean == open_clip.OPENAI_DATASET_MEAN


def test_a_configuration_of_another_model_beside_the_file_is_ignored(
    registered, tmp_path, make_clip, small_config, weights
):
    registered()
    make_clip(tmp_path, config={**small_config, "embed_dim": 8})
    assert load("small", shutil.copy(weights, tmp_path / "w.safetensors")).embedding_dim == 16


def test_the_preprocessing_of_unanimous_published_weights_is_used(registered, weights):
    """SigLIP, CLIPA, MobileCLIP and PE: open_clip would use OpenAI's, which is wrong for all."""
    siglip = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash"}
    registered(webli=siglip, webli_2=siglip)
    with pytest.warns(UserWarning, match="carries no preprocessing; that of the published weights"):
        backbone = load("small", weights)
    assert backbone.preprocess.transforms[-1].mean == (0.5,) * 3


def test_published_weights_that_disagree_are_named(registered, weights):
    registered(usual={}, other={"mean": (0.5,) * 3})
    with pytest.warns(UserWarning, match="wrong for these published weights of 'small': other."):
        backbone = load("small", weights)
    assert backbone.preprocess.transforms[-1].mean == open_clip.OPENAI_DATASET_MEAN


@pytest.mark.parametrize(
    "model",
    [
        "ViT-B-16-SigLIP2",
        "ViT-SO400M-14-SigLIP-384",
        "ViT-H-14-CLIPA",
        "MobileCLIP-B",
        "PE-Core-B-16",
    ],
)
def test_open_clips_models_with_their_own_preprocessing_are_known(model, tmp_path):
    """On the published table itself, so that a renamed field there is noticed."""
    from skclip.backbones.local_weights import preprocessing_of_file

    (tag, *_) = open_clip.list_pretrained_tags_by_model(model)
    published = open_clip.get_pretrained_cfg(model, tag)
    with pytest.warns(UserWarning, match="carries no preprocessing"):
        chosen = preprocessing_of_file(model, tmp_path / "w.safetensors")
    assert chosen == {
        name: published[name] for name in ("mean", "std", "interpolation", "resize_mode")
    }


def test_missing_tensors_are_counted_and_named(registered, weights, tmp_path):
    registered()
    state = load_file(weights)
    for name in ("visual.conv1.weight", "visual.proj", "text_projection"):
        del state[name]
    state["surplus"] = torch.zeros(2)
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    message = f"The weights must fit the architecture; those of {str(path)!r} do not fit 'small': "
    error = refused(message + "3 missing (", "small", path)
    assert "; 1 unexpected (surplus)." in str(error)
    assert isinstance(error.__cause__, RuntimeError)


def test_tensors_of_another_shape_are_named(registered, weights, tmp_path):
    registered()
    state = load_file(weights)
    state["visual.proj"] = torch.zeros(32, 8)
    save_file(state, tmp_path / "w.safetensors")
    error = refused("The weights must fit the architecture; ", "small", tmp_path / "w.safetensors")
    assert "1 of another shape (visual.proj: [32, 8], not [32, 16])." in str(error)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
def test_a_damaged_file_is_an_error_of_ours(registered, tmp_path, suffix):
    registered()
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"not weights at all")
    error = refused(
        "The weights must be a readable open_clip checkpoint for 'small'; ", "small", path
    )
    assert error.__cause__ is not None
    assert "weights_only" not in str(error)


def test_a_torchscript_archive_is_explained(registered, tmp_path):
    registered()
    path = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out; OpenAI's files remain
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
        error = refused("The weights must be a state dictionary; ", "small", path)
    assert "is a TorchScript archive" in str(error)


# Folders


def test_a_folder_may_be_declared_by_its_architecture(registered, small_clip):
    registered()
    assert load("small", small_clip) is load(small_clip)


def test_a_folder_of_another_architecture_is_refused(registered, tmp_path, make_clip, small_config):
    registered()
    text = {**small_config["text_cfg"], "layers": 1}
    name = make_clip(tmp_path, config={**small_config, "embed_dim": 8, "text_cfg": text})
    message = (
        f"model must agree with the configuration in {name!r}; it is not 'small': "
        "embed_dim is 8 and not 16, text_cfg.layers is 1 and not 2. Pass model=None"
    )
    refused(message, "small", name)
    load(name)
    refused(message, "small", name)  # also when the backbone is there already


def test_at_most_five_differing_fields_are_listed(small_clip):
    assert " and 4 more. Pass" in str(refused("model must agree", "ViT-B-32", small_clip))


def test_a_folder_with_the_exact_gelu_is_not_the_quick_gelu_architecture(registered, small_clip):
    registered()
    error = refused("model must agree with the configuration", "small-quickgelu", small_clip)
    assert "quick_gelu is False and not True" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "open_clip_config.json must be valid JSON; "),
        ("{}", "open_clip_config.json must hold 'model_cfg' with embed_dim, vision_cfg and text"),
        ('{"model_cfg": {"embed_dim": 3}}', "open_clip_config.json must hold 'model_cfg' with"),
    ],
)
def test_an_unusable_configuration(tmp_path, make_clip, content, message):
    name = make_clip(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(content)
    refused(message, name)


# Tokenizers


def test_an_unknown_tokenizer_is_refused_and_images_still_work(tmp_path, make_clip, small_config):
    """open_clip would give CLIP's tokenizer, whose numbers mean nothing to this model."""
    text = {**small_config["text_cfg"], "vocab_size": 64000}
    backbone = load(make_clip(tmp_path, config={**small_config, "text_cfg": text}))
    assert backbone.encode_images(torch.zeros(1, 3, 32, 32)).shape == (1, 16)
    with pytest.raises(
        BackboneError, match="The tokenizer of .* must be known; its token table ha"
    ):
        backbone.encode_texts(["a"])


def test_a_tokenizer_that_needs_transformers_says_so(
    tmp_path, make_clip, small_config, monkeypatch
):
    monkeypatch.setitem(sys.modules, "transformers", None)  # import raises ImportError
    text = {**small_config["text_cfg"], "hf_tokenizer_name": "org/tokenizer"}
    backbone = load(make_clip(tmp_path, config={**small_config, "text_cfg": text}))
    with pytest.raises(ImportError, match="The tokenizer 'org/tokenizer' of .*pip install trans"):
        backbone.encode_texts(["a"])


def test_a_text_tower_that_needs_transformers_says_so(
    tmp_path, make_clip, small_config, monkeypatch
):
    monkeypatch.setitem(sys.modules, "transformers", None)
    text = {**small_config["text_cfg"], "hf_model_name": "org/model"}
    name = make_clip(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**small_config, "text_cfg": text}})
    )
    with pytest.raises(ImportError, match="The text tower of .*pip install transformers"):
        load(name)


def test_a_tokenizer_that_cannot_be_loaded_is_an_error_of_ours(
    tmp_path, make_clip, small_config, monkeypatch
):
    def fail(name):
        raise OSError("no tokenizer files")

    monkeypatch.setitem(sys.modules, "transformers", json)  # any module: it is there
    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    text = {**small_config["text_cfg"], "hf_tokenizer_name": "org/tokenizer"}
    backbone = load(make_clip(tmp_path, config={**small_config, "text_cfg": text}))
    with pytest.raises(BackboneError, match="with OSError: no tokenizer files A 'local-dir:'"):
        backbone.encode_texts(["a"])


# The hub


def fabricate_cache(root, repository, folder):
    """What huggingface_hub leaves behind after a download."""
    base = root / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, base / "snapshots" / "abc123")
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("abc123")


@pytest.fixture
def offline_cache(tmp_path, monkeypatch, small_clip):
    """No network, and a cache that holds "org/name": what HF_HUB_OFFLINE and HF_HUB_CACHE set."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    fabricate_cache(tmp_path, "org/name", small_clip.removeprefix("local-dir:"))
    return tmp_path


def test_a_hub_repository_is_found_in_the_cache_without_a_network(offline_cache, small_clip):
    backbone = load("hf-hub:org/name")
    assert backbone is load(None, "hf-hub:org/name")
    assert backbone.fingerprint == load(small_clip).fingerprint
    assert backbone.preprocess.transforms[-1].std == [0.25, 0.25, 0.25]
    assert len(backbone.encode_texts(["a", "b"])) == 2


def test_a_tag_is_found_in_the_cache_without_a_network(offline_cache, registered, small_clip):
    registered(cached={"hf_hub": "org/name/"})
    assert load("small", "cached").fingerprint == load(small_clip).fingerprint


def test_a_hub_repository_may_be_declared_by_its_architecture(offline_cache, registered):
    registered()
    assert load("small", "hf-hub:org/name") is load("hf-hub:org/name")
    refused("model must agree with the configuration in", "ViT-B-32", "hf-hub:org/name")


def test_the_length_of_an_embedding_needs_the_configuration_only(offline_cache, small_clip):
    weights = offline_cache.rglob("open_clip_model.safetensors")
    for path in weights:
        path.unlink()
    assert get_embedding_dim(BackboneConfig("hf-hub:org/name")) == 16
    assert get_embedding_dim(BackboneConfig(small_clip)) == 16
    assert get_embedding_dim(BackboneConfig("ViT-B-32", "openai")) == 512
    with pytest.raises(BackboneError, match="must be in the local cache or within reach of"):
        get_embedding_dim(BackboneConfig("hf-hub:org/absent"))


def test_weights_out_of_reach_say_what_was_tried(offline_cache, registered):
    registered(absent={"hf_hub": "org/absent/"})
    first = "The weights must be in the local cache or within reach of the network; "
    for error in (
        refused(f"{first}Model 'hf-hub:org/absent' is neither. ", "hf-hub:org/absent"),
        refused(f"{first}Model 'small' with pretrained='absent' is neither.", "small", "absent"),
    ):
        assert "Tried 'org/absent" in str(error)
        assert f"in the cache '{offline_cache}' and on the Hugging Face hub" in str(error)
        assert str(error).endswith(
            "save the model as a folder and pass pretrained='local-dir:<folder>'."
        )
        assert error.__cause__ is not None


# The installation


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "open_clip needs a torchvision that was built for the installed torch; .*"
            "pip install --upgrade --force-reinstall torch torchvision",
        ),
        (
            ModuleNotFoundError("No module named 'open_clip'"),
            "Loading a CLIP model needs open_clip, .*pip install open_clip_torch",
        ),
    ],
)
def test_a_broken_installation_is_explained(monkeypatch, small_clip, failure, message):
    def fail(name):
        raise failure

    monkeypatch.setattr(import_module.importlib, "import_module", fail)
    with pytest.raises(ImportError, match=message) as info:
        load("ViT-B-32", "openai")
    assert info.value.__cause__ is failure


# Checkpoints of wrapped models

WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "DDP": lambda name: f"module.{name}",
    "compiled in DDP": lambda name: f"module._orig_mod.{name}",
    "DDP, compiled": lambda name: f"_orig_mod.module.{name}",
    "a compiled tower": lambda name: name.replace("visual.", "visual._orig_mod."),
}


@pytest.mark.parametrize("kind", ["safetensors", "pt", "state_dict", "model", "folder"])
@pytest.mark.parametrize("rename", WRAPPED.values(), ids=WRAPPED)
def test_checkpoints_of_wrapped_models_are_the_models(
    registered, weights, small_clip, tmp_path, rename, kind
):
    registered()
    state = {rename(name): tensor for name, tensor in load_file(weights).items()}
    if kind == "folder":
        shutil.copy(Path(small_clip.removeprefix("local-dir:")) / "open_clip_config.json", tmp_path)
    path = tmp_path / ("w.safetensors" if kind in ("safetensors", "folder") else "w.pt")
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state if kind == "pt" else {kind: state, "epoch": 3}, path)
    found = load(f"local-dir:{tmp_path}") if kind == "folder" else load("small", path)
    assert found.fingerprint == load("small", weights).fingerprint


def test_a_wrapped_checkpoint_that_does_not_fit_is_explained(registered, weights, tmp_path):
    registered()
    state = {f"_orig_mod.{name}": tensor for name, tensor in load_file(weights).items()}
    del state["_orig_mod.visual.proj"]
    save_file(state, tmp_path / "w.safetensors")
    error = refused("The weights must fit the architecture; ", "small", tmp_path / "w.safetensors")
    assert "1 missing (visual.proj)" in str(error)
