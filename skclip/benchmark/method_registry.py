"""Methods and calibrators by name, as a configuration file writes them."""

import inspect
import pickle
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import joblib
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import KFold

from skclip import adapters
from skclip.benchmark.episodes import Support
from skclip.benchmark.feature_data import FeatureDataset
from skclip.exceptions import StudyError
from skclip.utils.csv_cells import one_line
from skclip.utils.messages import listing

__all__ = ["CALIBRATORS", "METHODS", "Method", "calibrate", "estimator_class", "resolve_methods"]


@dataclass(frozen=True)
class Method:
    """An estimator by the name of its class, and its parameters.

    Parameters
    ----------
    name : str
        In configuration files and results.
    estimator : str
        Class of skclip, or LogisticRegression, LogisticRegressionCV or CalibratedClassifierCV of
        scikit-learn.
    parameters : mapping
        Of its constructor. ``prototype_norm="raw"`` is the norm of the raw text embeddings,
        ``estimator="name"`` another method of METHODS.
    recipe : str, default=None
        A recipe of the class instead of its constructor.
    label : str
        What tables print.
    """

    name: str
    estimator: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    recipe: str | None = None
    label: str = ""

    @property
    def fingerprint(self) -> str:
        """A digest of all but the names: another one is another estimator."""
        parameters = dict(self.parameters)
        base = METHODS.get(parameters.get("estimator", ""))
        parts = (self.estimator, sorted(parameters.items()), self.recipe, base and base.fingerprint)
        try:
            return str(joblib.hash(parts))[:16]
        except pickle.PicklingError:  # a function without a name is never the same
            return uuid.uuid4().hex[:16]

    def make(self, data: FeatureDataset, seed: int) -> ClassifierMixin:
        """The unfitted estimator for a data set.

        Parameters
        ----------
        data : FeatureDataset
        seed : int

        Returns
        -------
        classifier
        """
        cls = estimator_class(self.estimator)
        parameters = dict(self.parameters)
        if parameters.get("prototype_norm") == "raw":
            parameters["prototype_norm"] = data.text_norm
        if "estimator" in parameters:
            parameters["estimator"] = METHODS[parameters["estimator"]].make(data, seed)
        accepted = inspect.signature(cls).parameters
        if "random_state" in accepted:
            parameters.setdefault("random_state", seed)
        if self.recipe is not None:
            parameters.setdefault("prototype_norm", data.text_norm)
            return cls.from_recipe(self.recipe, data.prototypes, **parameters)
        if "prototypes" in accepted:
            parameters.setdefault("prototypes", data.prototypes)
        return cls(**parameters)


_SCIKIT_LEARN = {
    cls.__name__: cls
    for cls in (
        LogisticRegression,
        LogisticRegressionCV,
        LinearDiscriminantAnalysis,
        CalibratedClassifierCV,
    )
}


def estimator_class(name: str) -> Any:
    """The class of a method, by its name."""
    if name in _SCIKIT_LEARN:
        return _SCIKIT_LEARN[name]
    known = [n for n in adapters.__all__ if hasattr(getattr(adapters, n), "predict_proba")]
    if name not in known:
        raise StudyError(
            f"estimator must be one of {', '.join(_SCIKIT_LEARN)} or a classifier of skclip; got "
            f"{name!r}. They are {', '.join(known)}."
        )
    return getattr(adapters, name)


_RAW = {"prototype_norm": "raw"}
# A bare name is the published recipe; "-optimum" is the same objective solved to its optimum.
_METHODS = (
    Method("zero-shot", "ZeroShotClassifier", label="Zero-shot"),
    Method("linear-probe", "LinearProbeClassifier", label="Linear probe"),
    Method("random-lp", "LinearProbeClassifier", {"init": "random"}, label="Linear probe, random"),
    Method(
        "random-lp-ensemble",
        "DeepEnsembleClassifier",
        {"estimator": "random-lp"},
        label="Linear probe, random, ensemble of 5",
    ),
    Method("zs-lp", "LinearProbeClassifier", {"init": "prototypes", **_RAW}, label="ZS-LP"),
    Method(
        "zs-lp-ensemble",
        "DeepEnsembleClassifier",
        {"estimator": "zs-lp"},
        label="ZS-LP, ensemble of 5",
    ),
    Method("zs-lp-sals", "SampleAdaptiveScaling", {"estimator": "zs-lp"}, label="ZS-LP, SaLS"),
    Method("zs-lp-laplace", "LaplaceProbeClassifier", {"solver": "sgd"}, label="ZS-LP, Laplace"),
    Method("laplace-probe", "LaplaceProbeClassifier", label="Last-layer Laplace"),
    Method("zs-norm", "ZeroShotRangeClassifier", {"method": "norm"}, label="ZS-Norm"),
    Method("zs-penalty", "ZeroShotRangeClassifier", label="Zero-shot range penalty"),
    Method("clap", "CLAPClassifier", {"solver": "sgd", **_RAW}, label="CLAP"),
    Method("clap-optimum", "CLAPClassifier", label="CLAP (optimum)"),
    Method("task-res", "TaskResClassifier", {"solver": "adam", **_RAW}, label="TaskRes"),
    Method("task-res-optimum", "TaskResClassifier", label="TaskRes (optimum)"),
    Method("clip-adapter", "CLIPAdapterClassifier", label="CLIP-Adapter"),
    Method("tip-adapter", "TipAdapterClassifier", label="Tip-Adapter"),
    Method("tip-adapter-f", "TipAdapterClassifier", {"fine_tune": True}, label="Tip-Adapter-F"),
    Method("cross-modal", "CrossModalClassifier", {"solver": "adamw"}, label="Cross-modal"),
    Method("cross-modal-optimum", "CrossModalClassifier", label="Cross-modal (optimum)"),
    Method("lp++", "LPPlusPlusClassifier", {"solver": "mm"}, label="LP++"),
    Method("lp++-optimum", "LPPlusPlusClassifier", label="LP++ (optimum)"),
    Method("gda", "GaussianDAClassifier", label="GDA"),
    Method("proker", "ProKeRClassifier", label="ProKeR"),
    Method("bayes-paper", "BayesAdapterClassifier", recipe="paper", label="BayesAdapter, paper"),
    Method("bayes", "BayesAdapterClassifier", label="BayesAdapter"),
    Method(
        "logistic-regression",
        "LogisticRegression",
        {"C": 100.0, "max_iter": 1000},
        label="LogisticRegression, C=100",
    ),
    Method(
        "lda",
        "LinearDiscriminantAnalysis",
        {"solver": "lsqr", "shrinkage": "auto"},
        label="LDA, shrunk",
    ),
)
# name -> Method, in the order of the literature's tables.
METHODS = MappingProxyType({method.name: method for method in _METHODS})

CALIBRATORS = ("none", "temperature")


def resolve_methods(given: Iterable[Method | str | Mapping[str, Any]]) -> list[Method]:
    """Methods from names, Method objects and tables with the fields of one.

    A table gives "name" and either a known name as "base", whose parameters it changes, or
    "estimator".
    """
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise StudyError(f"methods must be a list of names and tables; got {given!r}.")
    methods = [_resolve(entry) for entry in given]
    names = [method.name for method in methods]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not methods:
        raise StudyError(
            f"Every method needs a name of its own; got {listing(repeated) or 'none'}"
            f"{' twice' if repeated else ''}."
        )
    return methods


def _resolve(entry: Method | str | Mapping[str, Any]) -> Method:
    if isinstance(entry, str):
        if entry not in METHODS:
            raise StudyError(f"methods must be among {', '.join(METHODS)}; got {entry!r}.")
        return METHODS[entry]
    method = entry if isinstance(entry, Method) else _of_table(entry)
    method = replace(method, name=one_line(method.name), label=one_line(method.label))
    _check_parameters(method)
    return method


def _of_table(entry: Mapping[str, Any]) -> Method:
    kinds: dict[str, Any] = dict.fromkeys(("name", "base", "estimator", "recipe", "label"), str)
    kinds["parameters"] = Mapping
    if (
        not isinstance(entry, Mapping)
        or not entry.get("name")
        or any(not isinstance(value, kinds.get(key, ())) for key, value in entry.items())
    ):
        raise StudyError(
            "A method is a name, or a table with name, base or estimator, parameters, recipe and "
            f"label, of which parameters is a table and the others are text; got {entry!r}."
        )
    base = _resolve(entry["base"]) if "base" in entry else None
    return Method(
        name=entry["name"],
        estimator=entry.get("estimator", base.estimator if base else ""),
        parameters={**(base.parameters if base else {}), **entry.get("parameters", {})},
        recipe=entry.get("recipe", base.recipe if base else None),
        label=entry.get("label", entry["name"]),
    )


def _check_parameters(method: Method) -> None:
    """What is wrong in all draws; values are checked by the fit."""
    cls = estimator_class(method.estimator)
    if " + " in method.name:
        raise StudyError(
            f"The name of a method must be without ' + ', which joins it to a calibrator; got "
            f"{method.name!r}."
        )
    base = method.parameters.get("estimator")
    if base is not None and (not isinstance(base, str) or base not in METHODS):
        raise StudyError(
            f"estimator of {method.name} must be among {', '.join(METHODS)}; got {base!r}."
        )
    if method.recipe is not None:
        if not hasattr(cls, "from_recipe"):
            raise StudyError(f"{method.estimator} has no recipes; got {method.recipe!r}.")
        return
    unknown = [name for name in method.parameters if name not in inspect.signature(cls).parameters]
    if unknown:
        raise StudyError(
            f"parameters of {method.name} must be those of {method.estimator}; got "
            f"{listing(unknown)}."
        )


def calibrate(name: str, classifier: ClassifierMixin, support: Support) -> ClassifierMixin:
    """The fitted classifier, calibrated on the validation rows of its support."""
    if name == "none":
        return classifier
    if len(support.y_val) == 0:
        raise ValueError("temperature scaling needs validation rows; got none in this draw.")
    # Frozen: folds only say which rows are predicted together. A number of folds, or an object
    # that has one, would ask for as many rows of every class.
    folds = list(KFold(2).split(support.X_val))
    scaled = CalibratedClassifierCV(
        FrozenEstimator(classifier), method="temperature", cv=folds, ensemble=False
    )
    return scaled.fit(support.X_val, support.y_val)
