"""Checkpoints of models that were wrapped while they were trained."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from skclip.backbones.source import CONFIG_FILE, LOCAL, weights_in

__all__ = ["unwrapped"]

# torch.compile, and DataParallel with its relatives, put these before what they wrap.
_WRAPPERS = {"_orig_mod", "module"}
# Under which training scripts keep the weights beside their optimizer.
_KEYS = ("state_dict", "model", "model_state_dict")


@contextmanager
def unwrapped(name: str, weights: str | None) -> Iterator[tuple[str, str | None] | None]:
    """Name and weights with which open_clip finds the same tensors under their plain names.

    None where the names are plain already, or the file cannot be read. The copy, a temporary file,
    lives as long as the context.
    """
    path = _file(name, weights)
    state = None if path is None else _plain(path)
    if path is None or state is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "open_clip_pytorch_model.bin"
        torch.save(state, file)
        if weights is not None:
            yield name, str(file)
        else:
            shutil.copy(path.parent / CONFIG_FILE, folder)
            yield f"{LOCAL}{folder}", None


def _file(name: str, weights: str | None) -> Path | None:
    if weights is not None:
        return Path(weights)
    found = weights_in(Path(name.removeprefix(LOCAL))) if name.startswith(LOCAL) else []
    return found[0] if len(found) == 1 else None


def _plain(path: Path) -> dict[str, torch.Tensor] | None:
    try:
        state = _read(path)
    except Exception:  # whatever is wrong with it, open_clip has said so
        return None
    inner = next((state[key] for key in _KEYS if isinstance(state.get(key), dict)), state)
    plain = {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): tensor
        for name, tensor in inner.items()
        if isinstance(tensor, torch.Tensor)
    }
    return plain if plain.keys() != state.keys() else None


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    return dict(torch.load(path, map_location="cpu", weights_only=True))
