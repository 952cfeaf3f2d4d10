"""Probabilities for other proportions of the classes than those of the labelled rows."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from skclip.adapters.base import decision_values, fit_method
from skclip.decisions.abstention import checked_labels
from skclip.decisions.wrapped import WrapsClassifier
from skclip.utils.sklearn_private import HasMethods, Interval

__all__ = ["LabelShiftClassifier"]


class LabelShiftClassifier(WrapsClassifier, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    r"""A classifier whose probabilities follow the class proportions of unlabelled rows.

    A support with as many images of every class says nothing about how frequent classes are. If
    images of a class look alike wherever they come from, and only the proportions
    :math:`\pi_c` become others, :math:`\pi'_c` (label shift), the right probabilities are

    .. math:: p'(c \mid x) \propto p(c \mid x)\, \pi'_c / \pi_c .

    :meth:`adapt` estimates :math:`\pi'` from unlabelled rows by expectation maximisation [1]_: the
    mean of p' over the rows, with `pseudo_count` rows of every class added, is the next
    :math:`\pi'`. Nothing is fitted again.

    Parameters
    ----------
    estimator : classifier with predict_proba
        Its probabilities should be calibrated: EM takes them at their word [2]_.
    pseudo_count : float, default=1.0
        Rows of every class that are taken for granted, so that a class which is absent from a few
        rows is rare, not impossible. 0 is the maximum likelihood. With 10 less harm is done where
        proportions have changed little, and less is gained where few classes are left.
    max_iter : int, default=1000
        Most iterations of EM.
    tol : float, default=1e-6
        Largest change of a proportion at which EM ends.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimator_ : classifier
        The fitted estimator.
    support_priors_ : ndarray of shape (n_classes,)
        Proportions in the labelled rows; of classes without a row the mean of the others.
    priors_ : ndarray of shape (n_classes,)
        Proportions that probabilities follow: those of the labelled rows until :meth:`adapt`.
    n_iter_ : int
        Iterations of EM; 0 before :meth:`adapt`.
    n_features_in_ : int
        Only where the estimator has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Only where the estimator has it.

    Notes
    -----
    The likelihood is concave in :math:`\pi'`, so that EM finds its maximum from any start. It costs
    one prediction of the rows and O(n c) an iteration. What has changed besides the proportions is
    mistaken for a change of these. Where they have not changed, what chance does to a few hundred
    rows is mistaken for a change, too, and the log-loss is a little larger (:doc:`/guarantees`).

    References
    ----------
    .. [1] M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the outputs of a classifier to new a
       priori probabilities", Neural Computation, 2002.
    .. [2] A. Alexandari, A. Kundaje, A. Shrikumar, "Maximum likelihood with bias-corrected
       calibration is hard-to-beat at label shift adaptation", ICML 2020.

    Examples
    --------
    >>> from skclip import BayesAdapterClassifier, LabelShiftClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, n_test_per_class=100, random_state=0)
    >>> frequent = data.y_test < 2
    >>> shifted = LabelShiftClassifier(BayesAdapterClassifier(data.prototypes)).fit(data.X, data.y)
    >>> shifted.support_priors_.tolist()
    [0.2, 0.2, 0.2, 0.2, 0.2]
    >>> bool(shifted.adapt(data.X_test[frequent]).priors_[:2].sum() > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "pseudo_count": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        pseudo_count: float = 1.0,
        max_iter: int = 1000,
        tol: float = 1e-6,
    ) -> None:
        self.estimator = estimator
        self.pseudo_count = pseudo_count
        self.max_iter = max_iter
        self.tol = tol

    @fit_method
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the estimator.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self : LabelShiftClassifier

        Raises
        ------
        ValueError
            If the estimator has no `predict_proba`.
        """
        self._check_probabilistic()
        X, y = indexable(X, y)
        y = checked_labels(y, warn=True)
        self._publish_estimator(clone(self.estimator).fit(X, y))
        counts = np.bincount(np.searchsorted(self.classes_, y), minlength=len(self.classes_))
        weight = np.where(counts > 0, counts, counts[counts > 0].mean())
        self.support_priors_ = weight / weight.sum()
        self.priors_, self.n_iter_ = self.support_priors_, 0
        return self

    def adapt(self, X: ArrayLike) -> Self:
        """Take the class proportions of unlabelled rows.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
            Rows as those that will be predicted, some hundred of them. An earlier call is
            forgotten.

        Returns
        -------
        self : LabelShiftClassifier

        Warns
        -----
        ConvergenceWarning
            If proportions still change after `max_iter` iterations.
        """
        check_is_fitted(self)
        ratio = np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)
        ratio = ratio / self.support_priors_
        n, c = ratio.shape
        priors, n_iter, change = self.support_priors_, 0, np.inf
        while change > self.tol and n_iter < self.max_iter:
            proba = ratio * priors
            proba /= proba.sum(axis=1, keepdims=True)
            before, priors = priors, (proba.sum(axis=0) + self.pseudo_count)
            priors = priors / (n + c * self.pseudo_count)
            change, n_iter = float(np.abs(priors - before).max()), n_iter + 1
        if change > self.tol:
            warnings.warn(
                f"Class proportions still changed by {change:.2g} after {self.max_iter} "
                f"iterations, more than tol={self.tol:g}. Increase max_iter, or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.priors_, self.n_iter_ = priors, n_iter
        return self

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        proba = self.estimator_.predict_proba(X)
        with np.errstate(divide="ignore"):
            if self.n_iter_ == 0:
                return np.log(proba)
            log_proba = np.log(np.asarray(proba, dtype=np.float64))
            return log_softmax(log_proba + np.log(self.priors_ / self.support_priors_), axis=1)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of every class at the proportions ``priors_``.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Before :meth:`adapt` those of the estimator.
        """
        check_is_fitted(self)
        if self.n_iter_ == 0:
            return self.estimator_.predict_proba(X)
        return np.exp(self.predict_log_proba(X))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-probability of every class; log-odds of the second where there are two.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        return decision_values(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class.

        Parameters
        ----------
        X : array-like or list of n_samples inputs

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_proba(X)
        return self.classes_[np.argmax(proba, axis=1)]
