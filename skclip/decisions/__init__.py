"""What acts on the probabilities of a fitted classifier."""

from skclip.decisions.label_next import acquisition
from skclip.decisions.label_shift import LabelShiftClassifier
from skclip.decisions.open_set import OpenSetClassifier
from skclip.decisions.outliers import ood_score
from skclip.decisions.prediction_sets import PredictionSetClassifier
from skclip.decisions.selective import SelectiveClassifier
from skclip.decisions.unseen import check_unseen

__all__ = [
    "LabelShiftClassifier",
    "OpenSetClassifier",
    "PredictionSetClassifier",
    "SelectiveClassifier",
    "acquisition",
    "check_unseen",
    "ood_score",
]
