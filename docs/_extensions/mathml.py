"""Formulas as MathML, which browsers draw by themselves: without a network and without scripts.

Sphinx's own renderers ask a server for MathJax when a page is read, or need LaTeX. docutils makes
MathML of LaTeX, and says so where it does not know a command.
"""

import html
import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Commands that docutils lacks, as those that it has.
_SAME = {r"\dots": r"\ldots", r"\Big": r"\Bigl", r"\big": r"\bigl"}
_KNOWN = re.compile("|".join(rf"{re.escape(command)}(?![a-zA-Z])" for command in _SAME))


def convert(node, as_block):
    """The element of a formula; the build warns, and fails with -W, where there is none."""
    formula = _KNOWN.sub(lambda match: _SAME[match[0]], node.astext())
    try:
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        logger.warning("formula without MathML: %s: %s", formula, error, location=node)
        return html.escape(formula)


def visit_inline(self, node):
    self.body.append(convert(node, as_block=False))
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(f'<div class="formula">{convert(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
