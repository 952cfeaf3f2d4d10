"""Calibrated few-shot classification on frozen CLIP models, as scikit-learn estimators."""

from skclip import datasets, metrics, prompts
from skclip.adapters import (
    BayesAdapterClassifier,
    CLAPClassifier,
    CLIPAdapterClassifier,
    CosineBayesAdapterClassifier,
    CrossModalClassifier,
    DeepEnsembleClassifier,
    GaussianDAClassifier,
    Laplace,
    LaplaceProbeClassifier,
    LinearProbeClassifier,
    LPPlusPlusClassifier,
    ProKeRClassifier,
    SampleAdaptiveScaling,
    TaskResClassifier,
    TipAdapterClassifier,
    Variational,
    ZeroShotClassifier,
    ZeroShotRangeClassifier,
)
from skclip.decisions import SelectiveClassifier, check_unseen, ood_score
from skclip.features import CLIPFeaturizer, embed_files
from skclip.persistence import load, save
from skclip.prompts import ClassPrompts, Prototypes
from skclip.store import cache_info, clear_cache

__version__ = "0.1.0.dev0"

__all__ = [
    "BayesAdapterClassifier",
    "CLAPClassifier",
    "CLIPAdapterClassifier",
    "CLIPFeaturizer",
    "ClassPrompts",
    "CosineBayesAdapterClassifier",
    "CrossModalClassifier",
    "DeepEnsembleClassifier",
    "GaussianDAClassifier",
    "LPPlusPlusClassifier",
    "Laplace",
    "LaplaceProbeClassifier",
    "LinearProbeClassifier",
    "ProKeRClassifier",
    "Prototypes",
    "SampleAdaptiveScaling",
    "SelectiveClassifier",
    "TaskResClassifier",
    "TipAdapterClassifier",
    "Variational",
    "ZeroShotClassifier",
    "ZeroShotRangeClassifier",
    "cache_info",
    "check_unseen",
    "clear_cache",
    "datasets",
    "embed_files",
    "load",
    "metrics",
    "ood_score",
    "prompts",
    "save",
]
