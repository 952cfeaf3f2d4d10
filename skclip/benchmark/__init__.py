"""The protocol: studies of data sets, backbones, shots, seeds and methods.

:func:`run` fits every method to every draw and writes a row for each, resumable and in any
number of processes; :func:`report` turns the rows into tables, figures and a page.
"""

from skclip.benchmark.evaluation import MEASURED, METRICS
from skclip.benchmark.feature_data import FeatureDataset, embed_dataset, load_feature_dataset
from skclip.benchmark.memory import PeakMemory
from skclip.benchmark.method_registry import METHODS, Method
from skclip.benchmark.own_data import OWN_METHODS, hold_out, study_of
from skclip.benchmark.recommendation import Recommendation, recommend
from skclip.benchmark.reporting import report
from skclip.benchmark.results import ResultFile
from skclip.benchmark.runner import read_results, run
from skclip.benchmark.study import Interval, Setting, Study, interval
from skclip.benchmark.study_config import read_config

__all__ = [
    "MEASURED",
    "METHODS",
    "METRICS",
    "OWN_METHODS",
    "FeatureDataset",
    "Interval",
    "Method",
    "PeakMemory",
    "Recommendation",
    "ResultFile",
    "Setting",
    "Study",
    "embed_dataset",
    "hold_out",
    "interval",
    "load_feature_dataset",
    "read_config",
    "read_results",
    "recommend",
    "report",
    "run",
    "study_of",
]
