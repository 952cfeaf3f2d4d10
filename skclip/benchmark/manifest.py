"""What a study was made of, in a file beside its results: the page's code is written from it."""

import json
import keyword
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from skclip.backbones import absolute_name
from skclip.benchmark.method_registry import METHODS, Method
from skclip.benchmark.sources import Source
from skclip.exceptions import DatasetError
from skclip.utils.files import write_text

__all__ = ["dataset_of", "read_manifest", "write_manifest"]

MANIFEST = "study.json"
Manifest = dict[str, dict[str, Any]]


def write_manifest(out: Path, sources: Iterable[Source], methods: Sequence[Method]) -> None:
    """Add data sets and methods to those of earlier runs on the folder."""
    known = read_manifest(out)
    for source in sources:
        known["datasets"][_key(source.name, source.backbone)] = {
            "model": _portable(dict(source.model)),
            "text_norm": source.data.text_norm,
            "left_out": len(source.data.left_out),
            "repeated": source.n_repeated(source),
            "features": _relative(source.path, out),
        }
    for method in methods:
        known["methods"].pop(method.name, None)
        if METHODS.get(method.name) is not method:
            known["methods"][method.name] = {
                "label": method.label,
                "estimator": method.estimator,
                "parameters": _jsonable(dict(method.parameters)),
                "recipe": method.recipe,
            }
    write_text(out / MANIFEST, json.dumps(known, indent=1) + "\n")


def read_manifest(folder: str | PathLike[str]) -> Manifest:
    """Data sets by name and backbone, and methods by name; both empty if there is no file.

    Raises
    ------
    DatasetError
        If the file is not a manifest.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        return {"datasets": {}, "methods": {}}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} must be JSON; got an error: {error}. Remove it.") from error
    if not _is_manifest(found):
        raise DatasetError(
            f"{path} must hold the data sets and the methods of a study, as the benchmark writes "
            "them; got others. Remove it."
        )
    return found


def dataset_of(manifest: Manifest, name: str, backbone: str) -> dict[str, Any]:
    """What is known of a data set as one backbone sees it; nothing of one that is not there."""
    return manifest["datasets"].get(_key(name, backbone), {})


def _key(name, backbone):
    return f"{name}\n{backbone}"


def _is_manifest(found):
    """Whether all that goes into code is of its type, and names are names."""
    if not isinstance(found, dict) or not all(_is_table(found, k) for k in ("datasets", "methods")):
        return False
    return all(
        isinstance(entry, dict)
        and _is_table(entry, "model")
        and isinstance(entry.get("text_norm"), float)
        and isinstance(entry.get("left_out"), int)
        and isinstance(entry.get("repeated", 0), int)
        and isinstance(entry.get("features", ""), str)
        for entry in found["datasets"].values()
    ) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("label", ""), str)
        and isinstance(entry.get("estimator"), str)
        and isinstance(entry.get("recipe"), str | None)
        and (entry.get("parameters") is None or _is_table(entry, "parameters"))
        for entry in found["methods"].values()
    )


def _is_table(entry, key):
    table = entry.get(key)
    named = key in ("datasets", "methods")  # whatever the names of those are
    return isinstance(table, dict) and (
        named or all(name.isidentifier() and not keyword.iskeyword(name) for name in table)
    )


def _portable(model):
    """The parameters of a model, with local paths that hold from everywhere."""
    named = {name: absolute_name(model[name]) for name in ("model", "pretrained") if name in model}
    return {name: _jsonable(value) for name, value in (model | named).items()}


def _relative(path, out):
    """The path of features below the folder of results, which may be moved; else where it is."""
    path, out = Path(path).expanduser().absolute(), out.absolute()
    return str(path.relative_to(out) if path.is_relative_to(out) else path)


def _jsonable(value):
    """The value, None where JSON cannot hold it."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return None
