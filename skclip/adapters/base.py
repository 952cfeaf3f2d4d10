"""What every classifier shares: checking its input, and predicting from log-probabilities."""

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from skclip.adapters.classes import resolve_classes
from skclip.exceptions import PrototypeMismatchError
from skclip.utils.device import resolve_device
from skclip.utils.labels import check_labels
from skclip.utils.rows import row_digests, unit_rows
from skclip.utils.sklearn_private import Interval, StrOptions, check_sample_weight

__all__ = ["BaseAdapterClassifier", "Task", "log_odds"]

# CLIP's own cap on the learned scale, and the value that OpenAI's weights have.
DEFAULT_LOGIT_SCALE = 100.0
# Rows times features times classes up to which the CPU works in float64.
_FLOAT64_WORK = 2e8
# Of logits: small enough for the cache of a processor.
_BYTES_PER_CHUNK = 4 * 2**20


@dataclass(frozen=True)
class Task:
    """One fit, as tensors: X (n, d), y codes (n,), sample weights (n,), T (c, d) or None."""

    X: torch.Tensor
    y: torch.Tensor
    sample_weight: torch.Tensor
    prototypes: torch.Tensor | None
    logit_scale: float
    n_classes: int

    @property
    def prior_mean(self):
        """(c, d) prototypes, or zeros where there is no text."""
        if self.prototypes is not None:
            return self.prototypes
        return self.X.new_zeros(self.n_classes, self.X.shape[1])


class BaseAdapterClassifier(ClassifierMixin, BaseEstimator, metaclass=ABCMeta):
    """Shell around the numerical core; a subclass supplies ``_fit`` and ``_log_proba``.

    The fitted state is NumPy arrays and numbers only, so that estimators pickle, clone
    and move between GPU and CPU at no cost.
    """

    # Zero-shot classification does not.
    _learns_from_rows = True

    _parameter_constraints: dict = {
        "prototypes": [None, "array-like", object],
        "logit_scale": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "normalize": [StrOptions({"auto"}), "boolean"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    # -- fitting --------------------------------------------------------------------

    def _prepare(
        self, X, y, sample_weight=None, class_weight=None, *, known_classes=None, reset=True
    ):
        """Validate the input of fit, set ``classes_`` and ``logit_scale_``, make the Task.

        `known_classes` are classes besides those of `y`; `reset` as in validate_data.
        """
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=1, reset=reset
        )
        check_labels(y)
        weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        labels = y if known_classes is None else np.union1d(known_classes, y)
        self.classes_, prototypes = resolve_classes(self.prototypes, labels)
        codes = np.searchsorted(self.classes_, y)
        if class_weight is not None:
            present = np.unique(y)
            factors = np.ones(len(self.classes_))
            factors[np.searchsorted(self.classes_, present)] = compute_class_weight(
                class_weight, classes=present, y=y, sample_weight=weight
            )
            weight = weight * factors[codes]
        vectors = None
        if prototypes is not None:
            vectors = np.asarray(prototypes.vectors)
            self._check_width(vectors.shape[1], X.shape[1])
        if self._learns_from_rows:
            before = [] if reset else [self._seen_rows]
            self._seen_rows = np.concatenate([*before, row_digests(X)])
        self._normalize = prototypes is not None if self.normalize == "auto" else self.normalize
        if self._normalize:
            X = unit_rows(X, "X")
            if vectors is not None and self._wants_unit_prototypes():
                vectors = unit_rows(vectors, "prototypes")
        self.logit_scale_ = self._resolve_logit_scale(X, weight, prototypes)
        device = resolve_device(self.device)
        dtype = self._dtype(device, len(X) * X.shape[1] * len(self.classes_))

        def tensor(array, dtype=dtype):
            return torch.tensor(array, dtype=dtype, device=device)

        return Task(
            X=tensor(X),
            y=tensor(codes, torch.int64),
            sample_weight=tensor(weight),
            prototypes=None if vectors is None else tensor(vectors),
            logit_scale=self.logit_scale_,
            n_classes=len(self.classes_),
        )

    def _wants_unit_prototypes(self):
        """Whether prototypes are scaled to unit norm together with X."""
        return True

    def _check_width(self, n_columns, n_features):
        if n_columns != n_features:
            raise PrototypeMismatchError(
                f"prototypes must have as many columns as X has features; got {n_columns} columns "
                f"and {n_features} features. Take prototypes and features from the same model."
            )

    def _resolve_logit_scale(self, X, sample_weight, prototypes):
        """The factor from dot product to logit; a subclass says what "auto" is without text."""
        if self.logit_scale != "auto":
            return float(self.logit_scale)
        if prototypes is None:
            return self._logit_scale_without_text(X, sample_weight)
        return DEFAULT_LOGIT_SCALE if prototypes.logit_scale is None else prototypes.logit_scale

    def _logit_scale_without_text(self, X, sample_weight):
        return 1.0

    @staticmethod
    def _dtype(device, work):
        """float64 on the CPU unless the problem is large; float32 on accelerators."""
        small = device.type == "cpu" and work <= _FLOAT64_WORK
        return torch.float64 if small else torch.float32

    # -- predicting -----------------------------------------------------------------

    @abstractmethod
    def _log_proba(self, X):
        """Predictive log-probabilities (n, c) of a tensor of (normalised) rows."""

    def _check_rows(self, X):
        """Rows to predict, validated and scaled as in fit."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return unit_rows(X, "X") if self._normalize else X

    def _chunks(self, X):
        """Slices of checked rows, and these rows as tensors, by a budget of memory."""
        device = resolve_device(self.device)
        step = max(1, _BYTES_PER_CHUNK // (X.dtype.itemsize * len(self.classes_)))
        for first in range(0, len(X), step):
            where = slice(first, first + step)
            yield where, torch.tensor(X[where], device=device)

    def _predict_rows(self, X, finish):
        """Apply `finish` to the log-probabilities of X, chunk by chunk, into one array."""
        X = self._check_rows(X)
        out = np.empty((len(X), len(self.classes_)), dtype=X.dtype)
        for where, rows in self._chunks(X):
            out[where] = finish(self._log_proba(rows)).cpu().numpy()
        return out

    def predict_log_proba(self, X):
        """Logarithm of :meth:`predict_proba`, accurate for tiny probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Natural logarithm, columns in the order of ``classes_``.
        """
        return self._predict_rows(X, lambda log_proba: log_proba)

    def predict_proba(self, X):
        """Probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of ``classes_``.
        """
        return self._predict_rows(X, torch.exp)

    def decision_function(self, X):
        """Predictive log-odds of every class against the rest.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            ``log(p / (1 - p))`` with p of :meth:`predict_proba`; of the second class only
            when there are two, as in scikit-learn.
        """
        scores = self._predict_rows(X, log_odds)
        return scores[:, 1] if len(self.classes_) == 2 else scores

    def predict(self, X):
        """Most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        log_proba = self.predict_log_proba(X)
        return self.classes_[log_proba.argmax(axis=1)]


def log_odds(log_proba):
    """log p - log(1 - p) of every entry, accurate also where p rounds to 1."""
    # Below one half, 1 - p loses no digits; at most one entry of a row is above.
    rest = (-torch.expm1(log_proba.clamp(max=-torch.finfo(log_proba.dtype).tiny))).log()
    top = log_proba.argmax(dim=1, keepdim=True)
    others = log_proba.scatter(1, top, -torch.inf)
    rest.scatter_(1, top, others.logsumexp(dim=1, keepdim=True))
    return log_proba - rest
