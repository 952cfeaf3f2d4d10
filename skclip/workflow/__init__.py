"""From a folder of photographs to predictions: check it, fit a classifier, use it on files."""

from skclip.workflow.check_result import DatasetCheck
from skclip.workflow.checking import check_dataset
from skclip.workflow.findings import KINDS, Finding
from skclip.workflow.fit_report import FitReport, HeldOut
from skclip.workflow.fitting import fit_dataset
from skclip.workflow.gains import ClassGain
from skclip.workflow.labelling import Candidate, LabelFile, images_to_label
from skclip.workflow.prediction_files import PredictionReport, predict_files
from skclip.workflow.report_page import write_page

__all__ = [
    "KINDS",
    "Candidate",
    "ClassGain",
    "DatasetCheck",
    "Finding",
    "FitReport",
    "HeldOut",
    "LabelFile",
    "PredictionReport",
    "check_dataset",
    "fit_dataset",
    "images_to_label",
    "predict_files",
    "write_page",
]
