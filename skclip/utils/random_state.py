"""From scikit-learn's random_state to torch's generator."""

import numpy as np
import torch
from sklearn.utils import check_random_state

__all__ = ["integer_seed", "torch_generator"]


def integer_seed(random_state: int | np.random.RandomState | None) -> int:
    """An integer below 2**31 from an int, a RandomState or None."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def torch_generator(random_state: int | np.random.RandomState | None) -> torch.Generator:
    """A generator on the CPU, so that the same seed draws the same numbers for any device."""
    return torch.Generator().manual_seed(integer_seed(random_state))
