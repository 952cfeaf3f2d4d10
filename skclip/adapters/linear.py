"""The part that classifiers with linear logits share."""

import logging
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skclip._core.linear.objective import logits
from skclip._core.solve.status import Status
from skclip.adapters.base import BaseAdapterClassifier

__all__ = ["LinearAdapterClassifier", "warn_unless_converged"]

logger = logging.getLogger(__name__)


class LinearAdapterClassifier(BaseAdapterClassifier):
    """Logits ``(logit_scale_ * X @ coef_.T + intercept_) / temperature_``."""

    def _store_linear(self, W, b=None, temperature=1.0):
        self.coef_ = W.cpu().numpy()
        self.intercept_ = np.zeros(len(W), W.cpu().numpy().dtype) if b is None else b.cpu().numpy()
        self.temperature_ = float(temperature)

    def _log_proba(self, X):
        W = torch.tensor(self.coef_ / self.temperature_, dtype=X.dtype, device=X.device)
        b = torch.tensor(self.intercept_ / self.temperature_, dtype=X.dtype, device=X.device)
        return torch.log_softmax(logits(X, W, b, self.logit_scale_), dim=1)


def warn_unless_converged(solution, tol):
    """ConvergenceWarning from the solver's status."""
    exhausted = solution.status is Status.PRECISION and solution.gradient_norm > 1e3 * tol
    if solution.status is Status.MAX_ITER or exhausted:
        warnings.warn(
            f"The solver stopped before its certificate reached tol={tol:g}: "
            f"{solution.status.value} (gradient norm {solution.gradient_norm:.3g} after "
            f"{solution.n_iter} iterations). Increase max_iter, or tol.",
            ConvergenceWarning,
            stacklevel=3,
        )
