"""From the names in a BackboneConfig to the one thing that open_clip will load.

Everything here works without the network and without reading weights.
"""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from skclip.backbones.backbone_config import BackboneConfig
from skclip.backbones.hub_names import in_open_clips_words
from skclip.backbones.open_clip_import import import_open_clip
from skclip.exceptions import BackboneError
from skclip.utils.messages import listing

__all__ = [
    "CONFIG_FILE",
    "HUB",
    "LOCAL",
    "Source",
    "Stamp",
    "absolute_name",
    "resolve_source",
    "weights_in",
]

HUB, LOCAL = "hf-hub:", "local-dir:"
CONFIG_FILE = "open_clip_config.json"
# What open_clip looks for in a "local-dir:" folder.
_FOLDER_WEIGHTS = (".safetensors", ".bin", ".pth")
_FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".npy")
_QUICK_GELU = "-quickgelu"

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes
    ----------
    kind : {"tag", "file", "hub", "folder", "random"}
    name : str
        What open_clip calls `model_name`: an architecture, or "hf-hub:..." or
        "local-dir:..." with an absolute folder.
    weights : str or None
        The tag or the absolute path of the file, for these two kinds.
    declared : str or None
        The architecture that the user named beside a hub repository or a folder, to be
        compared with what the repository says of itself.
    """

    kind: Literal["tag", "file", "hub", "folder", "random"]
    name: str
    weights: str | None = None
    declared: str | None = None

    @property
    def label(self) -> str:
        """The source as messages name it."""
        if self.weights is None:
            return f"Model {self.name!r}"
        return f"Model {self.name!r} with pretrained={self.weights!r}"

    @property
    def folder(self) -> Path | None:
        """The folder of a "local-dir:" source."""
        return Path(self.name.removeprefix(LOCAL)) if self.name.startswith(LOCAL) else None

    def stamp(self) -> Stamp:
        """Name, time and size of the local files: another value means other weights."""
        if self.kind == "file" and self.weights:
            files = [Path(self.weights)]
        elif self.folder is not None:
            files = [*_tokenizer_in(self.folder), *weights_in(self.folder)]
        else:
            files = []
        return tuple((f.name, (s := f.stat()).st_mtime_ns, s.st_size) for f in files)


def resolve_source(config: BackboneConfig) -> Source:
    """Decide what `config` means.

    Raises
    ------
    BackboneError
        If it means nothing, two things, or a model without trained weights that
        `allow_random_weights` does not permit. The message says what would work.
    """
    model, pretrained = config.model, config.pretrained
    if model is None and pretrained is None:
        raise BackboneError(
            "A CLIP model must be named; got model=None and pretrained=None. Pass for instance "
            "model='ViT-B-32', pretrained='openai', or pretrained='local-dir:/folder'."
        )
    if _has_schema(model):
        if pretrained is not None:
            raise BackboneError(
                f"model={model!r} brings its own weights, so pretrained must be None; "
                f"got pretrained={str(pretrained)!r}. Drop one of the two."
            )
        return _from_schema(model, None, config.allow_random_weights)
    if _has_schema(pretrained):
        declared = None if model is None else _architecture(model)
        return _from_schema(pretrained, declared, config.allow_random_weights)
    if model is None:
        raise BackboneError(
            "model must name the architecture of a tag or of a weights file; got model=None with "
            f"pretrained={str(pretrained)!r}. Pass for instance model='ViT-B-32'; only "
            f"'{HUB}...' and '{LOCAL}...' carry their architecture."
        )
    return _from_architecture(_architecture(model), pretrained, config.allow_random_weights)


def _has_schema(value: str | Path | None) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith((HUB, LOCAL))


def _from_schema(value: str, declared: str | None, allow_random: bool) -> Source:
    if value.startswith(HUB):
        repository = value.removeprefix(HUB)
        if not repository.strip("/"):
            raise BackboneError(f"'{HUB}' must be followed by a repository, 'org/name'; got none.")
        return Source("hub", value, declared=declared)

    path = value.removeprefix(LOCAL)
    if not path:
        raise BackboneError(f"'{LOCAL}' must be followed by a folder; got none.")
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise BackboneError(
            f"'{LOCAL}' must be followed by an existing folder; {str(folder)!r} is "
            f"{'a file' if folder.exists() else 'missing'}. Pass the folder that holds "
            f"{CONFIG_FILE} and the weights."
        )
    if not (folder / CONFIG_FILE).is_file():
        raise BackboneError(
            f"A '{LOCAL}' folder must hold {CONFIG_FILE}; {str(folder)!r} does not. For a "
            "weights file without a configuration pass model='<architecture>' and "
            "pretrained='<the file>'."
        )
    name = f"{LOCAL}{folder}"
    if weights_in(folder):
        return Source("folder", name, declared=declared)
    if allow_random:
        return Source("random", name, declared=declared)
    raise BackboneError(
        f"A '{LOCAL}' folder must hold trained weights ({', '.join(_FOLDER_WEIGHTS)}); "
        f"{str(folder)!r} holds none. Put the weights there, or pass "
        "allow_random_weights=True for a test."
    )


def weights_in(folder: Path) -> list[Path]:
    """Files that open_clip takes for the weights of a folder."""
    return sorted(p for p in folder.iterdir() if p.suffix in _FOLDER_WEIGHTS)


def _tokenizer_in(folder: Path) -> list[Path]:
    """The configuration, and what a tokenizer may be read from."""
    return sorted(p for p in folder.iterdir() if p.suffix in (".json", ".model", ".txt"))


def _architecture(model: str) -> str:
    """The name as open_clip lists it ("ViT-B/32" is "ViT-B-32"), or an error with close ones."""
    known = import_open_clip().list_models()
    name = str(model).replace("/", "-")
    if isinstance(model, str) and name in known:
        return name
    raise BackboneError(
        f"model must be an architecture that open_clip knows, '{HUB}org/name' or "
        f"'{LOCAL}folder'; got {model!r}. {_advice(model, name, known)}"
    )


def _advice(model: object, name: str, known: list[str]) -> str:
    """What somebody may have meant who passed `model` as an architecture."""
    if isinstance(model, str | Path) and _exists(model):
        if Path(model).expanduser().is_dir():
            return f"For the model in this folder pass '{LOCAL}{model}'."
        return f"For weights in a file pass model='<architecture>' and pretrained={str(model)!r}."
    hub = in_open_clips_words(model) if isinstance(model, str) else None
    if hub:
        return hub
    if isinstance(model, str) and "/" in model and _closest(name, known, 0.8) == "":
        return (
            f"If it is a repository in open_clip's format (with {CONFIG_FILE}), pass "
            f"'{HUB}{model}'; checkpoints for transformers are not."
        )
    return f"Closest: {_closest(name, known)}. open_clip.list_models() gives all {len(known)}."


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def _from_architecture(name: str, pretrained: str | Path | None, allow_random: bool) -> Source:
    open_clip = import_open_clip()
    if pretrained is None:
        if allow_random:
            return Source("random", name)
        raise BackboneError(
            f"pretrained must name trained weights for {name!r}; got None. "
            f"{_remedy(name)}, or pass allow_random_weights=True for a test."
        )
    if isinstance(pretrained, str) and open_clip.is_pretrained_cfg(name, pretrained):
        tagged = open_clip.get_pretrained_cfg(name, pretrained)
        return Source("tag", _with_activation_of_tag(name, tagged), pretrained)

    if not isinstance(pretrained, str | Path):
        raise BackboneError(
            f"pretrained must be a tag, a weights file, '{HUB}...' or '{LOCAL}...'; got a "
            f"{type(pretrained).__name__}. Pass a string or a path."
        )
    path = Path(pretrained).expanduser().absolute()
    if path.is_dir():
        raise BackboneError(
            f"pretrained must be a tag, a weights file, '{HUB}...' or '{LOCAL}...'; got the "
            f"folder {str(pretrained)!r}. Pass pretrained='{LOCAL}{pretrained}'."
        )
    if path.is_file():
        return Source("file", name, str(path))
    hub = in_open_clips_words(pretrained) if isinstance(pretrained, str) else None
    if hub:
        raise BackboneError(
            f"pretrained must be a tag, a weights file, '{HUB}org/name' or '{LOCAL}...'; got "
            f"{pretrained!r}. {hub}"
        )
    if isinstance(pretrained, Path) or _looks_like_path(pretrained):
        raise BackboneError(
            f"pretrained must be an existing weights file; {str(path)!r} is missing. Check the "
            "path, or pass a tag."
        )
    raise BackboneError(_unknown_tag(name, pretrained))


def _with_activation_of_tag(name: str, tagged: dict[str, Any]) -> str:
    """The architecture with the activation that the tag was trained with.

    OpenAI, MetaCLIP and DFN weights need QuickGELU. open_clip 3 builds "ViT-B-32" with the
    exact GELU even for "openai", and only warns: accuracy is lost.
    """
    open_clip = import_open_clip()
    needs_quick_gelu = tagged.get("quick_gelu", False)
    has_quick_gelu = open_clip.get_model_config(name).get("quick_gelu", False)
    variant = name + _QUICK_GELU
    if needs_quick_gelu and not has_quick_gelu and variant in open_clip.list_models():
        return variant
    return name


def _unknown_tag(name: str, tag: str) -> str:
    """The message for a tag that is not published for the architecture."""
    open_clip = import_open_clip()
    message = (
        f"pretrained must be a tag of {name!r}, a weights file, '{HUB}org/name' or "
        f"'{LOCAL}folder'; got {tag!r}. "
    )
    plain = name.removesuffix(_QUICK_GELU)
    if plain != name and open_clip.is_pretrained_cfg(plain, tag):
        return message + (
            f"These weights were trained with the exact GELU, not QuickGELU: pass model={plain!r}."
        )
    elsewhere = open_clip.list_pretrained_models_by_tag(tag)
    if elsewhere:
        return message + f"That tag exists for {_closest(name, elsewhere)}. {_remedy(name, tag)}."
    return message + f"{_remedy(name, tag)}."


def _remedy(name: str, tag: str = "openai") -> str:
    """Which `pretrained` would work for the architecture."""
    tags = import_open_clip().list_pretrained_tags_by_model(name)
    if not tags:
        return f"No weights are published for {name!r}: pass a weights file"
    return f"Tags of {name!r}: {_closest(tag, tags)}"


def _looks_like_path(value: str) -> bool:
    return any(sep in value for sep in (os.sep, "/", "~")) or value.endswith(_FILE_SUFFIXES)


def _closest(name: str, candidates: Iterable[str], least: float = 0.0) -> str:
    """The candidates that are similar enough, the most similar first."""

    def similarity(candidate: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), candidate.lower()).ratio()

    alike = (candidate for candidate in candidates if similarity(candidate) >= least)
    return listing(sorted(alike, key=similarity, reverse=True))


def absolute_name(name: str | Path | None) -> str | None:
    """The name of a model or its weights that means the same from every folder.

    Parameters
    ----------
    name : str, Path or None
        As :class:`skclip.CLIPFeaturizer` takes it; paths of files and local folders become
        absolute.
    """
    if name is None:
        return None
    text = str(name)
    if text.startswith(LOCAL):
        return LOCAL + str(Path(text.removeprefix(LOCAL)).expanduser().absolute())
    path = Path(text).expanduser()
    return str(path.absolute()) if path.is_file() else text
