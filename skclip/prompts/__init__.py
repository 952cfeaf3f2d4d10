"""Text prototypes: one vector per class, from class names and prompt templates."""

from skclip.prompts.class_prompts import ClassPrompts
from skclip.prompts.labelled_prototypes import RAW_TEXT_NORM, Prototypes
from skclip.prompts.templates import get_templates, list_template_sets

__all__ = ["RAW_TEXT_NORM", "ClassPrompts", "Prototypes", "get_templates", "list_template_sets"]
