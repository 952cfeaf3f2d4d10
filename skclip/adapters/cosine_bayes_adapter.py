"""The cosine form of the Bayesian adapter: the paper's recipe."""

import torch

from skclip._core.posterior.cosine import (
    CosinePosterior,
    CosineProblem,
    fit_cosine_posterior,
    sample_logits,
)
from skclip.adapters.recipe import RecipeMixin
from skclip.utils.random_state import integer_seed, torch_generator

__all__ = ["CosineFormMixin"]


class CosineFormMixin(RecipeMixin):
    """``_fit_cosine`` and draws of its logits."""

    def _fit_cosine(self, task):
        precision = self._given_precision(task)
        recipe = self._recipe()
        problem = CosineProblem(
            X=task.X,
            y=task.y,
            sample_weight=task.sample_weight,
            prior_mean=self._start(task),
            prior_std=precision.rsqrt(),
            logit_scale=task.logit_scale,
        )
        posterior = fit_cosine_posterior(
            problem,
            recipe,
            torch_generator(self.random_state),
            kl_scale=self._kl_scale(task),
            callback=self._progress(recipe),
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
