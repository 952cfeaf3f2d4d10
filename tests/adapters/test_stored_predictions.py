"""Predictions are those that were stored: rebuilding the inside does not change them."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

_spec = importlib.util.spec_from_file_location(
    "stored_predictions", Path(__file__).with_name("stored_predictions.py")
)
stored_predictions = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stored_predictions)

# Where the numbers were stored, rounding is the same and 1e-10 holds; another processor or
# number of threads takes another path to an optimum and ends elsewhere within its tolerance.
ATOL = 1e-10 if os.environ.get("SKCLIP_SAME_ARITHMETIC") else 1e-5


@pytest.fixture(scope="module")
def stored():
    with np.load(stored_predictions.FILE) as arrays:
        return dict(arrays)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", stored_predictions.CASES)
def test_predictions_are_those_that_were_stored(name, stored):
    """What changes the method moves them by far more than what changes the rounding."""
    expected = {key: values for key, values in stored.items() if key.startswith(f"{name}: ")}
    got = {f"{name}: {what}": v for what, v in stored_predictions.predictions(name).items()}
    assert got.keys() == expected.keys()
    for key, values in got.items():
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, expected[key], rtol=0, atol=ATOL, err_msg=key)


def test_every_stored_prediction_is_of_a_case(stored):
    assert {key.rpartition(": ")[0] for key in stored} == set(stored_predictions.CASES)
