"""Fitted estimators as files: arrays in safetensors, everything else in JSON, no pickle."""

from skclip.persistence.hub import load_from_hub, push_to_hub, save_folder
from skclip.persistence.model_cards import model_card
from skclip.persistence.saving import load, save

__all__ = ["load", "load_from_hub", "model_card", "push_to_hub", "save", "save_folder"]
