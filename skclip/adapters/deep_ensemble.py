"""Deep ensembles: one classifier, trained from several seeds."""

import math
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclip._core.posterior.draws import decompose
from skclip.adapters.base import decision_values, fit_method
from skclip.adapters.input_checks import take_features_seen
from skclip.adapters.uncertainty import PredictiveUncertainty
from skclip.utils.callbacks import CallbackSupportMixin
from skclip.utils.documentation import DocumentationLinkMixin
from skclip.utils.sklearn_private import HasMethods, Interval

__all__ = ["DeepEnsembleClassifier"]


class DeepEnsembleClassifier(
    DocumentationLinkMixin,
    CallbackSupportMixin,
    MetaEstimatorMixin,
    ClassifierMixin,
    BaseEstimator,
):
    r"""Deep ensemble: the mean of one classifier's probabilities over random seeds.

    Members (Lakshminarayanan et al. [1]_) see the same data and differ in what their random
    state decides, such as a random start and the order of the rows:

    .. math::
        p(y \mid x) = \frac{1}{M} \sum_{m=1}^{M} p_m(y \mid x).

    Scikit-learn's ``VotingClassifier(voting="soft")`` over members with different seeds gives
    the same probabilities, but trains them on labels 0 to c - 1, so that prototypes which know
    the names of their classes do not fit. Here labels stay what they are, and the members'
    disagreement is available as a measure of uncertainty.

    Parameters
    ----------
    estimator : classifier
        Has a predict_proba and at least one parameter `random_state`, nested ones included.
    n_members : int, default=5
        Number of members M, at least 1.
    random_state : int, RandomState or None, default=None
        Seeds of the members; those of `estimator` are replaced.
    n_jobs : int or None, default=None
        Members that are fitted at the same time, by joblib.

    Attributes
    ----------
    estimators_ : list of classifiers
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Only when X has string column names.

    Notes
    -----
    Members that reach the optimum of a convex problem are equal. Members of ZS-LP, which all start
    at the text, differ by the order of the rows only, and not at all up to `batch_size` rows.
    ``LinearProbeClassifier(..., init="random")`` makes them differ most.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive
       uncertainty estimation using deep ensembles", NeurIPS 2017.

    Examples
    --------
    >>> from skclip import DeepEnsembleClassifier, LinearProbeClassifier
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 5, random_state=0)
    >>> probe = LinearProbeClassifier(data.prototypes, init="prototypes", max_iter=20)
    >>> ensemble = DeepEnsembleClassifier(probe, n_members=3, random_state=0)
    >>> ensemble.fit(data.X, data.y).sample_proba(data.X_test).shape
    (3, 250, 5)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: Any,
        n_members: int = 5,
        *,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_members = n_members
        self.random_state = random_state
        self.n_jobs = n_jobs

    @fit_method
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Image features.
        y : array-like of shape (n_samples,)
            Labels, strings or integers.
        sample_weight : array-like of shape (n_samples,), default=None
            Passed to the members where it is given.
        **fit_params
            Other arguments of the estimator's fit, such as `groups`.

        Returns
        -------
        self : DeepEnsembleClassifier

        Raises
        ------
        ValueError
            If `estimator` has no parameter `random_state`.
        """
        if sample_weight is not None:
            fit_params["sample_weight"] = sample_weight
        rng = check_random_state(self.random_state)
        members = [self._member(rng) for _ in range(self.n_members)]
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit)(member, X, y, fit_params) for member in members
        )
        self.classes_ = self.estimators_[0].classes_
        take_features_seen(self, self.estimators_[0])
        return self

    def _member(self, rng: np.random.RandomState) -> Any:
        """A clone with seeds of its own."""
        member = clone(self.estimator)
        names = sorted(
            name for name in member.get_params() if name.split("__")[-1] == "random_state"
        )
        if not names:
            raise ValueError(
                "Members of an ensemble differ by their random_state; got "
                f"{type(self.estimator).__name__}, which has none. Pass an estimator that does."
            )
        return member.set_params(**{name: int(rng.randint(2**31 - 1)) for name in names})

    def sample_proba(self, X: ArrayLike) -> np.ndarray:
        """Class probabilities of every member.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_members, n_samples, n_classes)
        """
        check_is_fitted(self)
        return np.stack([member.predict_proba(X) for member in self.estimators_])

    def predict_uncertainty(self, X: ArrayLike) -> PredictiveUncertainty:
        """Uncertainty of every prediction, split by its cause.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        PredictiveUncertainty
            Named tuple of four arrays of shape (n_samples,): confidence, entropy, aleatoric (the
            members' average entropy) and epistemic (their disagreement), in nats.
        """
        parts = decompose(torch.as_tensor(proba).log() for proba in self.sample_proba(X))
        return PredictiveUncertainty(*(part.numpy() for part in parts))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Mean probability of every class over the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of ``classes_``.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of :meth:`predict_proba`, accurate for tiny probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        members = [torch.as_tensor(member.predict_log_proba(X)) for member in self.estimators_]
        return (torch.stack(members).logsumexp(dim=0) - math.log(len(members))).numpy()

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-probability of every class; log-odds of the second where there are two.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Its softmax is :meth:`predict_proba`.
        """
        return decision_values(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class of the mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        log_proba = self.predict_log_proba(X)
        return self.classes_[log_proba.argmax(axis=1)]


def _fit(member: Any, X: ArrayLike, y: ArrayLike, fit_params: dict[str, Any]) -> Any:
    return member.fit(X, y, **fit_params)
