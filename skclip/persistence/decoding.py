"""Trees of JSON and named arrays as the estimators that they were made from."""

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import __version__ as sklearn_version
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from skclip.exceptions import PersistenceError
from skclip.persistence.allowed import (
    RECORDS,
    Allowed,
    is_attribute,
    parameter_names,
    record_fields,
)
from skclip.persistence.arrays import from_plain, is_plain
from skclip.persistence.encoding import METADATA_METHODS
from skclip.prompts import Prototypes
from skclip.utils.device import resolve_device

__all__ = ["Decoder"]


class Decoder:
    """Objects from trees.

    Parameters
    ----------
    allowed : Allowed
        Classes that may occur.
    arrays : mapping from str to ndarray
        Those of the file; all of them must be used.
    device : str, torch.device or None
        Replaces the parameter `device` of every estimator; None keeps it where there is such
        a device and makes it "auto" elsewhere.
    versions : mapping from str to str
        Of skclip and scikit-learn when the file was written.
    current : str
        The version of skclip.
    """

    def __init__(
        self,
        allowed: Allowed,
        arrays: Mapping[str, np.ndarray],
        *,
        device: str | torch.device | None,
        versions: Mapping[str, str],
        current: str,
    ) -> None:
        self._allowed = allowed
        self._plain = arrays
        self._arrays: dict[str, np.ndarray] = {}
        self._device = device
        self._versions = versions
        self._is_current = versions.get("skclip") == current

    def decode_all(self, node: Any) -> Any:
        """The object, when every array of the file belongs to it."""
        value = self.decode(node)
        unused = sorted(set(self._plain) - set(self._arrays))
        if unused:
            raise PersistenceError(
                f"Every array must belong to the object; the file holds {len(unused)} that do not: "
                f"{', '.join(unused[:5])}. It was not written by skclip.save."
            )
        return value

    def decode(self, node: Any) -> Any:
        """The object of a tree.

        Raises
        ------
        PersistenceError
            If the tree is not one that an Encoder makes.
        """
        if node is None or type(node) in (bool, int, float, str):
            return node
        if type(node) is list:
            return [self.decode(item) for item in node]
        decode = _KINDS.get(node.get("kind")) if type(node) is dict else None
        if decode is None:
            raise PersistenceError(
                f"Every entry must be of a known kind; got {str(node)[:80]!r}. The file was not "
                "written by skclip.save."
            )
        return decode(self, {key: value for key, value in node.items() if key != "kind"})

    def _float(self, node):
        (value,) = _fields(node, "value")
        if value not in ("nan", "inf", "-inf"):
            raise PersistenceError(f"A float must be 'nan', 'inf' or '-inf'; got {value!r}.")
        return float(value)

    def _tuple(self, node):
        (items,) = _fields(node, "items")
        return tuple(self.decode(items))

    def _dict(self, node):
        (items,) = _fields(node, "items")
        return {self.decode(key): self.decode(value) for key, value in items}

    def _path(self, node):
        return Path(*_fields(node, "value"))

    def _torch_device(self, node):
        return torch.device(*_fields(node, "value"))

    def _dtype(self, node):
        dtype = np.dtype(*_fields(node, "value"))
        return dtype if dtype.kind == "O" else _checked(dtype)

    def _scalar(self, node):
        dtype, value = _fields(node, "dtype", "value")
        return _checked(np.dtype(dtype)).type(self.decode(value))

    def _random_state(self, node):
        (state,) = _fields(node, "state")
        generator = np.random.RandomState()
        generator.set_state(tuple(self.decode(state)))
        return generator

    def _prototypes(self, node):
        vectors, labels, logit_scale = _fields(node, "vectors", "labels", "logit_scale")
        return Prototypes(self.decode(vectors), self.decode(labels), logit_scale=logit_scale)

    def _array(self, node):
        note = dict(node)
        name = note.pop("name")
        if set(note) - {"order", "text"}:
            raise PersistenceError(f"An array has unknown entries: {sorted(note)}.")
        if name not in self._plain:
            raise PersistenceError(
                f"Every array must be in the file; {name!r} is not. The file was not written by "
                "skclip.save."
            )
        if name not in self._arrays:
            self._arrays[name] = from_plain(self._plain[name], note)
        return self._arrays[name]

    def _objects(self, node):
        shape, items = _fields(node, "shape", "items")
        array = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            array[i] = self.decode(item)
        return array.reshape(shape)

    def _record(self, node):
        name, values = _fields(node, "class", "fields")
        cls = RECORDS.get(name)
        if cls is None:
            raise PersistenceError(f"Records must be of {sorted(RECORDS)}; got {name!r}.")
        return cls(*(self.decode(value) for value in _fields(values, *record_fields(cls))))

    def _estimator(self, node):
        node = dict(node)
        requests, weights = node.pop("requests", None), node.pop("weights", None)
        name, parameters, attributes = _fields(node, "class", "parameters", "attributes")
        cls = self._allowed.get(name)
        if cls is None:
            raise PersistenceError(
                f"Classes must be known to skclip; got {name!r}. Pass classes=[{name}] if it is "
                "one of your own that you trust."
            )
        self._check_version(cls)
        wrong = sorted(n for n in attributes if not is_attribute(cls, n))
        if wrong:
            raise PersistenceError(
                f"{name} must have fitted attributes only; got {', '.join(wrong[:5])}. The file "
                "was not written by skclip.save."
            )
        parameters = {n: self.decode(v) for n, v in self._complete(cls, parameters).items()}
        if "device" in parameters:
            parameters["device"] = self._available(parameters["device"], name)
        attributes = {n: self.decode(v) for n, v in attributes.items()}
        estimator = cls.__new__(cls)
        vars(estimator).update(parameters | attributes)
        if weights is not None:
            estimator._weights_fingerprint = str(weights)
        if requests is not None:
            _set_requests(estimator, self.decode(requests))
        return estimator

    def _complete(self, cls: type, parameters: dict) -> dict:
        """Parameters of the constructor; what an earlier version had not has its default."""
        known = parameter_names(cls)
        unknown = sorted(set(parameters) - set(known))
        missing = [name for name in known if name not in parameters]
        signature = inspect.signature(cls.__init__).parameters
        needed = [n for n in missing if self._is_current or signature[n].default is inspect._empty]
        if unknown or needed:
            raise PersistenceError(
                f"{cls.__name__} must have the parameters {', '.join(known)}; the file "
                + " and ".join(
                    f"{verb} {', '.join(names)}"
                    for verb, names in (("lacks", needed), ("adds", unknown))
                    if names
                )
                + f". It was written by skclip {self._versions.get('skclip')}."
            )
        return parameters | {name: signature[name].default for name in missing}

    def _check_version(self, cls: type) -> None:
        written = self._versions.get("scikit-learn")
        if Allowed.depends_on_sklearn(cls) and written != sklearn_version:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=cls.__name__,
                    current_sklearn_version=sklearn_version,
                    original_sklearn_version=written,
                ),
                stacklevel=2,
            )

    def _available(self, device: Any, name: str) -> Any:
        if self._device is not None:
            return self._device
        try:
            resolve_device(device)
        except ValueError as exc:
            warnings.warn(
                f"{name} was saved with device={str(device)!r}, which this machine does not have "
                f"({exc}). It is loaded with device='auto'.",
                UserWarning,
                stacklevel=2,
            )
            return "auto"
        return device


_KINDS = {
    "array": Decoder._array,
    "device": Decoder._torch_device,
    "dict": Decoder._dict,
    "dtype": Decoder._dtype,
    "estimator": Decoder._estimator,
    "float": Decoder._float,
    "objects": Decoder._objects,
    "path": Decoder._path,
    "prototypes": Decoder._prototypes,
    "random_state": Decoder._random_state,
    "record": Decoder._record,
    "scalar": Decoder._scalar,
    "tuple": Decoder._tuple,
}


def _fields(node: dict, *names: str) -> list:
    """The values of exactly these keys."""
    if set(node) != set(names):
        raise PersistenceError(
            f"An entry must have the keys {', '.join(names)}; got {', '.join(sorted(node))}. The "
            "file was not written by skclip.save."
        )
    return [node[name] for name in names]


def _checked(dtype: np.dtype) -> np.dtype:
    if not is_plain(dtype):
        raise PersistenceError(f"Types must be numbers, truth values or strings; got {dtype}.")
    return dtype


def _set_requests(estimator: BaseEstimator, requests: dict[str, dict[str, Any]]) -> None:
    """What was told to set_fit_request and its like."""
    with config_context(enable_metadata_routing=True):
        for method, given in requests.items():
            if method not in METADATA_METHODS:
                raise PersistenceError(f"Metadata must be requested by a method; got {method!r}.")
            getattr(estimator, f"set_{method}_request")(**given)
