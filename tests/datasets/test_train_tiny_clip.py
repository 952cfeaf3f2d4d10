"""The training script of the tiny CLIP: short runs, and its loss and augmentation."""

import importlib.util
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2

from skclip.datasets import load_digits_images

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_tiny_clip.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module; torch's global state is put back afterwards."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    spec = importlib.util.spec_from_file_location("train_tiny_clip", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.random.fork_rng(devices=[]):
        yield module
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def short_run(script):
    return script.train(epochs=1, seed=0, progress=False)


@pytest.fixture(scope="module")
def training_data(script):
    """Pixels, rows of each digit and tokens."""
    return script.load_training_data()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(script, short_run):
    again = script.train(epochs=1, seed=0, progress=False)
    for name, tensor in short_run.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_another_seed_gives_other_weights(script, short_run):
    other = script.train(epochs=1, seed=1, progress=False)
    assert not torch.equal(short_run.visual.proj, other.visual.proj)


def test_only_the_tokens_of_captions_are_trained(script, short_run, training_data):
    """The other rows of the table stay as open_clip initialised them."""
    torch.manual_seed(0)
    initial = open_clip.CLIP(**script.MODEL_CFG).token_embedding.weight
    *_, tokens = training_data
    used = torch.zeros(len(initial), dtype=torch.bool)
    used[tokens.unique()] = True
    trained = short_run.token_embedding.weight
    assert torch.equal(trained[~used], initial[~used])
    changed = (trained != initial).any(dim=1)
    assert changed[used].float().mean() > 0.9


def test_what_is_saved_is_what_open_clip_loads(script, short_run, tmp_path):
    script.save(short_run, tmp_path / "new")
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'new'}")
    for name, tensor in short_run.state_dict().items():
        # Half precision: 11 significant bits, and 2^-25 below its smallest normal number.
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=2**-11, atol=2**-25)


def test_the_command_line_trains_saves_and_reports(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "DIGIT_SHIFTS", ("combined",))  # one of them, to save time
    script.main(["--output", str(tmp_path), "--epochs", "1", "--seed", "3"])
    report = capsys.readouterr().out
    assert "upright" in report
    assert "combined" in report
    assert {file.name for file in tmp_path.iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }


def test_no_held_out_image_is_trained_on(training_data):
    pixels, rows, _ = training_data
    train = load_digits_images(subset="train")
    np.testing.assert_allclose(pixels.numpy() * 255, train.images[..., 0], atol=1e-4)
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(pixels)))


def test_every_group_holds_every_digit_once(script, training_data):
    """A digit twice in a group would make a right caption count as a wrong one."""
    _, rows, _ = training_data
    target = load_digits_images(subset="train").target
    groups = script.groups_of_distinct_digits(rows, np.random.default_rng(0))
    np.testing.assert_array_equal(target[groups], np.tile(np.arange(10), (len(groups), 1)))
    assert len(np.unique(groups)) == groups.size


def test_the_loss_without_smoothing_is_the_mean_of_open_clips_own(script, monkeypatch):
    monkeypatch.setattr(script, "LABEL_SMOOTHING", 0.0)
    generator = torch.Generator().manual_seed(0)
    image, text = (
        F.normalize(torch.randn(3, 10, 8, generator=generator), dim=-1) for _ in range(2)
    )
    expected = torch.stack(
        [open_clip.ClipLoss()(i, t, torch.tensor(20.0)) for i, t in zip(image, text, strict=True)]
    ).mean()
    torch.testing.assert_close(script.contrastive_loss(image, text, 20.0), expected)


def test_augmentation_moves_an_image_by_at_most_three_pixels(script):
    """One bright pixel: where it lands, and that values stay in [0, 1]."""
    pixels = torch.zeros(500, 32, 32)
    pixels[:, 16, 10] = 1.0
    augmented = script.augment(pixels, np.random.default_rng(0))
    assert augmented.shape == pixels.shape
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    rows, columns = np.unravel_index(augmented.flatten(1).argmax(dim=1).numpy(), (32, 32))
    assert (rows.min(), rows.max()) == (13, 19)
    assert (columns.min(), columns.max()) == (7, 13)


def test_the_models_input_is_that_of_its_preprocessing(script, training_data):
    data = load_digits_images(subset="train", as_pil=True)
    preprocess = image_transform_v2(PreprocessCfg(**script.PREPROCESS_CFG), is_train=False)
    pixels, *_ = training_data
    torch.testing.assert_close(script.as_model_input(pixels[:5])[3], preprocess(data.images[3]))


def test_the_logit_scale_is_kept_between_its_rising_bound_and_100(script):
    model = torch.nn.Module()
    model.logit_scale = torch.nn.Parameter(torch.tensor(0.0))
    scales = []
    for progress in (0.0, 0.25, 0.4, 0.6, 1.0):
        script.bound_logit_scale(model, progress)
        scales.append(model.logit_scale.exp().item())
    assert scales[0] == scales[1] == pytest.approx(1 / 0.07)
    assert scales[1] < scales[2] < scales[3]
    assert scales[3] == scales[4] == pytest.approx(100)
