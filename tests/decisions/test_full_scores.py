"""Counts of full conformal sets, against one softmax per row, image and label."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from skclip.adapters.augmented import AugmentedLogits
from skclip.decisions.conformity_scores import SCORES
from skclip.decisions.full_scores import SCORES_OF_FULL, FullScores
from skclip.decisions.left_out_scores import Support


class Drawn:
    """Logits of anything; a label draws its own logit up or down."""

    def __init__(self):
        make = torch.Generator().manual_seed(0)
        self.keys = 2 * torch.randn(9, 15, 4, generator=make)
        self.bump = 2 * torch.randn(9, 15, generator=make)
        self.rows = torch.randn(9, 4, generator=make)

    def logits(self, estimator, X, numbers):
        for k in (slice(0, 5), slice(5, 9)):
            yield AugmentedLogits(self.keys[k].clone(), self.bump[k], self.rows[k])


@pytest.mark.parametrize("score", SCORES_OF_FULL)
def test_the_label_that_is_tried_moves_its_own_logit_of_every_image(score):
    drawn, y, f = Drawn(), np.arange(15) % 4, SCORES[score]
    expected = np.zeros((9, 4, 4))
    for row, label, image in np.ndindex(9, 4, 15):
        logits = drawn.keys[row, image].double().numpy()
        logits[label] += float(drawn.bump[row, image])
        own = f(log_softmax(drawn.rows[row].double().numpy()))[label]
        expected[row, label, y[image]] += f(log_softmax(logits))[y[image]] >= own
    counts = FullScores(Support.of(y, np.arange(15), 4), None, drawn, score)
    rows = np.zeros((9, 2))
    np.testing.assert_array_equal(counts.count(rows, by_class=False), expected.sum(axis=2))
    own = expected[:, range(4), range(4)]
    np.testing.assert_array_equal(counts.count(rows, by_class=True), own)
