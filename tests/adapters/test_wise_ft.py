"""The adapter of docs/extending.rst does what the page says."""

from pathlib import Path

import numpy as np
import pytest
import wise_ft  # pyproject.toml puts examples/ on the path
from wise_ft import WiSEFTClassifier

from skclip import BayesAdapterClassifier, ZeroShotClassifier


def test_without_adapted_weights_it_is_the_zero_shot_classifier(task):
    ours = WiSEFTClassifier(task.text, alpha=0.0).fit(task.X, task.y)
    theirs = ZeroShotClassifier(task.text).fit(task.X, task.y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-12)


def test_with_adapted_weights_only_it_is_the_posterior_mode(task):
    ours = WiSEFTClassifier(task.text, alpha=1.0, tol=1e-10).fit(task.X, task.y)
    theirs = BayesAdapterClassifier(
        task.text, prior_precision=1.0, temperature=1.0, prior_shape="isotropic", tol=1e-10
    ).fit(task.X, task.y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)


def test_it_needs_prototypes(task):
    with pytest.raises(ValueError, match="WiSEFTClassifier needs text prototypes; got"):
        WiSEFTClassifier().fit(task.X, task.y)


def test_the_adapter_and_its_test_are_short():
    """Under 200 lines each: what an adapter costs."""
    for path in (Path(wise_ft.__file__), Path(__file__)):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 200
