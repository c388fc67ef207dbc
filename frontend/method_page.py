"""`/method`: docs/method.md as a page, and Markdown for descriptions."""

from functools import cache
from pathlib import Path
from typing import Final

from flask import Blueprint, render_template
from markdown_it import MarkdownIt
from markupsafe import Markup

from frontend.serving.cache import keep

blueprint = Blueprint("method", __name__)

# In the image as in the repository, docs/ stands beside frontend/.
METHOD: Final = Path(__file__).parent.parent / "docs" / "method.md"
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")
# A wide table scrolls by itself, so the keyboard must reach it.
_MARKDOWN.add_render_rule("table_open", lambda *_: '<table tabindex="0">\n')


def markdown(text: str) -> Markup:
    """Markdown as HTML; HTML in it is shown, not used."""
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the renderer escapes


def inline(text: str) -> Markup:
    """As `markdown`, for a line within a paragraph."""
    return Markup(_MARKDOWN.renderInline(text))  # noqa: S704


@cache
def method() -> Markup:
    return markdown(METHOD.read_text())


@blueprint.get("/method")
def page() -> str:
    keep()
    return render_template("method.html", text=method())
