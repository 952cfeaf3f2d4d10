"""What every fit returns: an immutable model, which alone knows how it predicts.

Estimators, outlier scores, persistence and export ask the model and nothing else. A model is
a frozen dataclass of tensors, numbers, strings, and dataclasses of these; rows given to it
are scaled as those that it was fitted on.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from skclip._core.posterior.draws import average

__all__ = ["Averaging", "AveragingModel", "FittedModel", "LinearModel"]

M = TypeVar("M")


class FittedModel(ABC):
    """Logits of rows, draws of them, and itself as arrays.

    A subclass is a frozen dataclass that supplies :meth:`logits` and `n_classes`.
    """

    # Rows are predicted together up to this size of what they need.
    bytes_per_chunk: ClassVar[int] = 4 * 2**20

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Number of classes c."""

    @abstractmethod
    def logits(self, X: Tensor) -> Tensor:
        """(n, c) logits of rows (n, d) by the one best set of weights."""

    @property
    def has_spread(self) -> bool:
        """Whether draws differ."""
        return False

    @property
    def n_draws(self) -> int:
        """Draws that predictions average."""
        return 1

    def draws(
        self, X: Tensor, n_draws: int | None = None, seed: int | None = None
    ) -> Iterator[Tensor]:
        """Logits (n, c) under draws of the weights, one at a time; a single one without spread.

        None is the number, or the seed, of predictions.
        """
        yield self.logits(X)

    def uncertainty_draws(self, X: Tensor) -> Iterator[Tensor]:
        """Draws (n, c) whose disagreement says how little is known; those of predictions.

        A model that predicts at one set of weights and yet knows their spread has others.
        """
        return self.draws(X)

    def log_proba(self, X: Tensor) -> Tensor:
        """(n, c) predictive log-probabilities."""
        return torch.log_softmax(self.logits(X), dim=1)

    def coordinates(self, X: Tensor) -> Tensor:
        """(n, r) numbers of rows that their logits, less those of a text, are linear in."""
        return X

    def numbers_per_row(self, n_features: int) -> int:
        """Numbers that the prediction of one row holds at once."""
        return self.n_classes

    # -- as arrays ------------------------------------------------------------------

    def arrays(self) -> dict[str, Any]:
        """NumPy arrays, numbers and strings by the path of their field, as in "frame.basis"."""
        return _flatten(self)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """The model that :meth:`arrays` was called on.

        Raises
        ------
        ValueError
            If a field is missing, unknown or of another type.
        """
        return _build(cls, dict(arrays), "")

    def to(self, like: Tensor) -> Self:
        """The model on the device and in the precision of `like`; itself where it is there."""
        return _moved(self, like)

    def on_cpu(self) -> Self:
        """The model on the CPU, in its own precision."""
        return _moved(self, None)

    def __getstate__(self) -> dict[str, Any]:
        # As NumPy arrays: a pickle needs no torch storage, joblib can map it, skops can hold it.
        return self.arrays()

    def __setstate__(self, arrays: Mapping[str, Any]) -> None:
        vars(self).update(vars(self.from_arrays(arrays)))


@dataclass(frozen=True)
class LinearModel(FittedModel):
    """Logits ``(logit_scale X W' + b) / temperature`` with W (c, d) and b (c,)."""

    W: Tensor
    b: Tensor
    logit_scale: float
    temperature: float = 1.0

    @property
    def n_classes(self) -> int:
        return len(self.W)

    def logits(self, X: Tensor) -> Tensor:
        b, W = self.b / self.temperature, self.W / self.temperature
        return torch.addmm(b, X, W.T, alpha=self.logit_scale)


@dataclass(frozen=True)
class Averaging:
    """Predictions average `what`, "probabilities" or "logits", over draws made from `seed`."""

    n_draws: int
    seed: int
    what: str = "probabilities"


class AveragingModel(FittedModel):
    """A model whose predictions average over draws; a subclass has a field `averaging`."""

    averaging: Averaging

    @property
    def has_spread(self) -> bool:
        return True

    @property
    def n_draws(self) -> int:
        return self.averaging.n_draws

    @abstractmethod
    def draws(
        self, X: Tensor, n_draws: int | None = None, seed: int | None = None
    ) -> Iterator[Tensor]:
        """See :meth:`FittedModel.draws`."""

    def log_proba(self, X: Tensor) -> Tensor:
        if not self.has_spread:
            return super().log_proba(X)
        return average(self.draws(X), self.averaging.what)

    def _count_and_seed(self, n_draws: int | None, seed: int | None) -> tuple[int, int]:
        return (
            self.averaging.n_draws if n_draws is None else n_draws,
            self.averaging.seed if seed is None else seed,
        )


# -- dataclasses as flat mappings -----------------------------------------------------


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item, path = getattr(value, field.name), prefix + field.name
        if dataclasses.is_dataclass(item):
            out.update(_flatten(item, f"{path}."))
        else:
            out[path] = item.detach().cpu().numpy() if isinstance(item, Tensor) else item
    return out


def _build(cls: type[M], arrays: dict[str, Any], prefix: str) -> M:
    """An object of a dataclass from what :func:`_flatten` made; uses up `arrays`."""
    values: dict[str, Any] = {}
    for name, kind in _kinds(cls).items():
        path = prefix + name
        if dataclasses.is_dataclass(kind):
            values[name] = _build(typing.cast(type, kind), arrays, f"{path}.")
            continue
        if path not in arrays:
            raise ValueError(f"The arrays of a {cls.__name__} must have {path!r}; it is missing.")
        values[name] = _as_field(arrays.pop(path), kind, f"{cls.__name__}.{path}")
    if not prefix and arrays:
        unknown = ", ".join(sorted(arrays)[:5])
        raise ValueError(f"{cls.__name__} has no field for {unknown}.")
    return cls(**values)


def _as_field(value: Any, kind: Any, name: str) -> Any:
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return None
    if Tensor in kinds and hasattr(value, "__array__"):
        return torch.tensor(value)
    # A bool is an int in Python, and a whole number may stand for a float.
    plain = tuple(k for k in kinds if k in (bool, int, float, str))
    fits = type(value) in plain or (type(value) is int and float in plain)
    if not fits:
        raise ValueError(f"{name} must be {kind}; got {type(value).__name__}.")
    return float(value) if type(value) is int and int not in plain else value


def _kinds(cls: type[Any]) -> dict[str, Any]:
    """Types of the fields of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _moved(value: M, like: Tensor | None) -> M:
    """A dataclass with all its tensors moved, or itself when none is elsewhere."""
    changes = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        item = getattr(value, field.name)
        new = item
        if dataclasses.is_dataclass(item):
            new = _moved(item, like)
        elif isinstance(item, Tensor) and like is None:
            new = item.detach().cpu().contiguous()
        elif isinstance(item, Tensor) and like is not None:
            new = item.to(like) if item.is_floating_point() else item.to(like.device)
        if new is not item:
            changes[field.name] = new
    return dataclasses.replace(value, **changes) if changes else value  # type: ignore[type-var]
