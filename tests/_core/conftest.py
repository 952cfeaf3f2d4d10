"""Small random problems for the numerical core."""

import pytest
import torch

from skclip._core.linear.linear_problem import LinearProblem


def make_problem(
    n=30,
    d=8,
    c=4,
    *,
    tau=5.0,
    lam=2.0,
    bias_variance=0.0,
    metric=False,
    weighted=True,
    seed=0,
):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    X = torch.nn.functional.normalize(normal(n, d), dim=1)
    weight = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    y = torch.arange(n) % c
    return LinearProblem(
        X=X,
        y=y,
        sample_weight=weight if weighted else torch.ones(n, dtype=torch.float64),
        prior_mean=0.3 * normal(c, d),
        prior_precision=lam * (1 + torch.arange(c, dtype=torch.float64) / c),
        logit_scale=tau,
        bias_variance=bias_variance,
        metric=torch.eye(d, dtype=torch.float64) + 0.2 * normal(d, d) if metric else None,
    )


@pytest.fixture
def problem():
    return make_problem()
