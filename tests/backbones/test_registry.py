"""One backbone per process and configuration, whoever asks and from whichever thread."""

import pickle
import threading

import pytest
import torch

from skclip.backbones import BackboneConfig, clear_backbones, get_backbone
from skclip.backbones import registry as registry_module
from skclip.exceptions import BackboneError

pytestmark = pytest.mark.usefixtures("no_backbones")


def test_auto_and_the_device_that_it_means_share(small_clip):
    auto = get_backbone(BackboneConfig(small_clip))
    named = get_backbone(BackboneConfig(small_clip, device=auto.device))
    assert auto is named


def test_model_and_pretrained_name_the_same_folder(small_clip):
    assert get_backbone(BackboneConfig(small_clip)) is get_backbone(
        BackboneConfig(None, small_clip)
    )


def test_a_relative_folder_is_the_same_folder(small_clip, monkeypatch):
    from pathlib import Path

    folder = Path(small_clip.removeprefix("local-dir:"))
    monkeypatch.chdir(folder.parent)
    assert get_backbone(BackboneConfig(f"local-dir:{folder.name}")) is get_backbone(
        BackboneConfig(small_clip)
    )


def test_precisions_do_not_share(small_clip):
    assert get_backbone(BackboneConfig(small_clip)) is not get_backbone(
        BackboneConfig(small_clip, precision="bf16")
    )


def test_threads_that_ask_at_once_load_once(small_clip, monkeypatch):
    loads, got = [], []
    load = registry_module.load_backbone
    monkeypatch.setattr(
        registry_module, "load_backbone", lambda *a, **k: loads.append(1) or load(*a, **k)
    )
    start = threading.Barrier(8)

    def ask():
        start.wait()
        got.append(get_backbone(BackboneConfig(small_clip)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(got) == 8
    assert len({id(backbone) for backbone in got}) == 1


def test_weights_that_changed_on_disk_are_loaded_again(tmp_path, make_clip):
    """A model that is trained further under the same name must not give old features."""
    name = make_clip(tmp_path, seed=0)
    before = get_backbone(BackboneConfig(name)).fingerprint
    make_clip(tmp_path, seed=1)
    assert get_backbone(BackboneConfig(name)).fingerprint != before


def test_clear_backbones_forgets(small_clip):
    first = get_backbone(BackboneConfig(small_clip))
    clear_backbones()
    assert get_backbone(BackboneConfig(small_clip)) is not first


def test_a_failed_load_can_be_repeated(tmp_path, make_clip):
    name = make_clip(tmp_path)
    weights = tmp_path / "open_clip_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:1000])
    with pytest.raises(BackboneError):
        get_backbone(BackboneConfig(name))
    weights.write_bytes(good)
    assert get_backbone(BackboneConfig(name)).embedding_dim == 16


def test_random_weights_warn_every_time_and_are_reproducible(tmp_path, make_clip):
    """An estimator that was pickled to another process must find the same weights there."""
    config = BackboneConfig(make_clip(tmp_path, weights=False), allow_random_weights=True)
    fingerprints = set()
    for _ in range(2):
        with pytest.warns(UserWarning, match="has random weights: its features carry no meaning."):
            fingerprints.add(get_backbone(config).fingerprint)
        clear_backbones()
    assert len(fingerprints) == 1


def test_loading_leaves_the_global_random_state_alone(small_clip):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    get_backbone(BackboneConfig(small_clip))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_the_configuration_is_hashable_frozen_and_picklable(small_clip):
    config = BackboneConfig(small_clip, device="cpu")
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(BackboneConfig(small_clip, device="cpu"))
    with pytest.raises(AttributeError):
        config.model = "other"


def test_an_unknown_precision_is_refused(small_clip):
    """open_clip would take it for fp32."""
    with pytest.raises(BackboneError, match="precision must be one of fp32, .*; got 'float32'."):
        get_backbone(BackboneConfig(small_clip, precision="float32"))


def test_an_unknown_device_is_refused(small_clip):
    with pytest.raises(ValueError, match="device must be 'auto' or a torch device"):
        get_backbone(BackboneConfig(small_clip, device="gpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_names_of_the_current_gpu_share(small_clip):
    assert get_backbone(BackboneConfig(small_clip, device="cuda")) is get_backbone(
        BackboneConfig(small_clip, device="cuda:0")
    )
