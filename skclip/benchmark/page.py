"""One HTML page that needs nothing else: style and figures are inside it."""

import html
from dataclasses import dataclass, field

from skclip.benchmark.table_formats import to_html

__all__ = ["Section", "page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --line: #d4d4d4;
  --soft: #f4f5f7; --link: #00588f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --line: #3d4147;
  --soft: #202329; --link: #7cc4f0; } }
body { margin: 0 auto; padding: 1rem 1.5rem 4rem; max-width: 68rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: .5rem 0; } h2 { margin-top: 2.5rem; }
nav { margin: 1rem 0; } nav a { margin-right: 1.2rem; } a { color: var(--link); }
svg { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; overflow-x: auto; }
figcaption, .note { font-size: .9rem; opacity: .85; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0 .3rem; font-size: .88rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--ink); }
tbody tr:nth-child(even) { background: var(--soft); }
tbody { border-bottom: 1px solid var(--line); }
.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; font-size: .88rem; }
details { margin: .8rem 0; } summary { cursor: pointer; font-weight: 600; }
"""
_MOST_OPEN_ROWS = 20


@dataclass(frozen=True)
class Section:
    """A heading, and under it text as it is, figures as (SVG, caption), tables."""

    title: str
    text: str = ""
    figures: list[tuple[str, str]] = field(default_factory=list)
    tables: list = field(default_factory=list)

    def html(self):
        anchor = _anchor(self.title)
        parts = [f'<section id="{anchor}"><h2>{html.escape(self.title)}</h2>']
        if self.text:
            parts.append(f"<pre>{html.escape(self.text)}</pre>")
        parts += [
            f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"
            for svg, caption in self.figures
        ]
        parts += [_foldable(table) for table in self.tables]
        return "\n".join([*parts, "</section>"])


def page(title, subtitle, sections):
    """The text of the page."""
    links = "".join(
        f'<a href="#{_anchor(section.title)}">{html.escape(section.title)}</a>'
        for section in sections
    )
    body = "\n".join(section.html() for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An icon of its own, or browsers ask a server for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(subtitle)}</p>\n<nav>{links}</nav>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _foldable(table):
    text = to_html(table)
    if len(table.rows) <= _MOST_OPEN_ROWS:
        return text
    summary = f"{html.escape(table.title)}: {len(table.rows)} rows"
    return f"<details><summary>{summary}</summary>{text}</details>"


def _anchor(title):
    return "".join(c if c.isalnum() else "-" for c in title.lower())
