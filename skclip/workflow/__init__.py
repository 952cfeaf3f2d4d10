"""From a folder of photographs to predictions: check it, fit a classifier, use it on files."""

from skclip.workflow.check_result import DatasetCheck
from skclip.workflow.checking import check_dataset
from skclip.workflow.findings import KINDS, Finding

__all__ = ["KINDS", "DatasetCheck", "Finding", "check_dataset"]
