"""The site, a Flask application over one snapshot: `gunicorn 'frontend:create_app()'`."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask

from cloudping import dynamo
from cloudping.settings import Settings, load
from frontend import errors, health, matrix_page, original, pages
from frontend.cache import PageCache
from frontend.site import EXTENSION, Site
from frontend.snapshot import Keeper


def create_app(
    settings: Settings | None = None, client: Any = None, *, background: bool = True
) -> Flask:
    """The application; it answers at once and shows what is missing until the tables are there.

    `settings` default to the environment's. `client` is a DynamoDB client, else one is made at the
    first refresh. Without `background` nothing is read until `Site.keeper.refresh()` is called.
    """
    settings = settings or load(os.environ)
    make_client: Callable[[], Any] = partial(
        dynamo.client, settings.home_region, settings.endpoint_url or None
    )
    keeper = Keeper(
        make_client if client is None else lambda: client,
        settings.table_prefix,
        settings.frontend_refresh_s,
    )
    app = Flask(__name__)
    app.extensions[EXTENSION] = Site(settings, keeper)
    pages.init_app(app)
    errors.init_app(app)
    for part in (health, matrix_page, original):
        app.register_blueprint(part.blueprint)
    app.wsgi_app = PageCache(app.wsgi_app, lambda: keeper.snapshot.number)  # type: ignore[method-assign]  # as Flask documents
    if background:
        keeper.start()
    return app
