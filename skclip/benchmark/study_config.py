"""A study as a TOML file."""

import os
import tomllib
from pathlib import Path
from typing import Any

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
    ValueError
        If the file is not TOML, a key is unknown, a variable is not set, or there is no data
        set.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            config = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} must be TOML; got an error: {error}.") from error
    backbones = config.pop("backbones", [])
    unknown = sorted(set(config) - _KEYS)
    if unknown:
        raise ValueError(
            f"The keys of a study are backbones, {', '.join(sorted(_KEYS))}; got {unknown} in "
            f"{path}."
        )
    if not config.get("datasets"):
        raise ValueError(f"A study needs at least one [[datasets]] table; got none in {path}.")
    config["datasets"] = [
        entry for table in config["datasets"] for entry in _with_backbones(table, backbones)
    ]
    for entry in config["datasets"]:
        for key in _PATHS:
            if key in entry:
                entry[key] = _expand(entry[key], path)
    config["out"] = _expand(config.get("out", "results"), path)
    return config


def _with_backbones(table, backbones):
    if "features" in table or "model" in table or not backbones:
        return [dict(table)]
    return [{**table, **backbone} for backbone in backbones]


def _expand(text, config):
    expanded = os.path.expandvars(text)
    if "$" in expanded:
        raise ValueError(
            f"The variables in {text!r} of {config} must be set; they are not. Set them in the "
            "environment, or write the path."
        )
    return str(config.parent / Path(expanded).expanduser())
