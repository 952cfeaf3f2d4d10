"""From a Source to a loaded Backbone: fetch, check, create, and explain what went wrong."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from skclip.backbones.architecture import disagreements
from skclip.backbones.backbone import Backbone
from skclip.backbones.local_weights import check_activation, preprocessing_of_file
from skclip.backbones.open_clip_import import import_open_clip
from skclip.backbones.source import CONFIG_FILE, HUB, LOCAL, Source
from skclip.backbones.wrapped_checkpoints import unwrapped
from skclip.exceptions import BackboneError
from skclip.utils.messages import listing
from skclip.utils.optional_imports import import_optional

__all__ = ["check_declared", "load_backbone", "read_model_config"]

logger = logging.getLogger(__name__)

# Random weights are the same in every process, because a pickled estimator carries only names.
_RANDOM_WEIGHTS_SEED = 0


@dataclass(frozen=True)
class _Files:
    """What open_clip is given, all of it on this machine.

    Attributes
    ----------
    name : str
        An architecture or "local-dir:...".
    weights : str or None
        The weights file of an architecture.
    preprocessing : dict or None
        What the weights ask for where `name` does not say it.
    model_config : dict
    """

    name: str
    weights: str | None
    preprocessing: dict[str, Any] | None
    model_config: dict[str, Any]


def load_backbone(source: Source, *, device: torch.device, precision: str) -> Backbone:
    """Load the model; the global random state is left as it was.

    Raises
    ------
    BackboneError
        If the weights cannot be fetched or read, or do not fit the architecture.
    ImportError
        If the text tower needs transformers and it is not installed.
    """
    files = _files_of(source)
    text_config = files.model_config["text_cfg"]
    if text_config.get("hf_model_name"):
        import_optional("transformers", f"The text tower of {source.name!r}")

    logger.info("loading %s on %s in %s", source.label, device, precision)
    random = source.kind == "random"
    try:
        model = _create(files, device, precision, random=random)
    except Exception as exc:  # open_clip, torch and safetensors share no base class
        with unwrapped(files.name, files.weights) as found:
            if found is None:
                raise BackboneError(_explain(exc, source)) from exc
            try:
                plain = replace(files, name=found[0], weights=found[1])
                model = _create(plain, device, precision, random=random)
            except Exception as second:
                raise BackboneError(_explain(second, source)) from second
    model.eval().requires_grad_(False)
    transform = import_open_clip().transform
    return Backbone(
        model,
        preprocess=transform.image_transform_v2(
            transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
        ),
        model_name=source.name,
        model_config=files.model_config,
        # The hub's name only if the tokenizer is to be fetched: a folder must hold its files.
        tokenizer_name=source.name if text_config.get("hf_tokenizer_name") else files.name,
        device=device,
        precision=precision,
    )


def read_model_config(source: Source) -> dict[str, Any]:
    """open_clip's configuration of the model, without its weights.

    Of a hub repository the copy in the cache is taken as it is; without one, the
    configuration alone is fetched.
    """
    name = source.name
    if source.kind == "hub":
        repository = name.removeprefix(HUB)
        path = _cached(repository) or _fetched(source, _config_of_hub, repository)
        name = f"{LOCAL}{Path(path).parent}"
    model_config = _model_config(name)
    check_declared(source, model_config)
    return model_config


def check_declared(source: Source, model_config: dict[str, Any]) -> None:
    """Refuse a hub repository or folder that is not the architecture the user named."""
    if source.declared is None:
        return
    open_clip = import_open_clip()
    expected = open_clip.get_model_config(source.declared)
    differing = disagreements(model_config, expected)
    if expected.get("quick_gelu", False) and not model_config.get("quick_gelu", False):
        differing["quick_gelu"] = (False, True)
    if not differing:
        return
    listed = listing(
        [f"{field} is {a!r} and not {b!r}" for field, (a, b) in differing.items()], show=str
    )
    raise BackboneError(
        f"model must agree with the configuration in {source.name!r}; it is not "
        f"{source.declared!r}: {listed}. Pass model=None, since the "
        "configuration says what the model is."
    )


def _files_of(source: Source) -> _Files:
    """Fetch what is not here, read the configuration, and settle the preprocessing."""
    open_clip = import_open_clip()
    name, weights, preprocessing = source.name, source.weights, None
    if source.kind == "tag":
        tagged = open_clip.get_pretrained_cfg(name, weights)
        weights = _fetched(source, open_clip.download_pretrained, tagged)
        preprocessing = {key: value for key, value in tagged.items() if key != "size"}
    elif source.kind == "hub":
        name = _fetched(source, _folder_of_hub, name.removeprefix(HUB))
    elif source.kind == "file" and weights:
        check_activation(name, Path(weights))
        preprocessing = preprocessing_of_file(name, Path(weights))
    model_config = _model_config(name)
    check_declared(source, model_config)
    return _Files(name, weights, preprocessing, model_config)


def _folder_of_hub(repository: str) -> str:
    """Fetch a repository's configuration and weights: "local-dir:..." of its snapshot."""
    config = _config_of_hub(repository)
    import_open_clip().pretrained.download_pretrained_from_hf(repository)
    return f"{LOCAL}{Path(config).parent}"


def _config_of_hub(repository: str) -> str:
    download = import_open_clip().pretrained.download_pretrained_from_hf
    return download(repository, filename=CONFIG_FILE)


def _cached(repository: str) -> str | None:
    """The path of the configuration in the hub's cache; no network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    path = try_to_load_from_cache(repository, CONFIG_FILE)
    return path if isinstance(path, str) else None


def _fetched(source: Source, download: Callable[[Any], str], what: Any) -> str:
    try:
        return download(what)
    except Exception as exc:  # whatever the network and the hub's client raise
        raise BackboneError(_unreachable(source, exc)) from exc


def _model_config(name: str) -> dict[str, Any]:
    try:
        model_config = import_open_clip().get_model_config(name)
    except (ValueError, OSError) as exc:  # JSON and text decoding, permissions
        raise BackboneError(
            f"{CONFIG_FILE} must be valid JSON; that of {name!r} is not: {exc}."
        ) from exc
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(model_config)
    if missing:
        raise BackboneError(
            f"{CONFIG_FILE} must hold 'model_cfg' with embed_dim, vision_cfg and text_cfg; that "
            f"of {name!r} lacks {', '.join(sorted(missing))}."
        )
    return model_config


def _unreachable(source: Source, exc: Exception) -> str:
    open_clip = import_open_clip()
    if source.kind == "tag":
        tagged = open_clip.get_pretrained_cfg(source.name, source.weights)
        place = tagged.get("hf_hub") or tagged.get("url")
    else:
        place = source.name.removeprefix(HUB)
    reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    return (
        f"The weights must be in the local cache or within reach of the network; "
        f"{source.label} is neither. Tried {place!r} in the cache {_cache_folder()!r} and on the "
        f"Hugging Face hub: {reason} Without a network, copy the cache folder from a machine that "
        f"has it, or save the model as a folder and pass pretrained='{LOCAL}<folder>'."
    )


def _cache_folder() -> str:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return "~/.cache/clip"
    return str(HF_HUB_CACHE)


def _create(files: _Files, device: torch.device, precision: str, *, random: bool) -> Any:
    with torch.random.fork_rng(devices=[]):
        # Models are made on the CPU; torch.manual_seed would also change the GPUs' state.
        torch.default_generator.manual_seed(_RANDOM_WEIGHTS_SEED)
        return import_open_clip().create_model(
            files.name,
            files.weights,
            precision=precision,
            device=device,
            load_weights=not random,
            pretrained_text=not random,
            require_pretrained=not random,
            force_preprocess_cfg=files.preprocessing,
        )


def _explain(exc: Exception, source: Source) -> str:
    """The message for weights that open_clip could not load."""
    text = str(exc)
    what = source.weights if source.kind == "file" else source.name
    if "loading state_dict" in text:
        return (
            f"The weights must fit the architecture; those of {what!r} do not fit "
            f"{source.name if source.kind == 'file' else 'its configuration'!r}: "
            f"{_summary_of_mismatch(text)}. Pass the architecture that they were made for."
        )
    if "TorchScript" in text:
        return (
            f"The weights must be a state dictionary; {what!r} is a TorchScript archive, as "
            "OpenAI's original files are. Pass pretrained='openai', or convert it with "
            "torch.save(torch.jit.load(path).state_dict(), new_path) and pass the '-quickgelu' "
            "architecture."
        )
    reason = text.strip().splitlines()[0] if text.strip() else "no reason given"
    if "weights_only" in text:  # torch's advice here is to run the file's code
        reason = "it holds other things than tensors, or is damaged."
    return (
        f"The weights must be a readable open_clip checkpoint for {source.name!r}; loading "
        f"{what!r} failed with {type(exc).__name__}: {reason} Check that the file is complete and "
        "made for this architecture."
    )


def _summary_of_mismatch(text: str) -> str:
    """Torch's list of every missing, unexpected and misshapen tensor, in one line."""
    parts = []
    for kind, pattern in (
        ("missing", r"Missing key\(s\) in state_dict: (.*)"),
        ("unexpected", r"Unexpected key\(s\) in state_dict: (.*)"),
    ):
        found = re.search(pattern, text)
        names = re.findall(r'"([^"]+)"', found.group(1)) if found else []
        if names:
            more = ", ..." if len(names) > 2 else ""
            parts.append(f"{len(names)} {kind} ({', '.join(names[:2])}{more})")
    sizes = re.findall(
        r"size mismatch for (\S+): .*?shape torch.Size\((.*?)\).*?is torch.Size\((.*?)\)", text
    )
    if sizes:
        name, got, expected = sizes[0]
        parts.append(f"{len(sizes)} of another shape ({name}: {got}, not {expected})")
    return "; ".join(parts) or text.splitlines()[0]
