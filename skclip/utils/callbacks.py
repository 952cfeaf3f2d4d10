"""scikit-learn's callbacks, from the version that has them (1.9): a fit is one task of them.

In older versions estimators have no ``set_callbacks``, and nothing is called.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, where scikit-learn has no callbacks."""


__all__ = ["CALLBACKS", "CallbackSupportMixin", "as_task"]

# Where scikit-learn keeps the callbacks of an estimator: what runs them is no part of a model.
CALLBACKS = "_skl_callbacks"


def as_task(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that fits, whose begin and end are told to the callbacks of the estimator.

    At its end they get X, y, the sample weights if there are any, and the fitted estimator.
    scikit-learn's fit_context, which must be around it, tells them when it is over.
    """
    if not hasattr(CallbackSupportMixin, "set_callbacks"):
        return method
    signature = inspect.signature(method)

    @functools.wraps(method)
    def observed(self: Any, *args: Any, **kwargs: Any) -> Any:
        context = self._init_callback_context()
        given = signature.bind(self, *args, **kwargs).arguments
        weights = given.get("sample_weight")
        told = {
            "estimator": self,
            "X": given.get("X"),
            "y": given.get("y"),
            "metadata": {} if weights is None else {"sample_weight": weights},
        }
        context.call_on_fit_task_begin(**told)
        result = method(self, *args, **kwargs)
        context.call_on_fit_task_end(**told, reconstruction_attributes={})
        return result

    return observed
