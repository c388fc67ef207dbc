"""The two-server monitor, a Flask application: `gunicorn --chdir probes 'monitor:create_app()'`.

The same measuring code as the scheduled probe, run all the time against a few targets. The
threads that measure live in the process that serves, so there is one worker and no more.
"""

import os
from datetime import UTC, datetime

from flask import Flask

from cloudping import settings as shared_settings
from monitor import settings as monitor_settings
from monitor import views
from monitor.settings import MonitorSettings
from monitor.state import Monitor


def create_app(settings: MonitorSettings | None = None, *, background: bool = True) -> Flask:
    """The application, measuring from now on; `settings` default to the environment's.

    Without `background` nothing is measured until `Monitor.start` or `observe` is called.
    """
    settings = settings or monitor_settings.load(os.environ)
    tables = shared_settings.load(os.environ) if settings.source else None
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.extensions[views.EXTENSION] = Monitor(settings, tables)
    app.register_blueprint(views.blueprint)
    app.jinja_env.filters["clock"] = lambda at: f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
    if background:
        app.extensions[views.EXTENSION].start()
    return app
