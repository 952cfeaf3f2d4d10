"""One HTML page that needs nothing else: style, figures and thumbnails are inside it."""

from collections.abc import Iterable
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from skclip.pages.content import Section

__all__ = ["page"]


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """The text of the page; all but the SVG of figures is escaped.

    Parameters
    ----------
    title, subtitle : str
    sections : iterable of Section
        Empty ones are left out.
    """
    # Escapes all it is given; a name without a value is an error.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("skclip.pages").joinpath("page.html.jinja").read_text(encoding="utf-8")
    template = environment.from_string(source)
    shown = [section for section in sections if not section.is_empty]
    return template.render(title=title, subtitle=subtitle, sections=shown)
