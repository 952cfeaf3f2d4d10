"""The classes that a file may name. A file never says where to import one from."""

import inspect
from collections.abc import Iterable

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
from skclip.decisions.selective import SelectiveScore
from skclip.exceptions import PersistenceError

__all__ = ["RECORDS", "Allowed", "is_attribute", "parameter_names", "record_fields"]

# Those of scikit-learn whose state is parameters and arrays, and which run no code that
# they were given. A class with functions or trees inside does not belong here.
_SKLEARN = (
    FrozenEstimator,
    LogisticRegression,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PCA,
    Pipeline,
    RobustScaler,
    SimpleImputer,
    StandardScaler,
    VarianceThreshold,
)
# Their state is that of the estimators in them, which depends on no version.
_CONTAINERS = (FrozenEstimator, Pipeline)

# Dataclasses and named tuples that estimators keep.
RECORDS = {record.__name__: record for record in (SelectiveScore,)}


def _own():
    """Every estimator that the package has."""
    for layer in (adapters, decisions, features, prompts):
        for name in layer.__all__:
            value = getattr(layer, name)
            if isinstance(value, type) and issubclass(value, BaseEstimator):
                yield value


class Allowed:
    """Estimator classes by name.

    Parameters
    ----------
    extra : iterable of type
        Classes of the caller's own.

    Raises
    ------
    PersistenceError
        If one of `extra` is no scikit-learn estimator, or has a name that is taken.
    """

    def __init__(self, extra: Iterable[type] = ()) -> None:
        self._by_name = {cls.__name__: cls for cls in (*_SKLEARN, *_own())}
        for cls in extra:
            if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
                raise PersistenceError(
                    "classes must hold subclasses of sklearn.base.BaseEstimator; got "
                    f"{cls!r}. Pass the class, not an object of it."
                )
            if self._by_name.setdefault(cls.__name__, cls) is not cls:
                raise PersistenceError(
                    f"Names in classes must be their own; got {cls.__name__!r}, which "
                    f"{self._by_name[cls.__name__].__module__} has. Rename the class."
                )

    def name(self, cls: type) -> str | None:
        """The name of exactly this class (a subclass has other state), or None."""
        return cls.__name__ if self._by_name.get(cls.__name__) is cls else None

    def get(self, name: str) -> type | None:
        """The class of this name, or None."""
        return self._by_name.get(name) if isinstance(name, str) else None

    @staticmethod
    def depends_on_sklearn(cls: type) -> bool:
        """Whether the state is laid out by scikit-learn, and may change with its version."""
        return cls in _SKLEARN and cls not in _CONTAINERS


def parameter_names(cls: type) -> list[str]:
    """Parameters of the constructor."""
    return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]


def record_fields(cls: type) -> tuple[str, ...]:
    """Fields of a dataclass or of a named tuple."""
    return getattr(cls, "_fields", None) or tuple(cls.__dataclass_fields__)


def is_attribute(cls: type, name: str) -> bool:
    """Whether an object may carry `name` beside its parameters: as scikit-learn names what is
    fitted, and in no way that hides a method.
    """
    underscored = name.endswith("_") or name.startswith("_")
    return underscored and not name.startswith("__") and not hasattr(cls, name)
