"""The aggregator's trigger: a schedule in the home region.

To run it for some sources only, invoke the function with an event of EventBridge's form whose
`detail` is, e.g., {"sources": ["us-east-1"]}.
"""

import os
import sys
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Cron
from chalicelib import trigger

from cloudping.errors import SettingError
from cloudping.settings import load, schedule

try:
    settings = load(os.environ)
except SettingError as error:
    sys.exit(f"aggregator: {error}")  # one line at `chalice package`, and in Lambda's log

app = Chalice(app_name="cloudping-aggregator")


@app.schedule(
    Cron(**schedule(settings.aggregator_interval_minutes, settings.aggregator_grace_minutes))
)
def aggregate(event: CloudWatchEvent) -> dict[str, Any]:
    return trigger.handle(event.detail, settings, event.context)
