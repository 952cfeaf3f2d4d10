"""The tokenizer that belongs to a model, or an error: never a default that does not fit."""

from collections.abc import Callable
from typing import Any

import torch

from skclip.backbones.open_clip_import import import_open_clip
from skclip.exceptions import BackboneError
from skclip.utils.optional_imports import import_optional

__all__ = ["make_tokenizer"]


def make_tokenizer(model_name: str, model_config: dict[str, Any]) -> Callable[..., torch.Tensor]:
    """open_clip's tokenizer for the model: texts -> token numbers (n, context length).

    Another length may be asked for as `context_length`.

    ``open_clip.get_tokenizer`` gives CLIP's own tokenizer whenever it knows no better. Here
    that one is accepted only if its vocabulary is as large as the model's token table.

    Raises
    ------
    BackboneError
        If the configuration names no tokenizer and CLIP's own does not fit, or if the named
        one cannot be loaded.
    ImportError
        If the tokenizer needs transformers and it is not installed.
    """
    open_clip = import_open_clip()
    text_config = model_config["text_cfg"]
    named = text_config.get("hf_tokenizer_name")
    if named:
        import_optional("transformers", f"The tokenizer {named!r} of {model_name!r}")
    try:
        tokenizer = open_clip.get_tokenizer(model_name)
    except Exception as exc:  # transformers raises OSError, ValueError, ImportError and others
        raise BackboneError(
            f"The tokenizer of {model_name!r} must be in its folder, in the local cache or within "
            f"reach of the network; loading {named or 'it'!r} failed with {type(exc).__name__}: "
            f"{str(exc).strip().splitlines()[0] if str(exc).strip() else ''} A 'local-dir:' "
            "folder needs the tokenizer's files beside its weights."
        ) from exc
    expected = text_config.get("vocab_size", open_clip.CLIPTextCfg.vocab_size)
    if isinstance(tokenizer, open_clip.SimpleTokenizer) and tokenizer.vocab_size != expected:
        raise BackboneError(
            f"The tokenizer of {model_name!r} must be known; its token table has {expected} rows, "
            f"CLIP's own tokenizer has {tokenizer.vocab_size}, and the configuration names no "
            "other. Name one as 'hf_tokenizer_name' in text_cfg of open_clip_config.json."
        )
    return tokenizer
