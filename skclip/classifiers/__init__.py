"""Few-shot classifiers on features of a frozen CLIP model, one interface for all."""

from skclip.classifiers._bayes_adapter import BayesAdapterClassifier
from skclip.classifiers._linear_probe import LinearProbeClassifier
from skclip.classifiers._zero_shot import ZeroShotClassifier

__all__ = ["BayesAdapterClassifier", "LinearProbeClassifier", "ZeroShotClassifier"]
