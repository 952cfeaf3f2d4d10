"""A fitted classifier, or a pipeline from images, as an ONNX file with its description."""

import json
import logging
import tempfile
import warnings
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skclip.exceptions import ExportError
from skclip.export.torch_modules import ExportedClassifier, to_torch
from skclip.utils.files import write_text
from skclip.utils.optional_imports import import_optional

__all__ = ["describe_export", "to_onnx"]

_FORMAT = 1
# Probabilities in single precision, of logits of up to a few hundred.
_TOLERANCE = 1e-5
_EXTRA = "'skclip[onnx]'"


def to_onnx(estimator: Any, path: str | PathLike[str]) -> Path:
    """Write a fitted classifier, or a pipeline of a CLIPFeaturizer and one, as an ONNX file.

    The graph has one input, "images" (n, 3, height, width) or "features" (n, d), and one output,
    "probabilities" (n, n_classes), all float32, for any n. Beside it, under the same name with the
    ending ``.json``, lies what a program needs that knows neither: the labels of the columns, and
    for images the steps from a file to the input; the graph has the same text in its metadata.

    Parameters
    ----------
    estimator : classifier or Pipeline
        As for :func:`to_torch`.
    path : path-like
        Of the file, ending in ``.onnx``; what is there is replaced when the new file is whole and
        its probabilities, computed by ONNX Runtime, are those of the torch module within 1e-5.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ExportError
        If the estimator cannot be exported, `path` has another ending, or ONNX Runtime gives other
        probabilities.
    ImportError
        If the extra ``onnx`` is not installed.

    See Also
    --------
    to_torch : The same as a module of torch.
    """
    path = Path(path).expanduser()
    if path.suffix != ".onnx":
        raise ExportError(f"path must end in .onnx; got {str(path)!r}. Rename it.")
    if not path.parent.is_dir():
        raise ExportError(f"The folder of path must exist; got {str(path)!r}. Make it before.")
    onnx, runtime = (
        import_optional(name, "skclip.export.to_onnx", install=_EXTRA)
        for name in ("onnx", "onnxruntime")
    )
    import_optional("onnxscript", "skclip.export.to_onnx", install=_EXTRA)
    module = to_torch(estimator)
    description = describe_export(module)
    text = json.dumps(description, indent=1) + "\n"
    example = _example(module)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".skclip-") as folder:
        made = Path(folder) / path.name
        _write(module, example, made)
        graph = onnx.load(made)
        graph.metadata_props.add(key="skclip", value=text)
        onnx.save(graph, made)
        session = runtime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
        more = torch.cat([example, example.flip(0)])
        (found,) = session.run(None, {module.takes: more.numpy()})
        with torch.inference_mode():
            difference = float(np.abs(found - module(more).numpy()).max())
        if not difference <= _TOLERANCE:
            raise ExportError(
                f"ONNX Runtime must give the module's probabilities within {_TOLERANCE:g}; got a "
                f"difference of {difference:.2g} with version {runtime.__version__}. Try another."
            )
        made.replace(path)
    write_text(path.with_suffix(".json"), text)
    return path


def describe_export(module: ExportedClassifier) -> dict[str, Any]:
    """Input, output, classes and preprocessing of an exported classifier, in terms of JSON."""
    described: dict[str, Any] = {
        "format": _FORMAT,
        "skclip": version("skclip"),
        "input": {"name": module.takes, "type": "float32"},
        "output": {"name": "probabilities", "type": "float32"},
        "classes": module.classes.tolist(),
    }
    if module.backbone is None:
        described["input"]["shape"] = ["n", module.n_features]
        return described
    height, width = module.backbone.image_size
    given = module.backbone.model.visual.preprocess_cfg
    described["input"]["shape"] = ["n", 3, height, width]
    described["model"] = {
        "name": module.backbone.model_name.removeprefix("local-dir:").rsplit("/", 1)[-1],
        "weights_sha256": module.backbone.fingerprint,
    }
    described["preprocessing"] = {
        "mode": "RGB",
        "size": [height, width],
        "resize": given.get("resize_mode", "shortest"),
        "interpolation": given.get("interpolation", "bicubic"),
        "crop": "center",
        "fill_color": given.get("fill_color", 0),
        "scale": 1 / 255,
        "mean": list(given["mean"]),
        "std": list(given["std"]),
        "steps": [str(step) for step in getattr(module.backbone.preprocess, "transforms", [])],
    }
    return described


def _example(module: ExportedClassifier) -> torch.Tensor:
    """Three rows of noise; more than one, lest the exporter takes the batch for a constant."""
    shape: tuple[int, ...] = (3, module.n_features)
    if module.backbone is not None:
        shape = (3, 3, *module.backbone.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _write(module: ExportedClassifier, example: torch.Tensor, path: Path) -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            torch.onnx.export(
                module,
                (example,),
                path,
                input_names=[module.takes],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
