"""What all pages share: security headers, static files by content, template helpers."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from jinja2 import StrictUndefined
from markupsafe import Markup

from cloudping.times import to_iso, utc_now
from frontend.data.site import snapshot
from frontend.pages.links import Links
from frontend.pages.markdown import inline, markdown
from frontend.serving.refusals import HEADERS
from frontend.views.figures import Metric, milliseconds, percent
from frontend.views.lookup import short_name
from frontend.views.matrix import legend
from frontend.views.status import silent, sources

PAGE_CACHE: Final = "public, max-age=10, stale-while-revalidate=60"
STATIC_CACHE: Final = "public, max-age=31536000, immutable"


def init_app(app: Flask, navigation: tuple[tuple[str, str], ...]) -> None:
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    app.jinja_env.filters.update(
        moment=moment,
        ago=ago,
        inline=inline,
        markdown=markdown,
        percent=percent,
        ms=milliseconds,
        thousands="{:,}".format,
        legend=legend,
        shown=Metric.shown,
        exact=Metric.exact,
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
        late = silent(sources(current, utc_now()))
        return {"snapshot": current, "nav": navigation, "silent": late, "links": Links()}

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if there := response.headers.get("Location"):
            # werkzeug's begins with the host that the client says it asked.
            relative = urlsplit(there)._replace(scheme="", netloc="").geturl()
            response.headers["Location"] = relative
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
    return _time(value, style, Markup())


def ago(value: datetime | None) -> Markup:
    """A time element that scripts turn into "3 min ago"; without them it is the UTC time."""
    return _time(value, "%d %b %Y %H:%M UTC", Markup(' class="ago"'))


def _time(value: datetime | None, style: str, attribute: Markup) -> Markup:
    if value is None:
        return Markup("never")
    return Markup('<time{} datetime="{}">{}</time>').format(
        attribute, to_iso(value), value.astimezone(UTC).strftime(style)
    )


def one_of(value: str, allowed: object, what: str) -> str:
    """The value if it is allowed; 404 with those that are otherwise."""
    names = list(allowed)  # type: ignore[call-overload]  # any iterable of names
    if value not in names:
        abort(404, f"There is no {what} {value!r}; choose one of {', '.join(names)}.")
    return value
