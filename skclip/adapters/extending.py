"""What a new adapter is written with; see the page on extending in the documentation."""

from skclip._core.linear.objective import LinearProblem, solve_map
from skclip.adapters.base import BaseAdapterClassifier, Task
from skclip.adapters.linear import LinearAdapterClassifier, warn_unless_converged
from skclip.adapters.recipe import RecipeMixin
from skclip.utils.sklearn_private import Interval, StrOptions, fit_context

__all__ = [
    "BaseAdapterClassifier",
    "Interval",
    "LinearAdapterClassifier",
    "LinearProblem",
    "RecipeMixin",
    "StrOptions",
    "Task",
    "fit_context",
    "solve_map",
    "warn_unless_converged",
]
