"""Whether new rows still look like those that a threshold was calibrated on."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.stats import ks_2samp

from skclip.exceptions import DriftWarning

__all__ = ["Drift", "compare_confidences"]


class Drift(NamedTuple):
    """How the confidences of new rows differ from those of the calibration rows.

    Parameters
    ----------
    statistic : float
        Largest gap between the two distribution functions, in [0, 1] (Kolmogorov-Smirnov).
    p_value : float
        Probability of a gap this large where nothing has changed.
    coverage : float
        Share of the new rows that are accepted.
    calibration_coverage : float
        Share of the calibration rows that are accepted.
    """

    statistic: float
    p_value: float
    coverage: float
    calibration_coverage: float


def compare_confidences(
    confidence: np.ndarray,
    calibration: np.ndarray,
    threshold: float,
    calibration_coverage: float,
    significance: float,
) -> Drift:
    """A two-sample Kolmogorov-Smirnov test of confidences; warns where they differ."""
    test = ks_2samp(confidence, calibration)
    drift = Drift(
        statistic=float(test.statistic),
        p_value=float(test.pvalue),
        coverage=float(np.mean(confidence >= threshold)),
        calibration_coverage=calibration_coverage,
    )
    if drift.p_value < significance:
        warnings.warn(
            "The confidences of these rows are not distributed like those of the calibration "
            f"rows (p = {drift.p_value:.2g}): {drift.coverage:.1%} of them are accepted, "
            f"{drift.calibration_coverage:.1%} in calibration. A guarantee from calibration "
            "does not hold for them; calibrate on labelled rows like these.",
            DriftWarning,
            stacklevel=3,
        )
    return drift
