"""Learning from more images: the posterior becomes the prior."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skclip._core.posterior.block import BlockGaussian, bias_precision
from skclip._core.posterior.variational import GaussianObjective, Observations, maximize_bound
from skclip._core.solve import newton
from skclip.adapters.bayes_linear import class_means, laplace, max_rank
from skclip.adapters.linear import warn_unless_converged
from skclip.utils.sklearn_private import fit_context

__all__ = ["PartialFitMixin"]


@dataclass(frozen=True)
class _Batch:
    """Rows of one call; see Observations for `counted`; pull (n, c) is label minus target."""

    X: torch.Tensor
    y: torch.Tensor
    sample_weight: torch.Tensor
    counted: torch.Tensor | None = None
    pull: torch.Tensor | None = None

    @classmethod
    def of(cls, task):
        return cls(task.X, task.y, task.sample_weight)

    def with_old_means(self, means, position, W, b, task):
        """The batch and, as rows, the mean of each class so far, for the sake of new classes.

        The likelihood of an old row is now its old one, which the Gaussian holds, times the
        probability that it is of no new class, which nothing holds: without it a batch of
        new classes alone would claim all rows. Each class mean stands for its rows. Its
        target is the model's own prediction, and only classes without rows so far take
        its curvature, so that nothing is counted twice.
        """
        device = self.X.device
        seen = means["total"] > 0
        X = torch.tensor(means["mean"][seen]).to(self.X)
        weight = torch.tensor(means["total"][seen]).to(self.sample_weight)
        y = torch.tensor(position[seen], dtype=torch.int64, device=device)
        unknown = torch.ones(task.n_classes, dtype=torch.bool, device=device)
        unknown[torch.tensor(position, device=device)] = False
        scores = torch.addmm(b, X, W.T, alpha=task.logit_scale)
        pull = -torch.softmax(scores.masked_fill(unknown, -torch.inf), dim=1)
        pull[torch.arange(len(y), device=device), y] += 1.0
        fresh = X.new_ones(task.n_classes)
        fresh[y] = 0.0
        rows = torch.ones_like(self.X[:, :1])
        return _Batch(
            torch.cat([self.X, X]),
            torch.cat([self.y, y]),
            torch.cat([self.sample_weight, weight]),
            torch.cat([rows * torch.ones_like(fresh), fresh.expand(len(X), -1)]),
            torch.cat([rows * torch.zeros_like(fresh), weight[:, None] * pull]),
        )


class PartialFitMixin:
    """``partial_fit`` of the linear form."""

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        r"""Learn from more images: the Gaussian posterior becomes the prior.

        The first call is :meth:`fit`, and also keeps the precision of the weights, in the
        form of `covariance`. (After a call of :meth:`fit` with ``posterior="map"``, of which
        only the diagonal is kept, learning goes on from that.) Every further call maximises
        the likelihood of the new rows times that Gaussian, and adds the curvature of the
        new rows. No row is kept, only the mean of each class, which tells new classes where
        the old ones are. What is exact for Gaussian likelihoods is close for this one:
        coupling between classes and the change of curvature since are lost, so that
        fitting all rows at once is better where they still exist. Prior precision,
        temperatures, metric and logit scale stay those of the first call, which should
        therefore hold rows of most classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New rows only.
        y : array-like of shape (n_samples,)
            Labels. A class may be new if it has a prototype, or if there is no text:
            give `prototypes` one more row (array, in sorted order of all labels so far), one
            more label (Prototypes), or one more name (ClassPrompts) before the call.
        classes : array-like, default=None
            Labels besides those of `y` that the model should know.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        self : BayesAdapterClassifier

        Raises
        ------
        ValueError
            If `form` is "cosine", or `class_weight` is "balanced".
        """
        self._check_combination()
        self._check_can_learn_in_batches()
        known = None if classes is None else np.unique(classes)
        if not hasattr(self, "classes_"):
            self._forget()
            task = self._prepare(X, y, sample_weight, self.class_weight, known_classes=known)
            return self._fit_linear(task, to_be_continued=True)
        check_is_fitted(self)
        before = dict(vars(self))
        known = self.classes_ if known is None else np.union1d(self.classes_, known)
        try:
            task = self._prepare(
                X, y, sample_weight, self.class_weight, known_classes=known, reset=False
            )
        except Exception:
            # A refused batch leaves the model as it was.
            vars(self).update(before)
            raise
        self.logit_scale_ = before["logit_scale_"]
        return self._update(replace(task, logit_scale=self.logit_scale_), before["classes_"])

    def _check_can_learn_in_batches(self):
        if self.form != "linear":
            raise ValueError(
                "partial_fit needs form='linear', whose posterior is Gaussian; got form='cosine'. "
                "Pass form='linear', or fit all rows at once."
            )
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once; got a call of partial_fit. Pass "
                "a dict, or sample_weight."
            )

    def _update(self, task, old_classes):
        frame, prior = self._load_posterior(task.X.dtype, task.X.device)
        position = np.searchsorted(self.classes_, old_classes)
        prior = self._with_new_classes(prior, position, task)
        W, b = self._means_with_new_classes(position, task)
        batch = _Batch.of(task)
        if self._has_new_classes(position, task):
            batch = batch.with_old_means(self._class_means, position, W, b, task)
        frame, old = frame.extended(batch.X), frame
        prior = prior.extended(frame.basis.shape[1] - old.basis.shape[1])
        phi, _ = frame.coordinates(batch.X)
        data = Observations(
            phi=phi,
            outside_square=torch.zeros_like(batch.sample_weight),
            base=torch.addmm(b, batch.X, W.T, alpha=task.logit_scale),
            y=batch.y,
            sample_weight=batch.sample_weight,
            logit_scale=task.logit_scale,
            counted=batch.counted,
            linear=None if batch.pull is None else task.logit_scale * batch.pull.T @ phi,
        )
        point, posterior = self._step(data, prior)
        shift, more = frame.weights(point, task.logit_scale)
        b = b + more
        self._store_linear(W + shift, b - b.mean(), self.temperature_)
        self._store_posterior(frame, posterior, float(b.mean()))
        self._class_means = class_means(task, self._class_means, position)
        return self

    def _step(self, data, prior):
        """New means relative to the old, and the new precisions."""
        max_iter = self.max_iter or 100
        if self.posterior == "variational" and self.posterior_temperature_ > 0:
            solution = maximize_bound(
                data,
                prior,
                self._covariance(),
                beta=self.posterior_temperature_,
                seed=self._sampling_seed,
                tol=self.tol,
                max_iter=max_iter,
                max_rank=max_rank(prior),
            )
            warn_unless_converged(solution, self.tol)
            self.elbo_ = solution.bound
            point, posterior = solution.point, solution.posterior
            self.n_iter_, self.gradient_norm_ = solution.n_iter, solution.gradient_norm
            return point, posterior
        objective = GaussianObjective(data, prior)
        start = torch.zeros_like(prior.diagonal)
        minimum = newton.minimize(objective, start, tol=self.tol, max_iter=max_iter)
        self.n_iter_, self.gradient_norm_ = max(1, minimum.n_iter), minimum.certificate
        return minimum.point, laplace(data, prior, minimum.point, self._covariance())

    def _has_new_classes(self, position, task):
        """Whether classes are unknown, or announced and in this batch for the first time."""
        if len(position) < task.n_classes:
            return True
        present = np.bincount(task.y.cpu().numpy(), minlength=task.n_classes) > 0
        return bool(np.any(present & (self._class_means["total"] == 0)))

    def _with_new_classes(self, prior, position, task):
        """The posterior so far, with the prior for classes that it does not know."""
        c = task.n_classes
        if len(position) == c:
            return prior
        new = np.setdiff1d(np.arange(c), position)
        precision = np.empty(c, self.prior_precision_.dtype)
        precision[position] = self.prior_precision_
        # One value for all classes, unless the user gave several.
        precision[new] = np.exp(np.log(self.prior_precision_).mean())
        self.prior_precision_ = precision
        where = torch.tensor(position, device=task.X.device)
        lam = torch.tensor(precision).to(prior.outside)
        diagonal = lam[:, None].repeat(1, prior.diagonal.shape[1])
        if prior.has_bias:
            variance = self._bias_variance(task, "metric" in self.posterior_precision_)
            diagonal[:, -1] = bias_precision(lam, variance, task.logit_scale)
        diagonal[where] = prior.diagonal
        outside = lam.clone()
        outside[where] = prior.outside
        return BlockGaussian(
            diagonal=diagonal,
            outside=outside,
            n_outside=prior.n_outside,
            factor=prior.factor,
            owner=where[prior.owner],
            has_bias=prior.has_bias,
        )

    def _means_with_new_classes(self, position, task):
        """(W, b) before the constant was taken from the intercepts: a new class has b = 0."""
        W, b = task.prior_mean.clone(), task.X.new_zeros(task.n_classes)
        W[position] = torch.tensor(self.coef_).to(W)
        b[position] = torch.tensor(self.intercept_ + self._intercept_shift).to(b)
        return W, b
