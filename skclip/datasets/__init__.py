"""Data that need no network: real digit images, a tiny CLIP for them, synthetic features."""

from ._clip_features import make_clip_features
from ._digits import DIGIT_NAMES, DIGIT_SHIFTS, load_digits_images, save_digits_images, split_digits
from ._tiny_clip import tiny_clip

__all__ = [
    "DIGIT_NAMES",
    "DIGIT_SHIFTS",
    "load_digits_images",
    "save_digits_images",
    "split_digits",
    "tiny_clip",
    "make_clip_features",
]
