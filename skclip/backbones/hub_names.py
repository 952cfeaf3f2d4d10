"""What a model of the Hugging Face hub is in open_clip's words: for messages, offline."""

import re

from skclip.backbones.open_clip_import import import_open_clip

__all__ = ["in_open_clips_words"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_OPENAI = re.compile(r"openai/clip-vit-(base|large)-patch(\d+)(-336)?", re.IGNORECASE)
_SIGLIP = re.compile(
    r"google/siglip(2?)-(base|large|so400m|giant-opt)-patch(\d+)(?:-(\d+|256-i18n|naflex))?",
    re.IGNORECASE,
)
_SIZES = {"base": "B", "large": "L", "so400m": "SO400M", "giant-opt": "gopt"}


def in_open_clips_words(name: str) -> str | None:
    """Advice for "org/name", a repository of the hub; None for one that nobody knows here.

    Transformers' checkpoints of CLIP and SigLIP are not in open_clip's format; the same weights
    are, under other names.
    """
    open_clip = import_open_clip()
    if not _REPOSITORY.fullmatch(name) or name.replace("/", "-") in open_clip.list_models():
        return None
    for model, tag in open_clip.list_pretrained():
        repository = open_clip.get_pretrained_cfg(model, tag).get("hf_hub") or ""
        if repository.strip("/").lower() == name.lower():
            return f"In open_clip's words that is model={model!r}, pretrained={tag!r}."
    architecture, tag = _transformers_name(name)
    if architecture in open_clip.list_models():
        return (
            f"That is a checkpoint for transformers; in open_clip's words it is "
            f"model={architecture!r}, pretrained={tag!r}."
        )
    return None


def _transformers_name(name: str) -> tuple[str, str]:
    openai = _OPENAI.fullmatch(name)
    if openai:
        size, patch, resolution = openai.groups()
        return f"ViT-{_SIZES[size.lower()]}-{patch}{resolution or ''}", "openai"
    siglip = _SIGLIP.fullmatch(name)
    if siglip:
        version, size, patch, resolution = siglip.groups()
        plain = f"ViT-{_SIZES[size.lower()]}-{patch}-SigLIP{version}"
        if resolution == "256-i18n":
            return f"{plain}-i18n-256", "webli"
        if version and (patch, resolution) == ("14", "384"):  # which are 378 pixels
            resolution = "378"
        return plain if resolution in (None, "224") else f"{plain}-{resolution}", "webli"
    return "", ""
