"""The models of a support with one more row of any label, without each of its images."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch

from skclip._core.methods.proker_augmented import AugmentedKernel, AugmentedLogits
from skclip.adapters.proker import ProKeRClassifier

__all__ = ["Augmented", "AugmentedLogits", "augmented_models"]

# Rows whose affinities are made at once.
_ROWS_PER_CHUNK = 512


class Augmented(NamedTuple):
    """What a fitted adapter needs to ask these models for logits."""

    models: AugmentedKernel

    def state(self) -> dict[str, Any]:
        """Arrays and numbers, which a fitted estimator holds."""
        values = {f.name: getattr(self.models, f.name) for f in fields(self.models)}
        return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in values.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Augmented":
        values = {k: torch.tensor(v) if np.ndim(v) else v for k, v in state.items()}
        return cls(AugmentedKernel(**values))

    def logits(self, estimator: Any, X: Any, numbers: int) -> Iterator[AugmentedLogits]:
        """Of some rows at a time, so that a block has about so many `numbers`."""
        n_rows = max(1, numbers // self.models.targets.numel())
        for first in range(0, len(X), _ROWS_PER_CHUNK):
            rows = torch.from_numpy(estimator.check_rows(X[first : first + _ROWS_PER_CHUNK]))
            yield from self.models.logits(estimator.model_.to(rows), rows, n_rows)


def augmented_models(estimator: Any, y: np.ndarray) -> Augmented | None:
    """Of an adapter fitted on single images of labels y (n,); None where labels matter too much.

    There are such models for :class:`skclip.ProKeRClassifier`, whose inverse kernel does not know
    labels, where all rows are its keys.
    """
    if not isinstance(estimator, ProKeRClassifier) or len(estimator.model_.keys) < len(y):
        return None
    codes = torch.from_numpy(np.searchsorted(estimator.classes_, y))
    model, weight = estimator.model_, estimator.residual_weight_
    return Augmented(AugmentedKernel.of(model, codes, estimator.ridge_, weight))
