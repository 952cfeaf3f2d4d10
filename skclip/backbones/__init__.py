"""open_clip models: loaded once per process, they encode images and texts.

The only layer that imports open_clip to run a model. It knows nothing of scikit-learn:
:mod:`skclip.features` and :mod:`skclip.prompts` are two views of the same loaded model.
"""

from skclip.backbones.backbone import Backbone
from skclip.backbones.backbone_config import PRECISIONS, BackboneConfig
from skclip.backbones.registry import clear_backbones, get_backbone, get_embedding_dim
from skclip.backbones.source import absolute_name
from skclip.backbones.text_cache import encode_texts_once

__all__ = [
    "Backbone",
    "BackboneConfig",
    "PRECISIONS",
    "absolute_name",
    "clear_backbones",
    "encode_texts_once",
    "get_backbone",
    "get_embedding_dim",
]
