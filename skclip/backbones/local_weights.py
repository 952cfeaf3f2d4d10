"""What a bare weights file leaves unsaid: the activation and the preprocessing.

A weights file holds tensors only. open_clip assumes the exact GELU of the plain architecture
and OpenAI's preprocessing; both are silently wrong for many models. What can be known is
checked here: names, the configuration beside the file, and what the published weights of the
same architecture use.
"""

import json
import re
import warnings
from pathlib import Path
from typing import Any

from skclip.backbones.architecture import disagreements
from skclip.backbones.open_clip_import import import_open_clip
from skclip.backbones.source import CONFIG_FILE, LOCAL
from skclip.exceptions import BackboneError
from skclip.utils.messages import listing

__all__ = ["check_activation", "preprocessing_of_file"]

# The fields of open_clip's preprocessing that belong to the weights and not to the image size.
_FIELDS = ("mean", "std", "interpolation", "resize_mode")
_QUICK_GELU_NAME = re.compile(r"quick[-_]?gelu|(?<![a-z])openai(?![a-z])", re.IGNORECASE)

Preprocessing = dict[str, Any]


def check_activation(architecture: str, path: Path) -> None:
    """Refuse QuickGELU weights for an architecture with the exact GELU.

    Only names and the neighbouring configuration tell: the tensors are the same. Of the
    folders, only those of the Hugging Face cache ("models--org--name") are read as names.
    """
    open_clip = import_open_clip()
    variant = f"{architecture}-quickgelu"
    if variant not in open_clip.list_models():
        return
    names = [path.name, *(p.name for p in path.parents if p.name.startswith("models--"))]
    named = [name for name in names if _QUICK_GELU_NAME.search(name)]
    neighbour = _neighbour(architecture, path).get("model_cfg", {})
    if named or neighbour.get("quick_gelu", False):
        said_by = repr(named[0]) if named else f"{CONFIG_FILE} beside the file"
        raise BackboneError(
            f"The activation of the model must be the one that its weights were trained with; "
            f"{said_by} says QuickGELU but {architecture!r} has the exact GELU. Pass "
            f"model={variant!r}; if the weights do use the exact GELU, rename the file."
        )


def preprocessing_of_file(architecture: str, path: Path) -> Preprocessing:
    """Mean, std, interpolation and resize mode for the weights in `path`.

    Where all published weights of the architecture agree (SigLIP, CLIPA, MobileCLIP, PE),
    theirs; otherwise OpenAI's, which open_clip assumes. A configuration beside the file that
    says otherwise is an error.

    Warns
    -----
    UserWarning
        If the preprocessing is not certain: published weights of the architecture use another
        one than OpenAI's.
    """
    published = _published_preprocessing(architecture)
    default = _default_preprocessing()
    distinct = [p for i, p in enumerate(published.values()) if p not in [*published.values()][:i]]
    chosen = distinct[0] if len(distinct) == 1 else default

    neighbour = _neighbour(architecture, path)
    if neighbour:
        stated = {**default, **_fields(neighbour.get("preprocess_cfg", {}))}
        if stated != chosen:
            raise BackboneError(
                f"The preprocessing must be the one that the weights were trained with; "
                f"{CONFIG_FILE} beside {path.name!r} says {_difference(stated, chosen)}, which a "
                f"bare weights file cannot carry. Pass pretrained='{LOCAL}{path.parent}'."
            )
        return chosen

    others = [tag for tag, preprocessing in published.items() if preprocessing != chosen]
    if chosen == default and not others:
        return chosen
    used = (
        f"that of the published weights of {architecture!r} is used: {_difference(chosen, default)}"
        if chosen != default
        else f"OpenAI's is used, which is wrong for these published weights of {architecture!r}: "
        f"{listing(others, show=str)}"
    )
    warnings.warn(
        f"The weights file {path.name!r} carries no preprocessing; {used}. To be certain, put the "
        f"file in a folder with its {CONFIG_FILE} and pass '{LOCAL}<folder>'.",
        UserWarning,
        stacklevel=2,
    )
    return chosen


def _published_preprocessing(architecture: str) -> dict[str, Preprocessing]:
    """tag -> preprocessing of every published weights of the architecture."""
    open_clip = import_open_clip()
    default = _default_preprocessing()
    return {
        tag: {**default, **_fields(open_clip.get_pretrained_cfg(architecture, tag))}
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    }


def _default_preprocessing() -> Preprocessing:
    from open_clip.transform import PreprocessCfg

    return _fields(vars(PreprocessCfg()))


def _fields(config: dict[str, Any]) -> Preprocessing:
    """The fields in question, with lists (as JSON has them) as tuples."""
    return {
        field: tuple(config[field]) if isinstance(config[field], list) else config[field]
        for field in _FIELDS
        if config.get(field) is not None
    }


def _difference(a: Preprocessing, b: Preprocessing) -> str:
    """The fields of `a` that differ from `b`, for a message."""
    return ", ".join(f"{field}={a[field]!r}" for field in _FIELDS if a[field] != b[field])


def _neighbour(architecture: str, path: Path) -> dict[str, Any]:
    """The configuration beside the file, if it is readable and of this architecture."""
    try:
        config = json.loads((path.parent / CONFIG_FILE).read_text(encoding="utf-8"))
        same = not disagreements(
            config["model_cfg"], import_open_clip().get_model_config(architecture)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return config if same else {}
