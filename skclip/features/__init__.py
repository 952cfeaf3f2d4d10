"""Images of every accepted kind to CLIP features, as a scikit-learn transformer."""

from skclip.features.featurizer import CLIPFeaturizer

__all__ = ["CLIPFeaturizer"]
