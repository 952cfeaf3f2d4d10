"""Text prototypes: one vector per class, from class names and prompt templates."""

from skclip.prompts.class_prompts import ClassPrompts
from skclip.prompts.labelled_prototypes import Prototypes
from skclip.prompts.templates import get_templates, list_template_sets

__all__ = ["ClassPrompts", "Prototypes", "get_templates", "list_template_sets"]
