"""The watch's trigger: a schedule in the home region."""

import os
import sys
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Cron
from chalicelib import region_watch

from cloudping.errors import SettingError
from cloudping.settings import WATCH_SCHEDULE, load, schedule

try:
    settings = load(os.environ)
except SettingError as error:
    sys.exit(f"watch: {error}")  # one line at `chalice package`, and in Lambda's log

app = Chalice(app_name="cloudping-watch")


@app.schedule(Cron(**schedule(*WATCH_SCHEDULE)))
def regions(event: CloudWatchEvent) -> dict[str, Any]:
    function: Any = event.context  # Lambda's context, for which Chalice has another type
    return region_watch.run(function.invoked_function_arn, settings)
