"""Prompt templates by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from typing import Any

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
    if isinstance(templates, str):
        resolved = (templates,) if set("{}") & set(templates) else get_templates(templates)
    elif callable(templates):
        resolved = (templates,)
    elif isinstance(templates, Iterable) and not isinstance(templates, bytes | Mapping | Iterator):
        resolved = tuple(templates)
    else:
        raise ValueError(
            "templates must be a template with a '{}' for the class name, a list of them, or the "
            f"name of a set; got a {type(templates).__name__}."
        )
    if not resolved:
        raise ValueError("templates must hold at least one template; got an empty list.")
    for template in resolved:
        if not callable(template):
            _check(template)
    return resolved


def fill(template: Template, name: str) -> str:
    """The prompt of one class."""
    if not callable(template):
        parts = Formatter().parse(template)
        return "".join(text + ("" if field is None else name) for text, field, _, _ in parts)
    prompt = template(name)
    if not isinstance(prompt, str):
        raise ValueError(
            f"A template that is a function must return a string; got {type(prompt).__name__} for "
            f"{name!r}. Return the whole prompt."
        )
    return prompt


def _check(template: Any) -> None:
    """One place for the class name and nothing else: "{}", or one field of any name."""
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
        reason = "has no place for it" if not fields else ""
    except (TypeError, ValueError) as exc:  # no string; braces that do not close
        fields, reason = [], str(exc)
    names = {field for field, _, _ in fields}
    if any(spec or conversion for _, spec, conversion in fields):
        reason = "asks for a format"
    elif any(name and not name.isidentifier() and not name.isdecimal() for name in names):
        reason = "looks into the name"
    elif len(names) > 1 or (len(fields) > 1 and names == {""}):
        reason = "has several places; write '{name}' in each if all are for the class name"
    if reason:
        raise ValueError(
            "Each template must be a callable or a string with a '{}' for the class name, such as "
            f"'a photo of a {{}}.'; got {template!r}: it {reason}. For anything else pass a "
            "function of the name, and double braces that are to stay ('{{')."
        )
