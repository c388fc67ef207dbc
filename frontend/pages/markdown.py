"""Markdown as HTML, for the method page and for the API's descriptions."""

from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")
# A wide table scrolls by itself, so the keyboard must reach it.
_MARKDOWN.add_render_rule("table_open", lambda *_: '<table tabindex="0">\n')


def markdown(text: str) -> Markup:
    """Markdown as HTML; HTML in it is shown, not used."""
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the renderer escapes


def inline(text: str) -> Markup:
    """As `markdown`, for a line within a paragraph."""
    return Markup(_MARKDOWN.renderInline(text))  # noqa: S704
