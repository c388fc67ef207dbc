"""The addresses of the original's pages, which others link to: each leads to its page here."""

from typing import Final

from flask import Blueprint, redirect
from werkzeug import Response

blueprint = Blueprint("original_pages", __name__)

MOVED: Final = {
    "/grid": "/",
    "/visualization": "/map",
    "/region-status": "/status",
    "/about": "/method",
}


def _leads_to(there: str) -> Response:
    return redirect(there, 301)


for here, there in MOVED.items():
    blueprint.add_url_rule(here, here.strip("/"), _leads_to, defaults={"there": there})
