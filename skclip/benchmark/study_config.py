"""A study as a TOML file."""

import os
import tomllib
from pathlib import Path
from typing import Any

from skclip.exceptions import StudyError

__all__ = ["read_config"]

_KEYS = {
    *("datasets", "methods", "shots", "seeds", "calibrators"),
    *("out", "n_jobs", "store_predictions"),
}
_PATHS = ("features", "root", "folder", "csv")


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Arguments of :func:`skclip.benchmark.run` from a TOML file.

    Paths are relative to the file; ``$NAME`` and ``~`` are expanded in them. Where there are
    several ``[[backbones]]``, each a table of model and pretrained, every data set of images is
    taken with each of them.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict

    Raises
    ------
    StudyError
        If the file is missing or not TOML, a key is unknown, a value is of another kind, a
        variable is not set, or there is no data set.
    """
    path = Path(path).expanduser()
    try:
        config = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise StudyError(f"The file of a study must exist; got no file {path}.") from error
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path} must be TOML; got an error: {error}.") from error
    backbones = config.pop("backbones", [])
    unknown = sorted(set(config) - _KEYS)
    if unknown:
        raise StudyError(
            f"The keys of a study are backbones, {', '.join(sorted(_KEYS))}; got {unknown} in "
            f"{path}."
        )
    if not config.get("datasets"):
        raise StudyError(f"A study needs at least one [[datasets]] table; got none in {path}.")
    tables = _tables("datasets", config["datasets"], path)
    backbones = _tables("backbones", backbones, path)
    config["datasets"] = [entry for table in tables for entry in _with_backbones(table, backbones)]
    for entry in config["datasets"]:
        entry |= {key: _expand(entry[key], path) for key in _PATHS if key in entry}
    config["out"] = _expand(config.get("out", "results"), path)
    return config


def _tables(key, value, path):
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise StudyError(f"{key} must be a list of tables, [[{key}]]; got {value!r} in {path}.")
    return value


def _with_backbones(table, backbones):
    if "features" in table or "model" in table or not backbones:
        return [dict(table)]
    return [{**table, **backbone} for backbone in backbones]


def _expand(text, config):
    if not isinstance(text, str) or not text or "\0" in text:
        raise StudyError(f"A path must be text; got {text!r} in {config}.")
    expanded = os.path.expandvars(text)
    if "$" in expanded:
        raise StudyError(
            f"The variables in {text!r} of {config} must be set; they are not. Set them in the "
            "environment, or write the path."
        )
    try:
        return str(config.parent / Path(expanded).expanduser())
    except RuntimeError as error:
        raise StudyError(f"{text!r} of {config} must name a known home: {error}") from error
