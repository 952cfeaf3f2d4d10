"""Comparing two open_clip model configurations by what they make, not by how they are written."""

from dataclasses import asdict
from typing import Any

from skclip.backbones.open_clip_import import import_open_clip

__all__ = ["disagreements"]

# How a model is trained, started or tokenised: not what its weights are shaped for.
_NOT_ARCHITECTURE = {
    "hf_model_pretrained",
    "hf_tokenizer_name",
    "patch_dropout",
    "timm_drop",
    "timm_drop_path",
    "timm_model_pretrained",
    "tokenizer_kwargs",
    "tokenizer_mode",
}


def disagreements(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> (value in `a`, value in `b`) where two model configurations differ.

    Fields that are left out have open_clip's defaults. The activation is not compared:
    "ViT-B-32" stands for both of its activations, and the weights' own side decides.
    """
    flat_a, flat_b = _flatten(a), _flatten(b)
    return {
        field: (flat_a.get(field), flat_b.get(field))
        for field in sorted(flat_a.keys() | flat_b.keys())
        if flat_a.get(field) != flat_b.get(field)
    }


def _flatten(model_config: dict[str, Any]) -> dict[str, Any]:
    open_clip = import_open_clip()
    towers = {
        "vision_cfg": {**asdict(open_clip.CLIPVisionCfg()), **model_config["vision_cfg"]},
        "text_cfg": {**asdict(open_clip.CLIPTextCfg()), **model_config["text_cfg"]},
    }
    flat = {"embed_dim": model_config["embed_dim"]}
    for tower, fields in towers.items():
        for field, value in fields.items():
            if field not in _NOT_ARCHITECTURE:
                flat[f"{tower}.{field}"] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    """224 for [224, 224]; tuples for lists."""
    if isinstance(value, list | tuple):
        return value[0] if len(set(value)) == 1 and len(value) == 2 else tuple(value)
    return value
