"""The site, a Flask application over one snapshot: `gunicorn 'frontend:create_app()'`."""

import functools
import os
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from cloudping import dynamo
from cloudping.settings import Settings, load
from frontend import (
    api,
    errors,
    health,
    matrix_page,
    method_page,
    metrics,
    original,
    pages,
    pair_page,
    region_page,
    status_page,
)
from frontend.serving.cache import PageCache, Wsgi
from frontend.serving.limits import RateLimit
from frontend.site import EXTENSION, Site
from frontend.snapshot import Keeper
from frontend.store import Store


def create_app(
    settings: Settings | None = None, client: Any = None, *, background: bool = True
) -> Flask:
    """The application; it answers at once and shows what is missing until the tables are there.

    `settings` default to the environment's. `client` is a DynamoDB client, else one is made at the
    first refresh. Without `background` nothing is read until `Site.keeper.refresh()` is called.
    """
    settings = settings or load(os.environ)

    @functools.cache
    def dynamodb() -> Any:
        if client is not None:
            return client
        return dynamo.client(settings.home_region, settings.endpoint_url or None)

    keeper = Keeper(dynamodb, settings.table_prefix, settings.frontend_refresh_s)
    store = Store(dynamodb, settings.table_prefix)
    app = Flask(__name__)
    app.extensions[EXTENSION] = Site(settings, keeper, store)
    pages.init_app(app)
    errors.init_app(app)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config.update(API_TITLE="CloudPing", API_VERSION="v1", OPENAPI_VERSION="3.1.0")
    api.api.init_app(app)
    api.api.register_blueprint(api.blueprint)
    app.register_blueprint(api.reading)
    for part in (
        health,
        matrix_page,
        method_page,
        metrics,
        original,
        pair_page,
        region_page,
        status_page,
    ):
        app.register_blueprint(part.blueprint)
    wsgi: Wsgi = PageCache(app.wsgi_app, lambda: keeper.snapshot.number)
    if settings.frontend_requests_per_minute:
        wsgi = RateLimit(wsgi, settings.frontend_requests_per_minute)
    # Only the client's address is taken from the proxies, and only from as many as there are.
    wsgi = ProxyFix(wsgi, x_for=settings.frontend_proxies, x_proto=0, x_host=0)
    app.wsgi_app = wsgi  # type: ignore[method-assign]  # as Flask documents
    if background:
        keeper.start()
    return app
