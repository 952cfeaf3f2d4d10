"""The one place that touches scikit-learn names outside its documented interface."""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = ["HasMethods", "Hidden", "Interval", "StrOptions", "check_sample_weight", "fit_context"]
