"""What a posterior is for: draws of probabilities, parts of uncertainty, what to label next."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skclip._core.linear.objective import logits
from skclip._core.posterior.draws import average, decompose, logit_draws, standard_normal
from skclip.utils.random_state import integer_seed

__all__ = ["DrawsMixin", "PredictiveUncertainty", "UncertaintyMixin"]

_KINDS = ("bald", "entropy", "margin")


class PredictiveUncertainty(NamedTuple):
    """Uncertainty of every row's prediction; arrays of shape (n_samples,).

    Parameters
    ----------
    confidence : ndarray
        Largest class probability.
    entropy : ndarray
        Entropy of the averaged probabilities, in nats: aleatoric plus epistemic.
    aleatoric : ndarray
        Average entropy of the probabilities of a draw: what more labels cannot remove.
    epistemic : ndarray
        Mutual information of label and weights, not negative: what more labels can.
    """

    confidence: np.ndarray
    entropy: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


class DrawsMixin:
    """Uncertainty from draws of the logits.

    A subclass supplies ``_n_draws``, ``_sampling_seed``, ``_has_spread()``,
    ``_mean_logits(X)`` for when there is none, and ``_logit_draws(X, n_samples, seed)``.
    """

    def predict_uncertainty(self, X):
        """Uncertainty of every prediction, split by its cause.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        PredictiveUncertainty
            Named tuple of four arrays of shape (n_samples,): confidence, entropy, aleatoric
            and epistemic, the entropies in nats. Of averaged probabilities, also where
            predictions average something else. Without a spread (``posterior="map"``, a
            posterior temperature or a dropout of 0) the epistemic part is zero.

        Examples
        --------
        >>> from skclip import BayesAdapterClassifier
        >>> from skclip.datasets import make_clip_features
        >>> data = make_clip_features(8, 5, random_state=0)
        >>> classifier = BayesAdapterClassifier(
        ...     data.prototypes, posterior="laplace", posterior_temperature=0.1
        ... ).fit(data.X, data.y)
        >>> known = classifier.predict_uncertainty(data.X_test)
        >>> strange = classifier.predict_uncertainty(-data.X_test)
        >>> bool(strange.epistemic.mean() > 2 * known.epistemic.mean())
        True
        """
        parts = [
            decompose(self._logit_draws(rows, self._n_draws, self._sampling_seed))
            for _, rows in self._chunks(self._check_rows(X))
        ]
        columns = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return PredictiveUncertainty(*columns)

    def sample_proba(self, X, n_samples=None, random_state=None):
        """Class probabilities under draws from the posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n_samples : int, default=None
            Number of draws s; None is as many as predictions average.
        random_state : int, RandomState or None, default=None
            None takes the draws of :meth:`predict_proba`.

        Returns
        -------
        ndarray of shape (s, n_samples, n_classes)
            The first axis is that of netcal's Bayesian metrics. Without a spread all draws
            are equal. At each row the draws are those of the posterior; every row uses the
            same random numbers. Where logits are drawn, not weights, draws at two rows are
            not jointly a sample.
        """
        s = self._n_draws if n_samples is None else n_samples
        if not s >= 1:
            raise ValueError(f"n_samples must be at least 1; got {n_samples!r}.")
        X = self._check_rows(X)
        seed = self._sampling_seed if random_state is None else integer_seed(random_state)
        out = np.empty((s, len(X), len(self.classes_)), X.dtype)
        for where, rows in self._chunks(X):
            if not self._has_spread():
                out[:, where] = torch.softmax(self._mean_logits(rows), dim=1).cpu().numpy()
                continue
            for index, scores in enumerate(self._logit_draws(rows, s, seed)):
                out[index, where] = torch.softmax(scores, dim=1).cpu().numpy()
        return out


class UncertaintyMixin(DrawsMixin):
    """Prediction by averaging over posterior draws of the logits."""

    @property
    def _n_draws(self):
        return self.n_posterior_samples

    def acquisition(self, X, kind="bald"):
        """How much a label of each row is worth: larger means label sooner.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Unlabelled pool.
        kind : {"bald", "entropy", "margin"}, default="bald"
            "bald" is the mutual information of label and weights, which ignores rows that
            are ambiguous whatever the weights. Where predictions have no spread
            (``posterior="map"``, or a posterior temperature of 0) it is the leading term
            :math:`\\tfrac12 \\sum_c v_c p_c (1 - p_c)` of a small spread v, which ranks rows
            alike. "entropy" is that of the prediction, "margin" one minus
            the gap between the two largest probabilities.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If `kind` is unknown.

        References
        ----------
        N. Houlsby, F. Huszar, Z. Ghahramani, M. Lengyel, "Bayesian active learning for
        classification and preference learning", arXiv 1112.5745, 2011.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}; got {kind!r}.")
        if kind == "margin":
            proba = np.sort(self.predict_proba(X), axis=1)
            runner_up = proba[:, -2] if proba.shape[1] > 1 else 0.0
            return 1.0 - (proba[:, -1] - runner_up)
        if kind == "entropy":
            return self.predict_uncertainty(X).entropy
        check_is_fitted(self)
        if self._has_spread():
            return self.predict_uncertainty(X).epistemic
        chunks = self._chunks(self._check_rows(X))
        return np.concatenate([self._small_spread_bald(rows) for _, rows in chunks])

    def _small_spread_bald(self, rows):
        P = torch.softmax(self._mean_logits(rows), dim=1)
        std = self._linear_std(rows, 1.0) / self.temperature_
        return 0.5 * (std.square() * P * (1 - P)).sum(dim=1).cpu().numpy()

    # -- draws ----------------------------------------------------------------------

    def _log_proba(self, X):
        draws = self._logit_draws(X, self._n_draws, self._sampling_seed)
        return average(draws, self.average)

    def _has_spread(self):
        return self.form == "cosine" or self.posterior_temperature_ > 0

    def _logit_draws(self, X, n_samples, seed):
        """Iterator over draws (n, c) of the logits; a single one where there is no spread."""
        if self.form == "cosine":
            return self._cosine_draws(X, n_samples, seed)
        mean = self._mean_logits(X)
        if not self._has_spread():
            return iter([mean])
        std = self._linear_std(X, self.posterior_temperature_) / self.temperature_
        return logit_draws(mean, std, standard_normal(n_samples, len(self.classes_), seed))

    def _mean_logits(self, X):
        W = torch.tensor(self.coef_ / self.temperature_, dtype=X.dtype, device=X.device)
        b = torch.tensor(self.intercept_ / self.temperature_, dtype=X.dtype, device=X.device)
        return logits(X, W, b, self.logit_scale_)
