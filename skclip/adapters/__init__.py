"""Few-shot classifiers on features of a frozen CLIP model, one interface for all."""

from skclip.adapters.bayes_adapter import BayesAdapterClassifier
from skclip.adapters.clap import CLAPClassifier
from skclip.adapters.clip_adapter import CLIPAdapterClassifier
from skclip.adapters.cosine_bayes_adapter import CosineBayesAdapterClassifier
from skclip.adapters.cross_modal import CrossModalClassifier
from skclip.adapters.deep_ensemble import DeepEnsembleClassifier
from skclip.adapters.gaussian_da import GaussianDAClassifier
from skclip.adapters.laplace_probe import LaplaceProbeClassifier
from skclip.adapters.linear_probe import LinearProbeClassifier
from skclip.adapters.lp_plus_plus import LPPlusPlusClassifier
from skclip.adapters.posteriors import Laplace, Variational
from skclip.adapters.proker import ProKeRClassifier
from skclip.adapters.sample_adaptive_scaling import SampleAdaptiveScaling
from skclip.adapters.task_res import TaskResClassifier
from skclip.adapters.tip_adapter import TipAdapterClassifier
from skclip.adapters.zero_shot import ZeroShotClassifier
from skclip.adapters.zero_shot_range import ZeroShotRangeClassifier

__all__ = [
    "BayesAdapterClassifier",
    "CLAPClassifier",
    "CLIPAdapterClassifier",
    "CosineBayesAdapterClassifier",
    "CrossModalClassifier",
    "DeepEnsembleClassifier",
    "GaussianDAClassifier",
    "LPPlusPlusClassifier",
    "Laplace",
    "LaplaceProbeClassifier",
    "LinearProbeClassifier",
    "ProKeRClassifier",
    "SampleAdaptiveScaling",
    "TaskResClassifier",
    "TipAdapterClassifier",
    "Variational",
    "ZeroShotClassifier",
    "ZeroShotRangeClassifier",
]
