"""`/method`: docs/method.md as a page."""

from functools import cache
from pathlib import Path
from typing import Final

from flask import Blueprint, render_template
from markupsafe import Markup

from frontend.pages.markdown import markdown
from frontend.serving.cache import keep

blueprint = Blueprint("method", __name__)

# In the image as in the repository, docs/ stands beside frontend/.
METHOD: Final = Path(__file__).parents[2] / "docs" / "method.md"


@cache
def method() -> Markup:
    return markdown(METHOD.read_text())


@blueprint.get("/method")
def page() -> str:
    keep()
    return render_template("method.html", text=method())
