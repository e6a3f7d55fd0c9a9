"""Equations as MathML, which browsers show without JavaScript: the built pages need no network."""

from docutils import nodes
from latex2mathml.converter import convert


def setup(app):
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node):
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(writer, node):
    for equation in node.astext().split("\n\n"):
        writer.body.append(f'<div class="math">{convert(equation, display="block")}</div>\n')
    raise nodes.SkipNode
