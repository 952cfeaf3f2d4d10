"""Prompt templates by name."""

from collections.abc import Callable, Iterable

from skclip.utils.messages import listing
from skclip.utils.optional_imports import import_optional

__all__ = ["Template", "fill", "get_templates", "list_template_sets"]

Template = str | Callable[[str], str]

_SIMPLE = ("a photo of a {}.",)

# Zhou et al., "Learning to prompt for vision-language models", IJCV 2022: one template
# for each of the field's few-shot data sets.
_SETS: dict[str, tuple[str, ...]] = {
    "simple": _SIMPLE,
    # The seven that CLIP's authors found to suffice on ImageNet, after the simple one.
    "imagenet-select": (
        *_SIMPLE,
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "caltech101": _SIMPLE,
    "oxford-pets": ("a photo of a {}, a type of pet.",),
    "stanford-cars": _SIMPLE,
    "flowers102": ("a photo of a {}, a type of flower.",),
    "dtd": ("{} texture.",),
    "eurosat": ("a centered satellite photo of {}.",),
    "ucf101": ("a photo of a person doing {}.",),
    "food101": ("a photo of {}, a type of food.",),
    "sun397": _SIMPLE,
    "fgvc-aircraft": ("a photo of a {}, a type of aircraft.",),
    "imagenet": _SIMPLE,
}
_OPENAI = "openai-imagenet"


def list_template_sets() -> list[str]:
    """Names that :func:`get_templates` and ``ClassPrompts(templates=...)`` accept.

    Returns
    -------
    list of str
        Sorted.
    """
    return sorted((*_SETS, _OPENAI))


def get_templates(name: str) -> tuple[Template, ...]:
    """Templates of a named set.

    Parameters
    ----------
    name : str
        One of :func:`list_template_sets`. "openai-imagenet" is the ensemble of 80 that
        open_clip ships; "imagenet-select" the eight of the BayesAdapter paper's ImageNet
        experiments; "simple" is "a photo of a {}."; the others belong to the few-shot data
        sets of that name.

    Returns
    -------
    tuple of str or callable
        Strings have one ``{}`` for the class name; callables take the class name.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> from skclip.prompts import get_templates
    >>> get_templates("oxford-pets")
    ('a photo of a {}, a type of pet.',)
    """
    if name == _OPENAI:
        open_clip = import_optional("open_clip", f"templates={name!r}", install="open_clip_torch")
        return tuple(open_clip.OPENAI_IMAGENET_TEMPLATES)
    if name not in _SETS:
        raise ValueError(
            f"templates must be a template with a '{{}}' for the class name, a list of them, or "
            f"the name of a set; got {name!r}. The sets are: {', '.join(list_template_sets())}."
        )
    return _SETS[name]


def resolve(templates: Template | Iterable[Template]) -> tuple[Template, ...]:
    """Templates from what a user may pass: a set's name, one template, or several."""
    if callable(templates):
        return (templates,)
    if isinstance(templates, str):
        return (templates,) if "{" in templates else get_templates(templates)
    resolved = tuple(templates)
    if not resolved:
        raise ValueError("templates must hold at least one template; got an empty list.")
    bad = [t for t in resolved if not callable(t) and (not isinstance(t, str) or "{" not in t)]
    if bad:
        raise ValueError(
            "Each template must be a callable or a string with a '{}' for the class name; "
            f"got {listing(bad)}."
        )
    return resolved


def fill(template: Template, name: str) -> str:
    """The prompt of one class."""
    return template(name) if callable(template) else template.format(name)
