"""The lines of Python that use what is recommended, as it was measured."""

import inspect
import json
from typing import Any

import numpy as np

from skclip.benchmark.feature_data import INDIFFERENT
from skclip.benchmark.manifest import dataset_of, read_manifest
from skclip.benchmark.method_registry import METHODS, estimator_class, resolve_methods
from skclip.benchmark.study import Setting, Study
from skclip.exceptions import DatasetError, StudyError
from skclip.prompts import RAW_TEXT_NORM

__all__ = ["code_of"]


def code_of(study: Study, method: str, settings: list[Setting], given: dict[str, Any]) -> str:
    """What builds, fits and asks a method: the model, its prompts, parameters and the first seed.

    Everything that comes from files is written as a literal. `given` replaces what they say of
    model, pretrained and templates.
    """
    manifest = read_manifest(study.folder)
    known = [dataset_of(manifest, s.dataset, s.backbone) for s in settings]
    name, _, calibrator = method.partition(" + ")
    found = METHODS.get(name) or _own(manifest["methods"].get(name), name)
    if found is None:
        return f"# {name} is a method of your own: build it as the study does."
    model = _model(known, settings[0].backbone, given)
    norm = known[0].get("text_norm", RAW_TEXT_NORM) if len(known) == 1 else RAW_TEXT_NORM
    seed = int(study.frame["seed"].min())
    if model.get("pretrained") is None and model.get("model") is None:
        lines = [f"classifier = {_expression(found, 'prototypes', norm, seed)}"]
        lines.append("classifier.fit(X, y)")
        asked, rows, validation = "classifier", "X_new", "X_val, y_val"
    else:
        templates = model.pop("templates", "simple")
        prompts = "ClassPrompts(clip"
        if templates != "simple":  # what ClassPrompts takes by itself
            prompts += f", templates={'templates' if templates is None else repr(templates)}"
        first = _expression(found, f"{prompts})", norm, seed)
        lines = [
            f"clip = CLIPFeaturizer({_model_arguments(model)})",
            f"pipe = make_pipeline(clip, {first}).fit(image_paths, class_names)",
        ]
        asked, rows, validation = "pipe", "new_image_paths", "val_paths, val_names"
    if calibrator:
        folds = f"list(KFold(2).split({validation.partition(',')[0]}))"
        lines.append(
            f"{asked} = CalibratedClassifierCV(FrozenEstimator({asked}), method={calibrator!r}, "
            f"cv={folds}, ensemble=False).fit({validation})"
        )
    return "\n".join([*lines, f"probabilities = {asked}.predict_proba({rows})"])


def _own(entry, name):
    """A method that the manifest has, if all of it could be written there."""
    if entry is None or entry["parameters"] is None:
        return None
    table = {key: value for key, value in entry.items() if value is not None}
    try:
        return resolve_methods([{**table, "name": name}])[0]
    except StudyError as error:
        raise DatasetError(f"The manifest of results must describe methods: {error}") from error


def _model(known, backbone, given):
    """Parameters of the model: those of the manifest, else of the backbone's name."""
    model = dict(known[0].get("model", {}))
    if any(other.get("model", {}).get("templates") != model.get("templates") for other in known):
        model["templates"] = None  # of each data set its own: a variable
    if not model and backbone != "precomputed":
        name, _, pretrained = backbone.rpartition(" ")
        model = {"model": name, "pretrained": pretrained}
    return model | {name: value for name, value in given.items() if value is not None}


def _model_arguments(model):
    named = {
        key: value for key, value in model.items() if key not in INDIFFERENT and value is not None
    }
    first = [_literal(named.pop("model"))] if named.get("model") else []
    named.pop("model", None)
    return ", ".join([*first, *(f"{key}={_literal(value)}" for key, value in named.items())])


def _literal(value):
    """As Python writes it, text in the quotes of the examples."""
    if isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        return json.dumps(str(value), ensure_ascii=False)
    return repr(value)


def _expression(method, prototypes, norm, seed):
    """What builds a method, with `prototypes` as the expression of its text prototypes."""
    cls = estimator_class(method.estimator)
    given = dict(method.parameters)
    if method.recipe is not None:
        # The class behind it, whose prompts then get the norm that they had in the study.
        cls = type(cls.from_recipe(method.recipe, np.eye(2)))
        given.setdefault("prototype_norm", "raw")
    accepted = inspect.signature(cls).parameters
    arguments = []
    if "estimator" in given:
        inner = METHODS[given.pop("estimator")]
        arguments.append(_expression(inner, prototypes, norm, seed))
    if "prototypes" in accepted:
        arguments.append(prototypes)
    if given.get("prototype_norm") == "raw":
        given["prototype_norm"] = norm
    if "random_state" in accepted:
        given.setdefault("random_state", seed)
    arguments += [f"{name}={value!r}" for name, value in given.items()]
    return f"{cls.__name__}({', '.join(arguments)})"
