"""The one place that touches scikit-learn names outside its documented interface."""

from typing import Any

from sklearn.base import _fit_context as fit_context
from sklearn.metrics._scorer import _BaseScorer as BaseScorer
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "BaseScorer",
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_method_params",
    "check_sample_weight",
    "fit_context",
    "safe_indexing",
    "serialized_requests",
]


def serialized_requests(requests: Any) -> dict[str, Any]:
    """Which metadata an estimator asked for (`set_fit_request`), by method, as dictionaries."""
    return dict(requests._serialize())
