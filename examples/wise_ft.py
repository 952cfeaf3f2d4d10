r"""
A new adapter in one file: WiSE-FT
==================================

WiSE-FT averages the weights of the zero-shot classifier and of one that was adapted to the
labelled images. The class below is all that skclip needs for it to work in pipelines, grid
searches and the package's own tests; the documentation's page on extending explains it.
"""

from numbers import Integral, Real

import torch

from skclip.adapters.base import (
    Interval,
    LinearAdapterClassifier,
    LinearModel,
    LinearProblem,
    fit_method,
    solve_map,
    warn_unless_converged,
)


class WiSEFTClassifier(LinearAdapterClassifier):
    r"""Weight-space average of the zero-shot and an adapted classifier.

    .. math::
        W = (1 - \alpha)\, T + \alpha \arg\min_V \Big\{ -\sum_n a_n \log
        \mathrm{softmax}_{y_n}(\tau V x_n) + \frac{\lambda}{2} \|V - T\|^2 \Big\}

    (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, with a linear layer
    as the part that is tuned and a weak prior that makes its optimum unique).

    Parameters
    ----------
    prototypes : array-like of shape (n_classes, n_features), Prototypes or ClassPrompts
    alpha : float, default=0.5
        Share of the adapted weights, in [0, 1]; 0 is the zero-shot classifier.
    prior_precision : float, default=1.0
        The prior's :math:`\lambda`, in inverse squared weight units.
    logit_scale : "auto" or float, default="auto"
    normalize : "auto" or bool, default="auto"
    max_iter : int, default=100
    tol : float, default=1e-6
        The solver stops when ``gradient_norm_`` is at most this.
    device : str, default="auto"
    """

    _parameter_constraints: dict = {
        **LinearAdapterClassifier._parameter_constraints,
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "prior_precision": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        prototypes=None,
        *,
        alpha=0.5,
        prior_precision=1.0,
        logit_scale="auto",
        normalize="auto",
        max_iter=100,
        tol=1e-6,
        device="auto",
    ):
        self.prototypes = prototypes
        self.alpha = alpha
        self.prior_precision = prior_precision
        self.logit_scale = logit_scale
        self.normalize = normalize
        self.max_iter = max_iter
        self.tol = tol
        self.device = device

    @fit_method
    def fit(self, X, y, sample_weight=None):
        """Solve for the adapted weights, and average."""
        self._check_has_text()
        problem = self._check(X, y, sample_weight)
        precision = problem.X.new_full((problem.n_classes,), self.prior_precision)
        solution = solve_map(
            LinearProblem.of(problem, prior_precision=precision),
            tol=self.tol,
            max_iter=self.max_iter,
        )
        warn_unless_converged(solution, self.tol)
        W = torch.lerp(problem.prior_mean, solution.W, self.alpha)
        return self._publish(
            LinearModel(W, torch.zeros_like(W[:, 0]), problem.logit_scale),
            n_iter_=max(1, solution.n_iter),
            gradient_norm_=solution.gradient_norm,
        )


# %%
# It takes part in everything that the package's classifiers do: its parameter is searched.
if __name__ == "__main__":
    import matplotlib.pyplot as plt
    import numpy as np
    from sklearn.model_selection import GridSearchCV

    from skclip.datasets import make_clip_features

    data = make_clip_features(n_samples_per_class=8, n_classes=10, random_state=0)
    alphas = np.linspace(0, 1, 11)
    search = GridSearchCV(
        WiSEFTClassifier(data.prototypes), {"alpha": alphas}, scoring="neg_log_loss"
    )
    search.fit(data.X, data.y)
    print(search.best_params_, search.score(data.X_test, data.y_test))

    figure, ax = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
    ax.plot(alphas, -search.cv_results_["mean_test_score"], marker="o")
    ax.set(xlabel="alpha: 0 is zero-shot, 1 is adapted", ylabel="cross-validated log-loss")
