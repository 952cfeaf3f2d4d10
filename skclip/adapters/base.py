"""What every adapter shares: checking its input, publishing a model, predicting from it.

``fit`` checks its input (:meth:`BaseAdapterClassifier._check`), which makes one
:class:`~skclip._core.problem.Problem`; calls the core once; and publishes the
:class:`~skclip._core.model.FittedModel` that comes back. Everything after a fit asks that
model, and no constructor parameter is read again.
"""

import functools
import warnings
from abc import ABCMeta
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted

from skclip._core.linear.linear_problem import LinearProblem
from skclip._core.linear.objective import DEFAULT_TOL, solve_map
from skclip._core.model import FittedModel, LinearModel
from skclip._core.problem import Problem
from skclip._core.solve.status import Status
from skclip.adapters.classes import are_labelled, resolve_classes
from skclip.adapters.input_checks import checked_features, checked_weight
from skclip.adapters.text_order import warn_if_shifted, warn_if_texts_are_misplaced
from skclip.exceptions import PrototypeMismatchError
from skclip.utils.arrays import check_magnitude, check_total
from skclip.utils.callbacks import CallbackSupportMixin, as_task
from skclip.utils.device import fit_device, prediction_dtype, resolve_device
from skclip.utils.documentation import DocumentationLinkMixin
from skclip.utils.labels import as_labels, check_one_type, check_spelling
from skclip.utils.messages import listing
from skclip.utils.rows import row_digests, unit_rows
from skclip.utils.sklearn_private import Interval, StrOptions, fit_context
from skclip.utils.threads import deserve, few_threads

__all__ = [
    "BaseAdapterClassifier",
    "FittedModel",
    "Interval",
    "LinearAdapterClassifier",
    "LinearModel",
    "LinearProblem",
    "Problem",
    "StrOptions",
    "decision_values",
    "fit_method",
    "of_two",
    "solve_map",
    "warn_unless_converged",
]

# CLIP's own cap on the learned scale, and the value that OpenAI's weights have.
DEFAULT_LOGIT_SCALE = 100.0
# Rows times features times classes up to which the CPU works in float64.
_FLOAT64_WORK = 2e8
_FLOAT64_WORK_OF_SINGLE = 2e6
# Sum of the sample weights beyond which rounding hides the prior; and that of one over it.
_MOST_WEIGHT = 1e12
# Factors from dot product to logit whose square, times rows, is a number in single precision.
_LOGIT_SCALES = (1e-6, 1e6)

P = ParamSpec("P")
R = TypeVar("R")


def fit_method(method: Callable[P, R]) -> Callable[P, R]:
    """A method that fits: validates parameters, and finishes or leaves the estimator as it was.

    That holds for errors, warnings turned into errors, and Ctrl-C. ``fit`` starts without
    what an earlier fit has left; ``partial_fit`` goes on from it. A ``fit`` is a task of
    scikit-learn's callbacks.
    """
    told = as_task(method) if method.__name__ == "fit" else method
    validated = fit_context(prefer_skip_nested_validation=False)(told)

    @functools.wraps(method)
    def whole(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            if method.__name__ == "fit":
                forget_fit(self)
            with few_threads():
                return validated(self, *args, **kwargs)
        except BaseException:
            # One assignment, which no signal can divide.
            self.__dict__ = before
            raise

    return whole


def forget_fit(estimator: BaseEstimator) -> None:
    """Remove everything that a fit has set."""
    for name in [name for name in vars(estimator) if name.endswith("_") or name == "_model"]:
        delattr(estimator, name)


class BaseAdapterClassifier(
    DocumentationLinkMixin,
    CallbackSupportMixin,
    ClassifierMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Shell around the numerical core; a subclass supplies ``fit``.

    Its fit calls :meth:`_check`, a function that returns a FittedModel, and
    :meth:`_publish`. Fitted attributes are NumPy arrays and numbers; the model in
    ``_model`` lies on the CPU and pickles as NumPy arrays, so that estimators move between
    GPU and CPU at no cost.
    """

    # Zero-shot classification does not.
    _learns_from_rows = True

    _parameter_constraints: dict = {
        "prototypes": [None, "array-like", object],
        "logit_scale": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "normalize": [StrOptions({"auto"}), "boolean"],
        "device": [str, torch.device],
    }

    # -- fitting --------------------------------------------------------------------

    def _check(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        class_weight: dict | str | None = None,
        *,
        known_classes: ArrayLike | None = None,
        first: bool = True,
    ) -> Problem:
        """Validate the input of fit and make the problem.

        Sets ``classes_``, ``logit_scale_``, ``normalize_``, ``device_``, ``text_prototypes_``
        and ``row_digests_``. `known_classes` are classes besides those of `y`; `first` is
        false where an earlier fit goes on.
        """
        X, y = checked_features(self, X, y, reset=first)
        weight = checked_weight(sample_weight, X)
        if known_classes is not None:
            check_one_type(y, known_classes, "classes and y")
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
            if (weight < 0).any():
                raise ValueError(
                    f"class_weight must not be negative; got {self.class_weight!r}. Give a class "
                    "that must not count 0."
                )
        check_total(weight, "sample_weight, times class_weight,", _MOST_WEIGHT)
        text = None
        if prototypes is not None:
            text = np.asarray(prototypes.vectors)
            self._check_width(text.shape[1], X.shape[1])
            check = (
                warn_if_shifted if are_labelled(self.prototypes) else warn_if_texts_are_misplaced
            )
            check(X, codes, weight, text, self.classes_)
        digests = row_digests(X) if self._learns_from_rows else None
        if first:
            with_text = text is not None
            self.normalize_ = with_text if self.normalize == "auto" else bool(self.normalize)
        if self.normalize_:
            X = unit_rows(X, "X")
        else:
            check_magnitude(X, "X")
        if text is not None:
            if self.normalize_ and self._wants_unit_prototypes():
                text = unit_rows(text, "prototypes")
            else:
                check_magnitude(text, "prototypes")
        if first:
            self.logit_scale_ = float(self._resolve_logit_scale(X, weight, prototypes))
        self.text_prototypes_ = text
        if digests is not None:
            before = [] if first else [self.row_digests_]
            self.row_digests_ = np.concatenate([*before, digests])
        self.device_ = str(self.device)
        device = fit_device(self.device)
        work = len(X) * X.shape[1] * len(self.classes_)
        deserve(work)
        dtype = self._dtype(device, work, X.dtype == np.float32)

        def tensor(array: np.ndarray, dtype: torch.dtype = dtype) -> torch.Tensor:
            return torch.tensor(array, dtype=dtype, device=device)

        mean = np.zeros((len(self.classes_), X.shape[1])) if text is None else text
        return Problem(
            X=tensor(X),
            y=tensor(codes, torch.int64),
            sample_weight=tensor(weight),
            prior_mean=tensor(mean),
            logit_scale=self.logit_scale_,
            has_text=text is not None,
        )

    def _publish(self, model: FittedModel, **fitted: Any) -> Self:
        """Store the model and the fitted attributes; tensors become NumPy arrays."""
        _check_finite(model)
        for name, value in fitted.items():
            array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
            setattr(self, name, array)
        self._model = model.on_cpu()
        return self

    @property
    def model_(self) -> Any:
        """The :class:`FittedModel` that predicts, on the CPU: what export and outlier scores ask.

        Rows that are given to it are those of :meth:`check_rows`.
        """
        if not hasattr(self, "_model"):
            raise AttributeError(f"This {type(self).__name__} is not fitted yet. Call fit first.")
        return self._model

    def _wants_unit_prototypes(self) -> bool:
        """Whether prototypes are scaled to unit norm together with X."""
        return True

    def _check_has_text(self) -> None:
        if self.prototypes is None:
            raise ValueError(
                f"{type(self).__name__} needs text prototypes; got prototypes=None. Pass an array, "
                "Prototypes or ClassPrompts."
            )

    def _check_width(self, n_columns: int, n_features: int) -> None:
        if n_columns != n_features:
            raise PrototypeMismatchError(
                f"prototypes must have as many columns as X has features; got {n_columns} columns "
                f"and {n_features} features. Take prototypes and features from the same model."
            )

    def _resolve_logit_scale(
        self, X: np.ndarray, sample_weight: np.ndarray, prototypes: Any
    ) -> float:
        """The factor from dot product to logit; a subclass says what "auto" is without text."""
        if self.logit_scale != "auto":
            scale = float(self.logit_scale)
        elif prototypes is None:
            scale = float(self._logit_scale_without_text(X, sample_weight))
        elif prototypes.logit_scale is None:
            return DEFAULT_LOGIT_SCALE
        else:
            scale = prototypes.logit_scale
        low, high = _LOGIT_SCALES
        if not low <= scale <= high:
            raise ValueError(
                f"logit_scale must be between {low:g} and {high:g}; got {scale:g}. That of CLIP "
                "models is about 100, the exponential of their parameter; without text 'auto' is "
                "one over the size of the features, which StandardScaler makes 1."
            )
        return scale

    def _logit_scale_without_text(self, X: np.ndarray, sample_weight: np.ndarray) -> float:
        return 1.0

    @staticmethod
    def _dtype(device: torch.device, work: float, single: bool) -> torch.dtype:
        """float64 on the CPU unless the problem is large; float32 on accelerators.

        Rows in `single` precision are worth float64 only where it costs nothing.
        """
        most = _FLOAT64_WORK_OF_SINGLE if single else _FLOAT64_WORK
        return torch.float64 if device.type == "cpu" and work <= most else torch.float32

    # -- predicting -----------------------------------------------------------------

    def check_rows(self, X: ArrayLike) -> np.ndarray:
        """Rows to predict, validated, and scaled to unit norm if those of fit were.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float32 if X is, else float64.
        """
        check_is_fitted(self)
        X = checked_features(self, X, reset=False)
        return unit_rows(X, "X") if self.normalize_ else X

    def _in_chunks(self, X: np.ndarray) -> Iterator[tuple[slice, torch.Tensor, FittedModel]]:
        """Slices of checked rows, these rows as tensors, and the model where they are."""
        device = resolve_device(self.device_)
        dtype = prediction_dtype(device, torch.from_numpy(X[:0]).dtype)
        model = self._model.to(torch.empty(0, dtype=dtype, device=device))
        row = X.dtype.itemsize * model.numbers_per_row(X.shape[1])
        step = max(1, model.bytes_per_chunk // row)
        for first in range(0, len(X), step):
            where = slice(first, first + step)
            yield where, torch.tensor(X[where], dtype=dtype, device=device), model

    def _predict_rows(
        self, X: ArrayLike, ask: Callable[[FittedModel, torch.Tensor], torch.Tensor]
    ) -> np.ndarray:
        """(n, c) what the model says of the rows, chunk by chunk."""
        X = self.check_rows(X)
        out = np.empty((len(X), len(self.classes_)), dtype=X.dtype)
        with few_threads():
            deserve(out.size * X.shape[1])
            doubtful = False
            for where, rows, model in self._in_chunks(X):
                values = ask(model, rows).cpu().numpy()
                doubtful |= bool(np.isnan(values.sum()))
                out[where] = values
        bad = np.flatnonzero(np.isnan(out).any(axis=1)) if doubtful else ()
        if len(bad):
            raise ValueError(
                f"X must lead to finite logits; got rows that do not: {listing(bad)}, with entries "
                f"of up to {np.abs(X[bad]).max():.3g}. Scale X as the rows of fit."
            )
        return out

    def logits(self, X: ArrayLike) -> np.ndarray:
        """Logits of every class by the one best set of weights.

        Their softmax is :meth:`predict_proba` unless predictions average over a posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._predict_rows(X, lambda model, rows: model.logits(rows))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of :meth:`predict_proba`, accurate for tiny probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Natural logarithm, columns in the order of ``classes_``.
        """
        return self._predict_rows(X, lambda model, rows: model.log_proba(rows))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of ``classes_``.
        """
        # In torch, while the numbers are in the processor's cache.
        return self._predict_rows(X, lambda model, rows: model.log_proba(rows).exp_())

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-probability of every class; log-odds of the second where there are two.

        Its softmax is :meth:`predict_proba`, as that of LogisticRegression, so that
        scikit-learn's temperature scaling is exact.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        return decision_values(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
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

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy of :meth:`predict`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            True labels. Those of classes that the classifier does not know count as wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If labels differ from ``classes_`` in type or only in spelling ("Cat" for "cat"), so
            that all predictions would be wrong.
        """
        check_is_fitted(self)
        check_spelling(as_labels(y), self.classes_, "y")
        return float(super().score(X, y, sample_weight))


class LinearAdapterClassifier(BaseAdapterClassifier):
    """An adapter whose model has W, b, logit_scale and temperature, as LinearModel has.

    ``X @ coef_.T + intercept_``, X as normalised, are its logits.
    """

    @property
    def prototypes_(self) -> np.ndarray:
        """Adapted prototypes W (n_classes, n_features), in the units of the prototypes given."""
        return self.model_.W.numpy()

    @property
    def coef_(self) -> np.ndarray:
        """``logit_scale_ / temperature_ * prototypes_``; of two classes their difference (1, d)."""
        model = self.model_
        return of_two(model.W.numpy() * (model.logit_scale / model.temperature))

    @property
    def intercept_(self) -> np.ndarray:
        """Biases over the temperature; of two classes their difference (1,)."""
        model = self.model_
        return of_two(model.b.numpy() / model.temperature)

    @property
    def temperature_(self) -> float:
        """What logits were divided by."""
        return self.model_.temperature


def _check_finite(model: FittedModel) -> None:
    for name, value in model.arrays().items():
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            raise ValueError(
                f"A fit must end in finite numbers; some in {name!r} are not. Scale X, for example "
                "by StandardScaler, and pass weights and parameters of moderate size."
            )


def of_two(values: np.ndarray) -> np.ndarray:
    """Numbers per class as scikit-learn wants them: of two classes their difference."""
    return values[1:] - values[:1] if len(values) == 2 else values


def decision_values(log_proba: np.ndarray) -> np.ndarray:
    """Log-probabilities (n, c) as scikit-learn wants scores: (n,) log-odds where c is two."""
    return log_proba[:, 1] - log_proba[:, 0] if log_proba.shape[1] == 2 else log_proba


def warn_unless_converged(solution: Any, tol: float | None) -> None:
    """ConvergenceWarning from the solver's status; a tolerance of None is the solver's own."""
    tol = DEFAULT_TOL if tol is None else tol
    # Not a number is no certificate.
    exhausted = solution.status is Status.PRECISION and not solution.gradient_norm <= 1e3 * tol
    if solution.status is Status.MAX_ITER or exhausted:
        warnings.warn(
            f"The solver stopped before its certificate reached tol={tol:g}: "
            f"{solution.status.value} (gradient norm {solution.gradient_norm:.3g} after "
            f"{solution.n_iter} iterations). Increase max_iter, or tol.",
            ConvergenceWarning,
            stacklevel=3,
        )
