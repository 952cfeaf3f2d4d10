"""What a posterior is for: draws of probabilities, parts of uncertainty, what to label next."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import entr

from skclip._core.posterior.draws import decompose
from skclip.utils.random_state import integer_seed

__all__ = ["PredictiveUncertainty", "UncertaintyMixin"]

_KINDS = ("bald", "entropy", "margin")


class PredictiveUncertainty(NamedTuple):
    """Uncertainty of every row's prediction; arrays of shape (n_samples,).

    Parameters
    ----------
    confidence : ndarray
        Largest class probability, as predicted.
    entropy : ndarray
        Entropy of the probabilities averaged over draws, in nats: aleatoric plus epistemic.
    aleatoric : ndarray
        Average entropy of the probabilities of a draw: what more labels cannot remove.
    epistemic : ndarray
        Mutual information of label and weights, not negative: what more labels can.
    """

    confidence: np.ndarray
    entropy: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


class UncertaintyMixin:
    """Uncertainty from the draws of an adapter's model, next to BaseAdapterClassifier."""

    def predict_uncertainty(self, X: ArrayLike) -> PredictiveUncertainty:
        """Uncertainty of every prediction, split by its cause.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        PredictiveUncertainty
            Named tuple of four arrays of shape (n_samples,): confidence, entropy, aleatoric
            and epistemic, the entropies in nats.

        Notes
        -----
        Entropies are of averaged probabilities, also where predictions average something else.
        ``BayesAdapterClassifier`` with ``posterior="map"``, the default, or a posterior
        temperature of 0 predicts at one set of weights, and averages only here: over 256 draws
        from Laplace's covariance times 0.03 (with "map" its diagonal form), so that entropies are
        not those of ``predict_proba``. The user guide has a table of what this is good for. Of a
        network with a dropout of 0, and a Laplace probe without spread, the epistemic part is 0.

        Examples
        --------
        >>> from skclip import BayesAdapterClassifier, Laplace
        >>> from skclip.datasets import make_clip_features
        >>> data = make_clip_features(8, 5, random_state=0)
        >>> classifier = BayesAdapterClassifier(
        ...     data.prototypes, prior_precision=30.0, posterior=Laplace(temperature=0.1)
        ... ).fit(data.X, data.y)
        >>> known = classifier.predict_uncertainty(data.X_test)
        >>> strange = classifier.predict_uncertainty(-data.X_test)
        >>> bool(strange.epistemic.mean() > 2 * known.epistemic.mean())
        True
        """
        confidence = self.predict_proba(X).max(axis=1)
        return self._over_draws(X)._replace(confidence=confidence)

    def _over_draws(self, X: ArrayLike) -> PredictiveUncertainty:
        """All of it from the draws, the confidence, too."""
        parts = [
            decompose(model.uncertainty_draws(rows))
            for _, rows, model in self._in_chunks(self.check_rows(X))
        ]
        columns = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return PredictiveUncertainty(*columns)

    def sample_proba(
        self,
        X: ArrayLike,
        n_samples: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
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
        X = self.check_rows(X)
        s = self._model.n_draws if n_samples is None else n_samples
        if not s >= 1:
            raise ValueError(f"n_samples must be at least 1; got {n_samples!r}.")
        seed = None if random_state is None else integer_seed(random_state)
        out = np.empty((s, len(X), len(self.classes_)), X.dtype)
        for where, rows, model in self._in_chunks(X):
            if not model.has_spread:
                out[:, where] = torch.softmax(model.logits(rows), dim=1).cpu().numpy()
                continue
            for index, scores in enumerate(model.draws(rows, s, seed)):
                out[index, where] = torch.softmax(scores, dim=1).cpu().numpy()
        return out

    def acquisition(self, X: ArrayLike, kind: str = "bald") -> np.ndarray:
        """How much a label of each row is worth: larger means label sooner.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Unlabelled pool.
        kind : {"bald", "entropy", "margin"}, default="bald"
            "bald" is the mutual information of label and weights, which ignores rows that
            are ambiguous whatever the weights: the epistemic part of
            :meth:`predict_uncertainty`. "entropy" is that of the prediction, "margin" one minus
            the gap between its two largest probabilities.

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
            return entr(self.predict_proba(X)).sum(axis=1)
        return self._over_draws(X).epistemic
