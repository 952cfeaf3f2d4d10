"""Saved classifiers on the Hugging Face hub, by the ordinary calls of huggingface_hub."""

import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from sklearn.base import BaseEstimator

from skclip.persistence.model_cards import MODEL_FILE, clip_models, model_card
from skclip.persistence.saving import load, save
from skclip.utils.optional_imports import import_optional

__all__ = ["load_from_hub", "push_to_hub", "save_folder"]


def save_folder(
    estimator: BaseEstimator, folder: str | Path, *, about: str = "", classes: Iterable[type] = ()
) -> Path:
    """Write an estimator and its model card: ``classifier.safetensors`` beside ``README.md``.

    Parameters
    ----------
    estimator : estimator
        As for :func:`skclip.save`.
    folder : str or Path
        Made when missing; files of these names are replaced, others left alone.
    about : str, default=""
        As for :func:`model_card`.
    classes : iterable of type, default=()
        As for :func:`skclip.save`.

    Returns
    -------
    folder : Path

    Raises
    ------
    PersistenceError
        As :func:`skclip.save`.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    save(estimator, folder / MODEL_FILE, classes=classes)
    (folder / "README.md").write_text(model_card(estimator, about=about), encoding="utf-8")
    return folder


def push_to_hub(
    estimator: BaseEstimator,
    repo_id: str,
    *,
    about: str = "",
    private: bool = True,
    commit_message: str = "Classifier saved by skclip",
    classes: Iterable[type] = (),
    api: Any = None,
) -> Any:
    """Put an estimator and its model card into a repository of the Hugging Face hub.

    Parameters
    ----------
    estimator : estimator
        As for :func:`skclip.save`.
    repo_id : str
        "organisation/name"; made when missing.
    about : str, default=""
        As for :func:`model_card`.
    private : bool, default=True
        Whether a repository that is made can be seen by its owners only. Class names and file names
        of templates may tell more than one means to publish.
    commit_message : str, default="Classifier saved by skclip"
    classes : iterable of type, default=()
        As for :func:`skclip.save`.
    api : huggingface_hub.HfApi, default=None
        With your token or endpoint; None for ``HfApi()``, with the token that ``hf auth login``
        has stored.

    Returns
    -------
    huggingface_hub.CommitInfo
        What ``HfApi.upload_folder`` returns.

    Warns
    -----
    UserWarning
        If a CLIP model is named by a place on this machine, where others do not find it.
    """
    local = sorted({place for part in clip_models(estimator) if (place := _local_place(part))})
    if local:
        warnings.warn(
            f"CLIP models should be named so that other machines find them; got {local[0]!r}, a "
            "place on this one. Name a tag or 'hf-hub:organisation/name', or set the parameter "
            "after loading.",
            UserWarning,
            stacklevel=2,
        )
    api = _api(api, "push_to_hub")
    with tempfile.TemporaryDirectory() as folder:
        save_folder(estimator, folder, about=about, classes=classes)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message)


def load_from_hub(
    repo_id: str,
    *,
    revision: str | None = None,
    expected: type | tuple[type, ...] | None = None,
    device: str | torch.device | None = None,
    classes: Iterable[type] = (),
    api: Any = None,
) -> Any:
    """Load what :func:`push_to_hub` has put into a repository; no code of it is run.

    Parameters
    ----------
    repo_id : str
        "organisation/name".
    revision : str, default=None
        Branch, tag or commit. A branch may change under its name: where predictions matter, name a
        commit.
    expected, device, classes
        As for :func:`skclip.load`.
    api : huggingface_hub.HfApi, default=None
        As for :func:`push_to_hub`.

    Returns
    -------
    estimator

    Raises
    ------
    FileNotFoundError
        If the repository has no ``classifier.safetensors``.
    PersistenceError
        As :func:`skclip.load`.

    Notes
    -----
    Downloads are kept in the cache of the hub (HF_HUB_CACHE), and found there without a network
    (HF_HUB_OFFLINE=1).
    """
    api = _api(api, "load_from_hub")
    folder = api.snapshot_download(repo_id, revision=revision, allow_patterns=[MODEL_FILE])
    path = Path(folder) / MODEL_FILE
    return load(path, expected=expected, device=device, classes=classes)


def _api(api: Any, purpose: str) -> Any:
    return api or import_optional("huggingface_hub", purpose).HfApi()


def _local_place(part: Any) -> str:
    """Where the weights lie, if that is on this machine; empty for a name that others know."""
    for name in (part.model, part.pretrained):
        if isinstance(name, Path) or str(name).startswith("local-dir:"):
            return str(name)
        if isinstance(name, str) and Path(name).suffix and Path(name).expanduser().is_file():
            return name
    return ""
