"""From an event to a run of the aggregator, and from its counts to one line of the log."""

import json
import logging
from collections.abc import Mapping
from datetime import timedelta
from functools import cache, partial
from math import inf
from typing import Any, Final

from cloudping import dynamo
from cloudping.errors import CloudPingError
from cloudping.settings import Settings
from cloudping.times import utc_now

from . import aggregate, changes, metrics, rows
from .reader import RunReader
from .tables import Tables, tables

log = logging.getLogger(__name__)

SEARCH_S: Final = 150.0  # what looking through 400 days of 1,300 pairs may take in a small Lambda


@cache
def _installed(settings: Settings) -> tuple[Tables, RunReader]:
    """Kept while the Lambda is warm: connections, and the runs of the last hours."""
    client = dynamo.client(settings.home_region, settings.endpoint_url or None)
    installed = tables(client, settings.table_prefix)
    return installed, RunReader(installed.runs)


def say_health(installed: Tables, settings: Settings) -> None:
    """One line in the log, from which CloudWatch makes the metrics that the alarms watch."""
    moment = utc_now()
    installation = f"{settings.table_prefix}cloudping"
    every = timedelta(minutes=settings.aggregator_interval_minutes)
    health = metrics.measure(installed, moment, every)
    said = metrics.line(health, installation, moment)
    print(said, flush=True)  # noqa: T201 - Lambda's log


def once_a_day(installed: Tables, remaining_s: float) -> dict[str, str]:
    """What is done once a day, when there is time left; why that failed, if it did.

    Looks for changes, then drops the rows of regions that were deleted. Figures do not depend on
    it, so nothing that it raises gets further than this.
    """
    if remaining_s < SEARCH_S:
        return {}
    try:
        found = changes.search(
            installed.history, installed.changes, installed.regions.all(), utc_now()
        )
        if found is not None:
            found["cells_dropped"] = rows.drop_gone(installed, utc_now())
    except Exception as error:
        log.exception("changes could not be looked for")
        return {"changes": f"{type(error).__name__}: {error}"}
    if found is not None:
        print(json.dumps({"event": "changes", **found}), flush=True)  # noqa: T201 - Lambda's log
    return {}


def handle(detail: Mapping[str, Any], settings: Settings, context: Any = None) -> dict[str, Any]:
    """Runs the aggregator; raises UnfinishedError when a source failed, so that Lambda retries.

    `detail` may name `sources` (a list of region codes). `context` is Lambda's, which knows how
    much time is left; a run that has not enough of it ends before, and the next one goes on.
    """
    unknown = set(detail) - {"sources"}
    if unknown:
        raise CloudPingError(
            f"{', '.join(sorted(unknown))} is not usable: an event's detail may have `sources`; "
            "figures always end now, and `python -m infra backfill` recomputes the past"
        )
    sources = detail.get("sources")
    if sources is not None and not (
        isinstance(sources, list) and all(isinstance(code, str) for code in sources)
    ):
        raise CloudPingError(f"sources={sources!r} is not usable: expected a list of region codes")
    installed, reader = _installed(settings)
    report = aggregate.run(
        installed, reader, sources=sources, remaining_s=partial(remaining_s, context)
    )
    print(json.dumps({"event": "aggregated", **report}), flush=True)  # noqa: T201 - Lambda's log
    if sources is None:  # a run by hand says nothing of the schedule
        say_health(installed, settings)
        report["failed"] |= once_a_day(installed, remaining_s(context))
    if report["failed"]:
        raise aggregate.UnfinishedError(
            "; ".join(f"{code}: {message}" for code, message in report["failed"].items())
        )
    return report


def remaining_s(context: Any) -> float:
    """Seconds until Lambda ends the function; endless where it is not Lambda's."""
    return inf if context is None else context.get_remaining_time_in_millis() / 1000
