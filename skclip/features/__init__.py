"""Images of every accepted kind to CLIP features, as a scikit-learn transformer."""

from skclip.features.embed import EmbedReport, FailedFile, embed_files
from skclip.features.featurizer import CLIPFeaturizer
from skclip.features.folders import find_images
from skclip.features.image_reading import open_image

__all__ = [
    "CLIPFeaturizer",
    "EmbedReport",
    "FailedFile",
    "embed_files",
    "find_images",
    "open_image",
]
