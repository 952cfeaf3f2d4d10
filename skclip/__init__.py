"""Calibrated few-shot classification on frozen CLIP models, as scikit-learn estimators."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers read instead of the table below
    from skclip import datasets as datasets
    from skclip import metrics as metrics
    from skclip import prompts as prompts
    from skclip.adapters import BayesAdapterClassifier as BayesAdapterClassifier
    from skclip.adapters import CLAPClassifier as CLAPClassifier
    from skclip.adapters import CLIPAdapterClassifier as CLIPAdapterClassifier
    from skclip.adapters import CosineBayesAdapterClassifier as CosineBayesAdapterClassifier
    from skclip.adapters import CrossModalClassifier as CrossModalClassifier
    from skclip.adapters import DeepEnsembleClassifier as DeepEnsembleClassifier
    from skclip.adapters import GaussianDAClassifier as GaussianDAClassifier
    from skclip.adapters import Laplace as Laplace
    from skclip.adapters import LaplaceProbeClassifier as LaplaceProbeClassifier
    from skclip.adapters import LinearProbeClassifier as LinearProbeClassifier
    from skclip.adapters import LPPlusPlusClassifier as LPPlusPlusClassifier
    from skclip.adapters import ProKeRClassifier as ProKeRClassifier
    from skclip.adapters import SampleAdaptiveScaling as SampleAdaptiveScaling
    from skclip.adapters import TaskResClassifier as TaskResClassifier
    from skclip.adapters import TipAdapterClassifier as TipAdapterClassifier
    from skclip.adapters import Variational as Variational
    from skclip.adapters import ZeroShotClassifier as ZeroShotClassifier
    from skclip.adapters import ZeroShotRangeClassifier as ZeroShotRangeClassifier
    from skclip.decisions import LabelShiftClassifier as LabelShiftClassifier
    from skclip.decisions import OpenSetClassifier as OpenSetClassifier
    from skclip.decisions import PredictionSetClassifier as PredictionSetClassifier
    from skclip.decisions import SelectiveClassifier as SelectiveClassifier
    from skclip.decisions import check_unseen as check_unseen
    from skclip.decisions import ood_score as ood_score
    from skclip.features import CLIPFeaturizer as CLIPFeaturizer
    from skclip.features import embed_files as embed_files
    from skclip.persistence import load as load
    from skclip.persistence import save as save
    from skclip.prompts import ClassPrompts as ClassPrompts
    from skclip.prompts import Prototypes as Prototypes
    from skclip.store import cache_info as cache_info
    from skclip.store import clear_cache as clear_cache

__version__ = "0.1.0.dev0"

# Public name -> the layer that has it. It is imported when the name is first asked for, so that
# `import skclip` and `skclip --help` do not wait for torch.
_LAYER_OF = {
    "BayesAdapterClassifier": "adapters",
    "CLAPClassifier": "adapters",
    "CLIPAdapterClassifier": "adapters",
    "CosineBayesAdapterClassifier": "adapters",
    "CrossModalClassifier": "adapters",
    "DeepEnsembleClassifier": "adapters",
    "GaussianDAClassifier": "adapters",
    "Laplace": "adapters",
    "LPPlusPlusClassifier": "adapters",
    "LaplaceProbeClassifier": "adapters",
    "LinearProbeClassifier": "adapters",
    "ProKeRClassifier": "adapters",
    "SampleAdaptiveScaling": "adapters",
    "TaskResClassifier": "adapters",
    "TipAdapterClassifier": "adapters",
    "Variational": "adapters",
    "ZeroShotClassifier": "adapters",
    "ZeroShotRangeClassifier": "adapters",
    "LabelShiftClassifier": "decisions",
    "OpenSetClassifier": "decisions",
    "PredictionSetClassifier": "decisions",
    "SelectiveClassifier": "decisions",
    "check_unseen": "decisions",
    "ood_score": "decisions",
    "CLIPFeaturizer": "features",
    "embed_files": "features",
    "load": "persistence",
    "save": "persistence",
    "ClassPrompts": "prompts",
    "Prototypes": "prompts",
    "cache_info": "store",
    "clear_cache": "store",
}
_LAYERS = {
    *_LAYER_OF.values(),
    "backbones",
    "benchmark",
    "datasets",
    "exceptions",
    "export",
    "metrics",
    "workflow",
}

__all__ = sorted([*_LAYER_OF, "datasets", "metrics", "prompts"])


def __getattr__(name: str) -> Any:
    if name in _LAYERS:
        return import_module(f"skclip.{name}")
    if name not in _LAYER_OF:
        raise AttributeError(f"module 'skclip' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"skclip.{_LAYER_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
