"""From an event to a run of the aggregator, and from its counts to one line of the log."""

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from cloudping import dynamo
from cloudping.buckets import DistributionTable
from cloudping.errors import CloudPingError
from cloudping.regions import RegionTable
from cloudping.runs import RunTable
from cloudping.settings import Settings
from cloudping.summaries import HistoryTable, SummaryTable
from cloudping.times import from_iso, utc_now

from . import aggregate, metrics
from .rollup import RunReader, Tables


def tables(client: Any, prefix: str) -> Tables:
    """The installation's tables."""
    return Tables(
        runs=RunTable(client, prefix),
        distributions=DistributionTable(client, prefix),
        summaries=SummaryTable(client, prefix),
        history=HistoryTable(client, prefix),
        regions=RegionTable(client, prefix),
    )


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


def handle(detail: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Runs the aggregator; raises UnfinishedError when a source failed, so that Lambda retries.

    `detail` may name `sources` (a list of region codes) and `now` (ISO 8601).
    """
    sources, moment = detail.get("sources"), detail.get("now")
    if sources is not None and not (
        isinstance(sources, list) and all(isinstance(code, str) for code in sources)
    ):
        raise CloudPingError(f"sources={sources!r} is not usable: expected a list of region codes")
    try:
        now = None if moment is None else from_iso(moment)
    except (TypeError, ValueError):
        raise CloudPingError(f"now={moment!r} is not usable: expected ISO 8601 in UTC") from None
    installed, reader = _installed(settings)
    report = aggregate.run(installed, reader, sources=sources, now=now)
    print(json.dumps({"event": "aggregated", **report}), flush=True)  # noqa: T201 - Lambda's log
    if sources is None and now is None:  # a run by hand says nothing of the schedule
        say_health(installed, settings)
    if report["failed"]:
        raise aggregate.UnfinishedError(
            "; ".join(f"{code}: {message}" for code, message in report["failed"].items())
        )
    return report
