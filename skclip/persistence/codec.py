"""Values as what JSON holds and named arrays, and back.

None, truth values, numbers, strings, lists, and dictionaries whose keys are strings stand for
themselves. Anything else is ``{"kind": name, "value": parts}`` with parts that are again
values. A file names kinds, and never says where to import one from.
"""

import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skclip import _core
from skclip._core.model import FittedModel
from skclip.decisions.abstention import SelectiveScore
from skclip.exceptions import PersistenceError
from skclip.persistence.estimators import ESTIMATORS, restore, state_of
from skclip.prompts import Prototypes

__all__ = ["Codec", "Kind", "known_kinds"]

# What safetensors has, by NumPy's kind and size.
_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


class Kind(NamedTuple):
    """Values of exactly this type: their parts, and the value of such parts."""

    of: type | None
    parts: Callable[[Any], Any]
    whole: Callable[[Any], Any]


class Codec:
    """Both directions; `arrays` are those of the file, which encoding adds to."""

    def __init__(self, kinds: Mapping[str, Kind], arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()
        self._kinds = kinds
        self._names = {kind.of: name for name, kind in kinds.items()}
        # Arrays that were encoded are kept, so that no identity is used again.
        self._nodes: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}

    def encode(self, value: Any, where: str) -> Any:
        """The tree of a value, which messages and names of arrays call `where`."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is list:
            return [self.encode(item, _place(where, i, item)) for i, item in enumerate(value)]
        if type(value) is dict and "kind" not in value and all(type(key) is str for key in value):
            return {key: self.encode(item, f"{where}.{key}") for key, item in value.items()}
        if id(value) in self._nodes:
            return self._nodes[id(value)][1]
        name = self._kind(value, where)
        take_apart = self._kinds[name].parts
        parts = self._store(value, where) if name == "array" else take_apart(value)
        node = {"kind": name, "value": self.encode(parts, where)}
        if type(value) is np.ndarray:
            self._nodes[id(value)] = value, node
        return node

    def decode(self, node: Any) -> Any:
        """The value of a tree."""
        if type(node) is list:
            return [self.decode(item) for item in node]
        if type(node) is not dict:
            return node
        if "kind" not in node:
            return {key: self.decode(item) for key, item in node.items()}
        if set(node) != {"kind", "value"}:
            raise PersistenceError(
                f"An entry must have the keys kind and value; got {', '.join(sorted(node))}. The "
                "file was not written by skclip.save."
            )
        name, parts = node["kind"], self.decode(node["value"])
        if name not in self._kinds:
            raise PersistenceError(
                f"Classes must be known to skclip; got {name!r}. Pass classes=[{name}] if it is "
                "one of your own that you trust."
            )
        if name != "array":
            return self._kinds[name].whole(parts)
        if parts not in self.arrays:
            raise PersistenceError(
                f"Every array must be in the file; {parts!r} is not. The file was not written by "
                "skclip.save."
            )
        self.used.add(parts)
        return self.arrays[parts]

    def _kind(self, value: Any, where: str) -> str:
        if type(value) is np.ndarray:
            return _kind_of_array(value, where)
        cls: type = type(value)
        for family in (np.generic, np.dtype):  # with a class for every type of numbers
            cls = family if isinstance(value, family) else cls
        if cls not in self._names:
            raise PersistenceError(
                "Every part must be one that a file without code can hold: an estimator of skclip, "
                "one of scikit-learn's simple ones, an array, a number or a string; "
                f"{where} is of the class {cls.__module__}.{cls.__qualname__}. {_advice(value)}."
            )
        return self._names[cls]

    def _store(self, array: np.ndarray, where: str) -> str:
        """The name of the array in the file."""
        while where in self.arrays:
            where += "'"
        # safetensors writes the buffer as it lies in memory.
        little = array.dtype.newbyteorder("<")
        self.arrays[where] = array.astype(little, order="C", copy=False)
        return where


def _place(where: str, i: int, item: Any) -> str:
    """Pairs, such as steps of a pipeline, are called by their name."""
    is_pair = isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)
    return f"{where}[{item[0] if is_pair else i!r}]"


def _advice(value: Any) -> str:
    """What to do about a value for which there is no place."""
    if hasattr(value, "best_estimator_"):
        return "Save its best_estimator_"
    if isinstance(value, BaseEstimator | FittedModel):
        return "Pass classes=[...] for one of your own that holds arrays, or use skops.io.dump"
    if isinstance(value, torch.Tensor):
        return "Pass value.cpu().numpy()"
    if hasattr(value, "to_numpy"):
        return "Pass value.to_numpy()"
    return "Pass what a function makes, convert other values, or use skops.io.dump"


# -- arrays ---------------------------------------------------------------------------


def _kind_of_array(array: np.ndarray, where: str) -> str:
    if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous:
        return "transposed"  # in another order, sums over it would round differently
    if f"{array.dtype.kind}{array.dtype.itemsize}" in _NUMBERS:
        return "array"
    if array.dtype.kind in "UO":
        return "text" if array.dtype.kind == "U" else "objects"
    raise PersistenceError(
        f"Arrays must hold numbers, truth values, strings or objects; {where} holds "
        f"{array.dtype}. Convert it with astype, or use skops.io.dump."
    )


def _text_parts(array: np.ndarray) -> list[Any]:
    text = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return [list(array.shape), text.decode("utf-32-le", "surrogatepass")]


def _text_whole(parts: list[Any]) -> np.ndarray:
    # Never wider than the text in the file: a number in it could ask for any memory.
    shape, text = parts
    width = len(text) // max(1, math.prod(shape)) or 1
    flat = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), f"<U{width:d}")
    return flat.reshape(shape).copy()


def _objects_whole(parts: list[Any]) -> np.ndarray:
    shape, items = parts
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # an assignment at once would spread lists
        array[i] = item
    return array.reshape(shape)


def _random_state_whole(parts: list[Any]) -> np.random.RandomState:
    # NumPy takes any position, and would read outside of the key.
    if not 0 <= parts[2] <= 624:
        raise PersistenceError(f"A RandomState's position must be in [0, 624]; got {parts[2]!r}.")
    generator = np.random.RandomState()
    generator.set_state(tuple(parts))
    return generator


# -- kinds ----------------------------------------------------------------------------

_VALUES: dict[str, Kind] = {
    "tuple": Kind(tuple, list, tuple),
    "dict": Kind(dict, lambda value: [list(item) for item in value.items()], dict),
    "path": Kind(type(Path()), str, Path),
    "device": Kind(torch.device, str, torch.device),
    "dtype": Kind(np.dtype, lambda value: value.str, np.dtype),
    "scalar": Kind(np.generic, np.asarray, lambda array: array[()]),
    "array": Kind(None, str, str),  # the codec's own: a name in the file
    "transposed": Kind(None, np.transpose, np.transpose),
    "text": Kind(None, _text_parts, _text_whole),
    "objects": Kind(None, lambda array: [list(array.shape), list(array.flat)], _objects_whole),
    "RandomState": Kind(np.random.RandomState, lambda v: list(v.get_state()), _random_state_whole),
    "Prototypes": Kind(Prototypes, Prototypes.__getstate__, lambda parts: Prototypes(**parts)),
    "SelectiveScore": Kind(
        SelectiveScore, SelectiveScore._asdict, lambda parts: SelectiveScore(**parts)
    ),
}


def known_kinds(classes: Iterable[type] = (), **loading: Any) -> dict[str, Kind]:
    """Kinds by name; `classes` are the caller's own, `loading` goes to :func:`restore`."""
    kinds = dict(_VALUES)
    for cls in (*ESTIMATORS, *_models(), *classes):
        if isinstance(cls, type) and issubclass(cls, FittedModel):
            kind = Kind(cls, cls.arrays, cls.from_arrays)
        elif isinstance(cls, type) and issubclass(cls, BaseEstimator):
            kind = Kind(cls, state_of, functools.partial(restore, cls, **loading))
        else:
            kind = None
        if kind is None or kinds.setdefault(cls.__name__, kind).of is not cls:
            raise PersistenceError(
                "classes must hold subclasses of sklearn.base.BaseEstimator, or of FittedModel, "
                f"with names that skclip does not use; got {cls!r}. Pass a class, or rename it."
            )
    return kinds


@functools.cache
def _models() -> tuple[type[FittedModel], ...]:
    """Every model of the core, whatever has been imported so far."""
    found = pkgutil.walk_packages(_core.__path__, f"{_core.__name__}.")
    values = [v for info in found for v in vars(importlib.import_module(info.name)).values()]
    classes = [v for v in values if isinstance(v, type) and issubclass(v, FittedModel)]
    return tuple(cls for cls in classes if not inspect.isabstract(cls))
