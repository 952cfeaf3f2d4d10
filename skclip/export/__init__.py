"""Fitted classifiers as torch modules and ONNX files, which run without this package."""

from skclip.export.onnx_files import to_onnx
from skclip.export.torch_modules import ExportedClassifier, to_torch

__all__ = ["ExportedClassifier", "to_onnx", "to_torch"]
