"""Metrics of real predictions: zero-shot and the default classifier, against other code."""

from functools import cache

import numpy as np
import pytest
from scipy.special import softmax

from skclip import BayesAdapterClassifier, ZeroShotClassifier
from skclip.metrics import (
    area_under_risk_coverage,
    expected_calibration_error,
    maximum_calibration_error,
)
from skclip.metrics.calibration import _netcal_has_an_answer

pytestmark = pytest.mark.feature_sets

# file -> split that supports are drawn from
SUPPORTS = {
    "pets25_vitb32": ("val", "train16"),
    "caltech69_vitb32": ("val", "train16"),
    "food9_semanticlip_vitb32": ("train",),
    "cifar10_laion_vitb32": ("train",),
}
ZERO_SHOT = ("zslogits_pets_vitb16", "zslogits_caltech_vitb16", *SUPPORTS)
CASES = [
    *(pytest.param((name, None, 0), id=name) for name in ZERO_SHOT),
    *(
        pytest.param(
            (name, split, shots),
            id=f"{name}-{split}-{shots}",
            marks=() if shots == 4 else pytest.mark.slow,
        )
        for name, splits in SUPPORTS.items()
        for split in splits
        for shots in (1, 2, 4, 8, 16)
    ),
]


@cache
def arrays_of(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(params=CASES)
def predictions(request, feature_sets):
    """Test labels and probabilities; zero-shot without a split, else the default's."""
    name, split, shots = request.param
    data = arrays_of(feature_sets / f"{name}.npz")
    if "cosine" in data:
        return data["labels"], softmax(100 * data["cosine"].astype(np.float64), axis=1)
    X, y = data["test_features"].astype(np.float64), data["test_labels"]
    text = data["text_features"].astype(np.float64)
    if split is None:
        return y, ZeroShotClassifier(text).fit(X, y).predict_proba(X)
    rng = np.random.default_rng(0)
    pool = data[f"{split}_labels"]
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(pool == code))[:shots] for code in np.unique(pool)]
    )
    support = data[f"{split}_features"][rows].astype(np.float64)
    return y, BayesAdapterClassifier(text).fit(support, pool[rows]).predict_proba(X)


def aurc_one_by_one(y, proba):
    """The definition, sample by sample; tied samples are accepted in their expected order."""
    order = np.argsort(-proba.max(axis=1))
    confidence = proba.max(axis=1)[order]
    wrong = (proba.argmax(axis=1) != y)[order].astype(float)
    for value in np.unique(confidence):
        wrong[confidence == value] = wrong[confidence == value].mean()
    errors, total = 0.0, 0.0
    for k, error in enumerate(wrong, start=1):
        errors += error
        total += errors / k
    return total / len(y)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_ece_and_mce_are_those_of_netcal(predictions, strategy):
    """netcal gets the probabilities of all classes; AECE is its ECE of bins of equal count."""
    from netcal.metrics import ECE, MCE

    y, proba = predictions
    labels = np.arange(proba.shape[1])
    for n_bins in (10, 15):
        # It has none where so many confidences round to 1 that two quantiles coincide.
        if not _netcal_has_an_answer(proba.max(axis=1), n_bins, strategy):
            assert strategy == "quantile"
            assert np.mean(proba.max(axis=1) > 1 - 1e-15) > 1 / n_bins
            continue
        for metric, theirs in [(expected_calibration_error, ECE), (maximum_calibration_error, MCE)]:
            expected = theirs(n_bins, equal_intervals=strategy == "uniform").measure(proba, y)
            ours = metric(y, proba, n_bins=n_bins, strategy=strategy, labels=labels)
            assert ours == pytest.approx(expected, abs=1e-12)


def test_ece_and_mce_are_those_of_torchmetrics(predictions, second_opinion):
    """Which has a bin of its own for a confidence of 1."""
    y, proba = predictions
    grid = second_opinion.on_a_grid(proba)
    kept = grid.max(axis=1) < 1
    for norm, metric in [("l1", expected_calibration_error), ("max", maximum_calibration_error)]:
        ours = metric(y[kept], grid[kept], labels=range(proba.shape[1]))
        theirs = second_opinion.error(y[kept], grid[kept], 10, norm)
        assert ours == pytest.approx(theirs, abs=second_opinion.rounding)


def test_aurc_is_that_of_its_definition(predictions):
    y, proba = predictions
    ours = area_under_risk_coverage(y, proba, labels=range(proba.shape[1]))
    assert ours == pytest.approx(aurc_one_by_one(y, proba), abs=1e-12)
