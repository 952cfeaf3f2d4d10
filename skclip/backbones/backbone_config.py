"""What names a backbone: a few strings, cheap to hash, to pickle and to compare."""

from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["PRECISIONS", "BackboneConfig"]

# open_clip takes any other string for "fp32", silently.
PRECISIONS = ("fp32", "fp16", "bf16", "pure_fp16", "pure_bf16", "amp", "amp_bf16")


@dataclass(frozen=True)
class BackboneConfig:
    """The name of a model, of its weights, and of where and how it runs.

    Nothing is looked up here: :func:`get_backbone` resolves and checks the names.

    Parameters
    ----------
    model : str or None
        An open_clip architecture ("ViT-B-32"); or "hf-hub:org/name" or
        "local-dir:folder", which bring their own weights (then `pretrained` is None); or
        None when `pretrained` is one of those two.
    pretrained : str, Path or None
        A tag that open_clip publishes for the architecture ("openai",
        "laion2b_s34b_b79k"), a local weights file, "hf-hub:org/name" or
        "local-dir:folder". A known tag wins over a file of the same name; a Path is
        never a tag.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is a usable GPU, else the CPU.
    precision : str, default="fp32"
        One of ``PRECISIONS``, with open_clip's meaning: "fp16" and "bf16" keep the layer
        norms in float32, the "pure" variants do not, the "amp" variants keep float32
        weights and run under :func:`torch.autocast`.
    allow_random_weights : bool, default=False
        Whether a model without trained weights may be made, for tests.
    fingerprint : str, default=None
        What :attr:`Backbone.fingerprint` must be: that of the weights that something was
        fitted with.
    """

    model: str | None
    pretrained: str | Path | None = None
    device: str | torch.device = "auto"
    precision: str = "fp32"
    allow_random_weights: bool = False
    fingerprint: str | None = None
