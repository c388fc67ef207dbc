"""The probe's triggers: a schedule of its own in every region."""

import os
import sys
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Cron
from chalicelib import probe_run

from cloudping.errors import SettingError
from cloudping.settings import load, minute_offset, schedule

try:
    settings = load(os.environ)
except SettingError as error:
    sys.exit(f"probes: {error}")  # one line at `chalice package`, and in Lambda's log

if settings.memory_mb:  # in Lambda, whose initialisation has a whole core: far more than the run
    probe_run.warm(settings)

app = Chalice(app_name="cloudping-probes")


@app.schedule(Cron(**schedule(settings.probe_interval_minutes, minute_offset(settings.region))))
def probe(event: CloudWatchEvent) -> dict[str, Any]:
    return probe_run.run(event.time, settings)
