"""Model cards, and the way through a repository, without a network."""

import inspect
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml
from sklearn.pipeline import make_pipeline

import skclip
from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, Prototypes
from skclip.datasets import load_digits_images, tiny_clip
from skclip.persistence import load_from_hub, model_card, push_to_hub, save_folder

from .conftest import NAMES


class FolderApi(huggingface_hub.HfApi):
    """HfApi with a folder in place of the network; signatures are those of the real one."""

    def __init__(self, root):
        super().__init__(endpoint="https://nowhere.invalid", token=False)
        self.root, self.calls = root, []

    def create_repo(self, repo_id, **kwargs):
        self.calls.append(("create_repo", kwargs))
        (self.root / repo_id).mkdir(parents=True, exist_ok=kwargs["exist_ok"])

    def upload_folder(self, *, repo_id, folder_path, **kwargs):
        self.calls.append(("upload_folder", kwargs))
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"commit of {repo_id}"

    def snapshot_download(self, repo_id, *, allow_patterns, **kwargs):
        self.calls.append(("snapshot_download", kwargs))
        found = self.root / "downloads" / repo_id
        shutil.rmtree(found, ignore_errors=True)
        found.mkdir(parents=True)
        for pattern in allow_patterns:
            for path in (self.root / repo_id).glob(pattern):
                shutil.copy(path, found)
        return str(found)


@pytest.fixture
def api(tmp_path):
    return FolderApi(tmp_path / "hub")


@pytest.fixture
def classifier(task):
    return BayesAdapterClassifier(Prototypes(task.text, NAMES)).fit(task.X, task.y)


def test_what_was_pushed_is_loaded_to_the_last_bit(api, classifier, task):
    assert push_to_hub(classifier, "lab/animals", api=api) == "commit of lab/animals"
    loaded = load_from_hub("lab/animals", api=api, expected=BayesAdapterClassifier)
    expected = classifier.predict_proba(task.X_test)
    np.testing.assert_array_equal(loaded.predict_proba(task.X_test), expected)
    files = {path.name for path in (api.root / "lab/animals").iterdir()}
    assert files == {"classifier.safetensors", "README.md"}


def test_a_repository_is_private_unless_told_otherwise(api, classifier):
    push_to_hub(classifier, "lab/animals", api=api)
    push_to_hub(classifier, "lab/animals", private=False, api=api)
    made = [kwargs["private"] for call, kwargs in api.calls if call == "create_repo"]
    assert made == [True, False]


def test_a_revision_is_handed_on(api, classifier):
    push_to_hub(classifier, "lab/animals", api=api)
    load_from_hub("lab/animals", revision="v1", api=api)
    assert api.calls[-1] == ("snapshot_download", {"revision": "v1"})


def test_a_repository_without_a_classifier_is_said(api):
    (api.root / "lab/empty").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"classifier\.safetensors' is missing"):
        load_from_hub("lab/empty", api=api)


def test_the_calls_are_those_of_the_real_api():
    """The stand-in takes any keyword; HfApi does not."""
    for name, given in (
        ("create_repo", {"private", "exist_ok"}),
        ("upload_folder", {"repo_id", "folder_path", "commit_message"}),
        ("snapshot_download", {"revision", "allow_patterns"}),
    ):
        assert given <= set(inspect.signature(getattr(huggingface_hub.HfApi, name)).parameters)


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_of_features(classifier):
    card = model_card(classifier, about="Seen on *nothing* yet.")
    assert front_matter(card)["library_name"] == "skclip"
    assert "# BayesAdapterClassifier of 4 classes\n" in card
    assert '\n    "dög"\n' in card
    assert "Seen on *nothing* yet.\n\n## Classes" in card
    assert "predict_proba(features)" in card
    assert "CLIP models" not in card


def test_the_card_of_images_names_the_weights(tmp_path):
    data = load_digits_images()
    featurizer = CLIPFeaturizer(pretrained=tiny_clip())
    prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
    pipeline = make_pipeline(featurizer, BayesAdapterClassifier(prompts))
    pipeline.fit(data.images[:20], data.labels[:20])
    folder = save_folder(pipeline, tmp_path / "new" / "digits")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert 'predict_proba(["photograph.jpg"])' in card
    assert card.count("weights with SHA-256") == 1
    loaded = skclip.load(folder / "classifier.safetensors")
    assert loaded[0].weights_fingerprint_ in card


def test_names_of_classes_cannot_write_the_card():
    """They come from names of folders, which anybody may have made."""
    names = ["---\n<script>alert(1)</script>", "```\n# Title", "cow"]
    classifier = BayesAdapterClassifier(Prototypes(np.eye(3, 5), names)).fit(np.eye(3, 5), names)
    lines = model_card(classifier).splitlines()
    assert not [line for line in lines if line.startswith(("<", "# Title"))]
    assert lines.count("---") == 2
    assert sum(line.startswith("```") for line in lines) == 2


def test_the_classes_of_a_large_card_are_counted():
    names = [f"class {i:03}" for i in range(130)]
    classifier = BayesAdapterClassifier(Prototypes(np.eye(130), names)).fit(np.eye(130), names)
    card = model_card(classifier)
    assert '"class 099"' in card
    assert '"class 100"' not in card
    assert "    and 30 more\n" in card


def test_weights_on_this_machine_are_said_before_they_are_missed(api):
    pipeline = make_pipeline(CLIPFeaturizer(pretrained=tiny_clip()), BayesAdapterClassifier())
    with pytest.warns(UserWarning, match="named so that other machines find them; got 'local-dir:"):
        push_to_hub(pipeline, "lab/digits", api=api)
    assert Path(load_from_hub("lab/digits", api=api)[0].pretrained.split(":")[1]).is_dir()
