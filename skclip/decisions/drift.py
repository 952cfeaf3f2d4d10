"""Whether new rows still look like those that a threshold was calibrated on."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.stats import ks_2samp
from sklearn.utils.validation import check_is_fitted

from skclip.exceptions import DriftWarning

__all__ = ["Drift", "DriftMixin"]


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


class DriftMixin:
    """Comparison with ``calibration_confidence_``, increasing confidences of fit."""

    def check_drift(self, X, *, significance=0.01):
        """Whether the confidences of new rows are distributed like those of calibration.

        A two-sample Kolmogorov-Smirnov test that needs no labels. Where it finds a difference the
        rows are not draws of the distribution that was calibrated on, and the guarantee does not
        hold for them; calibrate again on labelled rows like these. Where it finds
        none, nothing is shown: errors can become more frequent at the same
        confidences.

        Parameters
        ----------
        X : array-like or list of n_samples inputs
            New rows, the more the better: a few hundred show what matters.
        significance : float in (0, 1), default=0.01
            Warn at p-values below it: the share of false alarms where nothing has changed.

        Returns
        -------
        Drift
            Named tuple of statistic, p_value, coverage and calibration_coverage.

        Raises
        ------
        ValueError
            If the threshold was given, so that there are no calibration rows.

        Warns
        -----
        DriftWarning
            If the p-value is below `significance`.
        """
        check_is_fitted(self)
        if self.n_calibration_ == 0:
            raise ValueError(
                "check_drift compares with calibration rows; got a given threshold, which needs "
                "none. Pass target_risk or coverage instead of threshold."
            )
        confidence, _ = self._most_probable(X)
        test = ks_2samp(confidence, self.calibration_confidence_)
        drift = Drift(
            statistic=float(test.statistic),
            p_value=float(test.pvalue),
            coverage=float(np.mean(confidence >= self.threshold_)),
            calibration_coverage=self.calibration_score_.coverage,
        )
        if drift.p_value < significance:
            warnings.warn(
                "The confidences of these rows are not distributed like those of the calibration "
                f"rows (p = {drift.p_value:.2g}): {drift.coverage:.1%} of them are accepted, "
                f"{drift.calibration_coverage:.1%} in calibration. A guarantee from calibration "
                "does not hold for them; calibrate on labelled rows like these.",
                DriftWarning,
                stacklevel=2,
            )
        return drift
