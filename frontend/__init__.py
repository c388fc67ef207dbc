"""The site, a Flask application over one snapshot: `gunicorn 'frontend:create_app()'`."""

import functools
import os
from typing import Any

from flask import Flask

from cloudping import dynamo
from cloudping.settings import Settings, load
from frontend import api, pages
from frontend.data.all_pairs import AllPairs
from frontend.data.costly import Costly
from frontend.data.keeper import Keeper
from frontend.data.site import EXTENSION, Site
from frontend.data.store import Store
from frontend.serving.cache import PageCache, Request, Wsgi
from frontend.serving.hosts import Hosts
from frontend.serving.limits import Limits


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
    all_pairs = AllPairs(
        dynamodb, settings.table_prefix, lambda: [s.region.code for s in keeper.snapshot.sources]
    )
    app = Flask(
        __name__,
        template_folder="pages/templates",
        static_folder="pages/static",
        static_url_path="/static",
    )
    app.request_class = Request
    app.extensions[EXTENSION] = Site(settings, keeper, store, all_pairs, Costly())
    api.init_app(app)
    pages.init_app(app, api.document)
    wsgi: Wsgi = PageCache(app.wsgi_app, lambda: keeper.snapshot.number)
    wsgi = Limits(
        wsgi,
        settings.frontend_requests_per_minute,
        settings.frontend_gigabytes_per_day,
        settings.frontend_proxies,
    )
    wsgi = Hosts(wsgi, settings.frontend_url)
    app.wsgi_app = wsgi  # type: ignore[method-assign]  # as Flask documents
    if background:
        keeper.start()
    return app
