"""Calibration and selective classification: metrics, scorers and displays.

Every metric has the form ``metric(y_true, y_proba, *, labels=None, sample_weight=None)``.
`y_true` holds strings or integers. `y_proba` holds fractions in [0, 1], with rows that sum to
1 and columns in the order of `labels`; pass ``labels=estimator.classes_``, since None requires
that every class occurs in `y_true`. (The debiased calibration error takes no weights, and
`ood_auroc` takes scores.) What is not as described is a ValueError that says what must hold.
The paragraphs on these four arguments repeat, so that each function can be read by itself.

**Log-loss and Brier score** are scikit-learn's own. Pass `labels` to them too, so that a
class that is absent from the test set keeps its column:

>>> import numpy as np
>>> from sklearn.metrics import brier_score_loss, log_loss
>>> y_true = ["cat", "dog", "cat"]
>>> labels = ["bird", "cat", "dog"]
>>> y_proba = np.array([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.1, 0.5, 0.4]])
>>> round(float(log_loss(y_true, y_proba, labels=labels)), 4)  # in nats
0.4757
>>> round(float(brier_score_loss(y_true, y_proba, labels=labels)), 4)  # in [0, 2]
0.24

The multi-class Brier score is the sum of squares over the classes, not halved, unless
``scale_by_half=True`` is passed. `log_loss` asks for labels in sorted order, which
`classes_` always is.
"""

from skclip.metrics.bootstrap import BootstrapInterval, bootstrap_interval
from skclip.metrics.calibration import (
    classwise_calibration_error,
    confidence_bias,
    expected_calibration_error,
    maximum_calibration_error,
)
from skclip.metrics.class_errors import class_table, probable_label_errors
from skclip.metrics.class_reliability_display import ClassReliabilityDisplay
from skclip.metrics.confidence_histogram_display import ConfidenceHistogramDisplay
from skclip.metrics.coverage_at_reliability_display import CoverageAtReliabilityDisplay
from skclip.metrics.debiased_calibration import debiased_calibration_error
from skclip.metrics.detection import error_detection_auroc, ood_auroc
from skclip.metrics.error_display import ErrorDisplay
from skclip.metrics.reliability_coverage import reliability_coverage_table
from skclip.metrics.reliability_display import ReliabilityDisplay
from skclip.metrics.risk_coverage import coverage_at_risk, risk_at_coverage, risk_coverage_curve
from skclip.metrics.risk_coverage_area import (
    area_under_generalized_risk_coverage,
    area_under_risk_coverage,
    excess_aurc,
)
from skclip.metrics.risk_coverage_display import RiskCoverageDisplay
from skclip.metrics.scorers import get_scorer, get_scorer_names
from skclip.metrics.selective_table import selective_table
from skclip.metrics.smooth_calibration import smooth_calibration_error

__all__ = [
    # calibration
    "expected_calibration_error",
    "maximum_calibration_error",
    "classwise_calibration_error",
    "debiased_calibration_error",
    "smooth_calibration_error",
    "confidence_bias",
    # selective classification
    "risk_coverage_curve",
    "area_under_risk_coverage",
    "area_under_generalized_risk_coverage",
    "excess_aurc",
    "coverage_at_risk",
    "risk_at_coverage",
    "reliability_coverage_table",
    # detection
    "error_detection_auroc",
    "ood_auroc",
    # errors
    "class_table",
    "selective_table",
    "probable_label_errors",
    # intervals
    "BootstrapInterval",
    "bootstrap_interval",
    # scorers
    "get_scorer",
    "get_scorer_names",
    # displays
    "ReliabilityDisplay",
    "ClassReliabilityDisplay",
    "RiskCoverageDisplay",
    "CoverageAtReliabilityDisplay",
    "ConfidenceHistogramDisplay",
    "ErrorDisplay",
]
