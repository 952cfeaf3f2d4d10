"""Pages in HTML for people: their content, their figures, and one template."""

from skclip.pages.content import Figure, Gallery, Section, Table, Thumbnail, thumbnail
from skclip.pages.html_page import page
from skclip.pages.svg import INK, draw, for_file, for_page

__all__ = [
    "INK",
    "Figure",
    "Gallery",
    "Section",
    "Table",
    "Thumbnail",
    "draw",
    "for_file",
    "for_page",
    "page",
    "thumbnail",
]
