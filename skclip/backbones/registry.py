"""One loaded backbone per process for each model, weights, device and precision."""

import threading
import warnings
from dataclasses import dataclass, field

import torch

from skclip.backbones.backbone import Backbone
from skclip.backbones.backbone_config import PRECISIONS, BackboneConfig
from skclip.backbones.model_loading import check_declared, load_backbone, read_model_config
from skclip.backbones.source import Stamp, resolve_source
from skclip.exceptions import BackboneError
from skclip.utils.device import resolve_device

__all__ = ["clear_backbones", "get_backbone", "get_embedding_dim"]


@dataclass
class _Entry:
    """A place for one backbone; its lock makes the second thread wait for the first's load."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    backbone: Backbone | None = None
    stamp: Stamp = ()


_entries: dict[tuple[str, ...], _Entry] = {}
_entries_lock = threading.Lock()


def get_backbone(config: BackboneConfig) -> Backbone:
    """The loaded model that `config` names, shared by everything in this process.

    The first call for a (model, weights, device, precision) loads it; later calls, from
    any thread, return the same object. Local weights that changed on disk are loaded
    again.

    Raises
    ------
    BackboneError
        If a name is unknown, weights are missing, cannot be fetched or do not fit the
        architecture, no trained weights are named and random ones are not allowed, or the
        weights are not those of ``config.fingerprint``.
    ImportError
        If open_clip, or transformers for a model that needs it, cannot be imported.
    ValueError
        If the device does not exist here.

    Warns
    -----
    UserWarning
        If the weights are random.
    """
    if config.precision not in PRECISIONS:
        raise BackboneError(
            f"precision must be one of {', '.join(PRECISIONS)}; got {config.precision!r}."
        )
    device = _with_index(resolve_device(config.device))
    source = resolve_source(config)
    if source.kind == "random":
        warnings.warn(
            f"{source.label} has random weights: its features carry no meaning. This is for "
            "tests; name trained weights with `pretrained`.",
            UserWarning,
            stacklevel=2,
        )

    key = (source.kind, source.name, source.weights or "", str(device), config.precision)
    with _entries_lock:
        entry = _entries.setdefault(key, _Entry())
    with entry.lock:
        stamp = source.stamp()
        if entry.backbone is None or entry.stamp != stamp:
            entry.backbone = load_backbone(source, device=device, precision=config.precision)
            entry.stamp = stamp
        backbone = entry.backbone
    check_declared(source, backbone.model_config)
    if config.fingerprint not in (None, backbone.fingerprint):
        raise BackboneError(
            f"{source.label} must have the weights that the estimator was saved with, of "
            f"fingerprint {config.fingerprint[:16]}...; those found here have "
            f"{backbone.fingerprint[:16]}... Restore the weights, or clone the estimator and fit "
            "everything again."
        )
    return backbone


def get_embedding_dim(config: BackboneConfig) -> int:
    """The length of an embedding, from the model's configuration: no weights are loaded.

    Raises
    ------
    BackboneError
        If a name is unknown, or no trained weights are named and random ones are not
        allowed.
    """
    return int(read_model_config(resolve_source(config))["embed_dim"])


def clear_backbones() -> None:
    """Forget every loaded backbone, so that its memory can be freed.

    A backbone that something still refers to stays alive until that is gone too.
    """
    with _entries_lock:
        _entries.clear()


def _with_index(device: torch.device) -> torch.device:
    """Name the current GPU in full, so that "cuda" and "cuda:0" share a backbone."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
