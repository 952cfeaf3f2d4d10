"""Calibrated few-shot classification on frozen CLIP models, as scikit-learn estimators."""

from skclip import datasets, metrics, prompts
from skclip.classifiers import BayesAdapterClassifier, LinearProbeClassifier, ZeroShotClassifier
from skclip.features import CLIPFeaturizer
from skclip.prompts import ClassPrompts, Prototypes

__version__ = "0.1.0.dev0"

__all__ = [
    "BayesAdapterClassifier",
    "CLIPFeaturizer",
    "ClassPrompts",
    "LinearProbeClassifier",
    "Prototypes",
    "ZeroShotClassifier",
    "datasets",
    "metrics",
    "prompts",
]
