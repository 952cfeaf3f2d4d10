"""Calibrated few-shot classification on frozen CLIP models, as scikit-learn estimators."""

from skclip import prompts
from skclip.classifiers import BayesAdapterClassifier, LinearProbeClassifier, ZeroShotClassifier
from skclip.prompts import ClassPrompts, Prototypes

__version__ = "0.1.0.dev0"
