"""What all pages share: security headers, static files by content, template helpers."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, request
from markupsafe import Markup

from cloudping.times import to_iso, utc_now
from frontend.figures import milliseconds, percent
from frontend.matrix import legend, short_name
from frontend.method_page import inline, markdown
from frontend.serving.refusals import HEADERS
from frontend.site import snapshot
from frontend.status import sources

NAVIGATION: Final = (
    ("/", "Matrix"),
    ("/map", "Map"),
    ("/status", "Status"),
    ("/method", "Method"),
    ("/api", "API"),
)
PAGE_CACHE: Final = "public, max-age=10, stale-while-revalidate=60"
STATIC_CACHE: Final = "public, max-age=31536000, immutable"


def init_app(app: Flask) -> None:
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(
        moment=moment,
        ago=ago,
        inline=inline,
        markdown=markdown,
        percent=percent,
        ms=milliseconds,
        thousands="{:,}".format,
        legend=legend,
        short=lambda code: short_name(snapshot().regions[code]),
    )
    static = Path(app.static_folder or "")

    @cache
    def digest(filename: str) -> str:
        return hashlib.blake2b((static / filename).read_bytes(), digest_size=6).hexdigest()

    @app.url_defaults
    def version_static(endpoint: str, values: dict[str, Any]) -> None:
        """A static file's address changes with its content, so that it can be kept for ever."""
        if endpoint == "static":
            values["v"] = digest(values["filename"])

    @app.context_processor
    def shared() -> dict[str, Any]:
        current = snapshot()
        silent = [s for s in sources(current, utc_now()) if s.state == "silent"]
        return {"snapshot": current, "nav": NAVIGATION, "silent": silent}

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.endpoint == "static" and response.status_code == 200:
            response.headers["Cache-Control"] = (
                STATIC_CACHE if request.args.get("v") else PAGE_CACHE
            )
        elif snapshot().is_starting:
            response.headers["Cache-Control"] = "no-store"
        elif response.status_code == 200:
            response.headers.setdefault("Cache-Control", PAGE_CACHE)
        return response


def moment(value: datetime | None, style: str = "%d %b %Y %H:%M UTC") -> Markup:
    """A time element with the UTC time."""
    return _time(value, style, "")


def ago(value: datetime | None) -> Markup:
    """A time element that scripts turn into "3 min ago"; without them it is the UTC time."""
    return _time(value, "%d %b %H:%M UTC", "ago")


def _time(value: datetime | None, style: str, name: str) -> Markup:
    if value is None:
        return Markup("never")
    return Markup('<time class="{}" datetime="{}">{}</time>').format(
        name, to_iso(value), value.astimezone(UTC).strftime(style)
    )
