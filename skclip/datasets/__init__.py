"""Data: what needs no network, readers of the few-shot data sets, your own folders."""

from skclip.datasets.clip_features import make_clip_features
from skclip.datasets.digit_images import (
    DIGIT_NAMES,
    DIGIT_SHIFTS,
    load_digits_images,
    save_digits_images,
    split_digits,
)
from skclip.datasets.few_shot_draws import draw_few_shots
from skclip.datasets.few_shot_readers import load_few_shot_dataset
from skclip.datasets.few_shot_registry import FEW_SHOT_DATASETS, IMAGENET_SHIFTS, FewShotSpec
from skclip.datasets.image_dataset import ImageDataset, ImageList
from skclip.datasets.image_folders import (
    image_paths_by_folder,
    load_image_csv,
    load_image_folder,
)
from skclip.datasets.tiny_clip import tiny_clip

__all__ = [
    "FEW_SHOT_DATASETS",
    "IMAGENET_SHIFTS",
    "FewShotSpec",
    "ImageDataset",
    "ImageList",
    "draw_few_shots",
    "image_paths_by_folder",
    "load_few_shot_dataset",
    "load_image_csv",
    "load_image_folder",
    "DIGIT_NAMES",
    "DIGIT_SHIFTS",
    "load_digits_images",
    "save_digits_images",
    "split_digits",
    "tiny_clip",
    "make_clip_features",
]
