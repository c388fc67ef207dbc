"""gunicorn as the monitor needs it: from probes/, `gunicorn -c monitor/gunicorn.conf.py`."""

import os
import sys

from cloudping.errors import SettingError
from monitor.settings import load

try:
    settings = load(os.environ)
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
worker_class = "gthread"
threads = 4
timeout = 30
graceful_timeout = 1  # SIGTERM: an answer is a matter of milliseconds
keepalive = 5
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 - heartbeat file
control_socket_disable = True
