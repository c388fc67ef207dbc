"""gunicorn as the monitor needs it: from probes/, `gunicorn -c monitor/gunicorn.conf.py`."""

import os
import sys
from typing import Any

from cloudping import settings as shared_settings
from cloudping.errors import SettingError
from monitor.settings import load

try:
    settings = load(os.environ)
    if settings.source:
        shared_settings.load(os.environ)  # where the tables are
except SettingError as error:
    print(f"monitor: {error}", file=sys.stderr)  # noqa: T201 - one line instead of a trace
    sys.exit(2)

wsgi_app = "monitor:create_app()"
bind = (
    f"[{settings.host}]:{settings.port}"
    if ":" in settings.host
    else f"{settings.host}:{settings.port}"
)
workers = 1  # the threads that measure live in it
worker_class = "monitor.worker.Worker"
threads = 4
timeout = 30
keepalive = 0  # a client that is kept alive is one to wait for at the end
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 - heartbeat file
control_socket_disable = True


def on_starting(server: Any) -> None:
    # A client that connected and says nothing must not delay the end by more; an answer takes
    # milliseconds. The setting itself takes whole seconds only.
    server.cfg.settings["graceful_timeout"].value = 0.3
