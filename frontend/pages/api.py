"""`/api`: the OpenAPI document as a page: no script, nothing from elsewhere."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, render_template, url_for

from frontend.serving.cache import keep


def blueprint(document: Callable[[], dict[str, Any]]) -> Blueprint:
    """The page on the document that `document` gives."""
    made = Blueprint("reading", __name__)

    @made.get("/api")
    def page() -> str:
        spec = document()
        keep()
        return render_template(
            "api.html",
            spec=spec,
            operations=[
                (path, operation)
                for path, item in spec["paths"].items()
                for verb, operation in item.items()
                if verb == "get"
            ],
            document=url_for("v1.openapi"),
        )

    return made
