"""Estimators as dictionaries of their parameters and of what they were fitted to, and back."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from sklearn import __version__ as sklearn_version
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

from skclip import adapters, decisions, features, prompts
from skclip.backbones import get_backbone
from skclip.exceptions import BackboneError, PersistenceError
from skclip.features import CLIPFeaturizer
from skclip.prompts import ClassPrompts
from skclip.utils.callbacks import CALLBACKS
from skclip.utils.device import resolve_device
from skclip.utils.sklearn_private import serialized_requests

__all__ = ["ESTIMATORS", "fingerprint_of", "restore", "state_of"]

# Their state is that of the estimators in them, which depends on no version.
_CONTAINERS = (FrozenEstimator, Pipeline)
_OWN = [
    getattr(layer, n) for layer in (adapters, decisions, features, prompts) for n in layer.__all__
]
# Those of the package; and those of scikit-learn whose state is parameters and arrays, and
# which run no code that they were given. A class with functions or trees inside does not
# belong here.
ESTIMATORS = (
    *(value for value in _OWN if isinstance(value, type) and issubclass(value, BaseEstimator)),
    *_CONTAINERS,
    LogisticRegression,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PCA,
    RobustScaler,
    SimpleImputer,
    StandardScaler,
    VarianceThreshold,
)
_REQUESTS = "_metadata_request"
_WEIGHTS = "weights_fingerprint_"


def state_of(estimator: BaseEstimator) -> dict[str, Any]:
    """Parameters and attributes, but no callbacks; of scikit-learn's also its version."""
    state: dict[str, Any] = dict(estimator.__getstate__())
    state.pop(CALLBACKS, None)
    _check(type(estimator), state)
    if _REQUESTS in state:
        state[_REQUESTS] = serialized_requests(state[_REQUESTS])
    if isinstance(estimator, CLIPFeaturizer | ClassPrompts) and not state.get(_WEIGHTS):
        state[_WEIGHTS] = fingerprint_of(estimator)
    return state


def restore(
    cls: type[BaseEstimator],
    state: Mapping[str, Any],
    *,
    device: str | torch.device | None,
    is_current: bool,
) -> BaseEstimator:
    """The estimator that :func:`state_of` was given.

    Parameters
    ----------
    cls : type
    state : mapping
    device : str, torch.device or None
        Replaces the parameter `device`; None keeps it where there is such a device.
    is_current : bool
        Whether this version wrote the file; of another one, new parameters have defaults.
    """
    defaults = inspect.signature(cls).parameters.items()
    given = {n: p.default for n, p in defaults if not is_current and p.default is not p.empty}
    restored = given | dict(state)
    _check(cls, restored)
    if cls in _CONTAINERS:
        restored["_sklearn_version"] = sklearn_version
    _move(restored, device, cls.__name__)
    requests = restored.pop(_REQUESTS, {})
    estimator: BaseEstimator = object.__new__(cls)
    estimator.__setstate__(restored)  # warns where scikit-learn's version is another
    with config_context(enable_metadata_routing=True):
        for method, names in requests.items():
            getattr(estimator, f"set_{method}_request")(**names)
    return estimator


def _check(cls: type, state: Mapping[str, Any]) -> None:
    """A state is parameters, and attributes that are called as scikit-learn calls fitted ones."""
    parameters = inspect.signature(cls).parameters
    missing = sorted(set(parameters) - set(state))
    hiding = [n for n in set(state) - set(parameters) if hasattr(cls, n) or n.startswith("__")]
    public = [n for n in set(state) - set(parameters) if n.strip("_") == n]
    if missing:
        raise PersistenceError(
            f"{cls.__name__} must have the parameters {', '.join(parameters)} as attributes; it "
            f"lacks {', '.join(missing)}. Its constructor must only store them."
        )
    if hiding or public:
        raise PersistenceError(
            f"Fitted attributes of {cls.__name__} must end or begin with an underscore, and hide "
            f"nothing of the class; got {', '.join(sorted({*hiding, *public})[:5])}. Rename them, "
            "or use skops.io.dump."
        )


def _move(state: dict[str, Any], device: str | torch.device | None, name: str) -> None:
    """Let the parameter `device`, and what a fit made of it, be one that is here."""
    problem = None
    for key in {"device", "device_"} & set(state):
        if device is not None:
            state[key] = device if key == "device" else str(device)
            continue
        try:
            resolve_device(state[key])
        except ValueError as exc:
            state[key], problem = "auto", exc
    if problem is not None:
        warnings.warn(
            f"{name} was saved for a device that this machine does not have ({problem}). It is "
            "loaded with device='auto'.",
            UserWarning,
            stacklevel=2,
        )


def fingerprint_of(estimator: CLIPFeaturizer | ClassPrompts) -> str | None:
    """SHA-256 of the weights that the estimator refers to; loads the model."""
    config = estimator.backbone_config()
    if config is None or (config.model is None and config.pretrained is None):
        return None
    try:
        return get_backbone(config).fingerprint
    except (BackboneError, ImportError, ValueError) as exc:
        warnings.warn(
            f"The weights of {type(estimator).__name__} should be loadable when it is saved, so "
            f"that other weights can be told apart later; they are not ({exc}). The file will not "
            "tell them apart.",
            UserWarning,
            stacklevel=2,
        )
        return None
