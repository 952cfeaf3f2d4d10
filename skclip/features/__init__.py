"""Images of every accepted kind to CLIP features, as a scikit-learn transformer."""

from skclip.features.embed import (
    Embeddings,
    EmbedReport,
    FailedFile,
    embed_files,
    is_embedded,
    read_embeddings,
)
from skclip.features.featurizer import CLIPFeaturizer
from skclip.features.folders import find_images
from skclip.features.image_reading import open_image

__all__ = [
    "CLIPFeaturizer",
    "EmbedReport",
    "Embeddings",
    "FailedFile",
    "embed_files",
    "find_images",
    "is_embedded",
    "open_image",
    "read_embeddings",
]
