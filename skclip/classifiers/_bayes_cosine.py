"""The cosine form of the Bayesian adapter: the paper's recipe."""

import torch

from skclip._core.cosine import (
    CosinePosterior,
    CosineProblem,
    fit_cosine_posterior,
    sample_logits,
)
from skclip._core.sgd import Recipe
from skclip.classifiers._linear import epoch_progress
from skclip.utils._random import integer_seed, torch_generator

__all__ = ["CosineFormMixin"]


class CosineFormMixin:
    """``_fit_cosine`` and draws of its logits."""

    def _fit_cosine(self, task):
        prior_mean = task.prior_mean
        if self.prototype_norm is not None:
            prior_mean = prior_mean * (self.prototype_norm / prior_mean.norm(dim=1, keepdim=True))
        precision = self._given_precision(task)
        recipe = Recipe(self.max_iter or 300, self.batch_size, self.learning_rate)
        problem = CosineProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=prior_mean,
            prior_std=precision.rsqrt(),
            logit_scale=task.logit_scale,
        )
        posterior = fit_cosine_posterior(
            problem,
            recipe,
            torch_generator(self.random_state),
            kl_scale=self._kl_scale(task),
            callback=epoch_progress(recipe.epochs, self.verbose, "BayesAdapter"),
        )
        temperature = 1.0 if self.temperature == "auto" else self.temperature
        self._store_linear(posterior.mean, temperature=temperature)
        self.posterior_std_ = posterior.std.cpu().numpy()
        self.prior_precision_ = precision.cpu().numpy()
        self.n_iter_ = recipe.epochs
        self._sampling_seed = integer_seed(self.random_state)
        return self

    def _kl_scale(self, task):
        """What multiplies ``2 KL / (c d)`` next to the mean cross-entropy."""
        c, d = task.prior_mean.shape
        total = float(task.sample_weight.sum())
        if self.posterior_temperature == "paper":
            self.posterior_temperature_ = total / (500.0 * c * d)
            return 1.0 / 1000.0
        beta = 1.0 if self.posterior_temperature == "auto" else float(self.posterior_temperature)
        self.posterior_temperature_ = beta
        return beta * c * d / (2.0 * total)

    def _cosine_draws(self, X, n_samples, seed):
        """Logits (n, c) of draws of the weights, divided by the temperature."""
        posterior = CosinePosterior(
            mean=torch.tensor(self.coef_, dtype=X.dtype, device=X.device),
            std=torch.tensor(self.posterior_std_, dtype=X.dtype, device=X.device),
            loss=float("nan"),
        )
        generator = torch.Generator().manual_seed(seed)
        draws = sample_logits(X, posterior, self.logit_scale_, n_samples, generator)
        return (z / self.temperature_ for z in draws)
