"""Looks for new regions: makes them targets at once, and says so to the operator.

A probe for a new region comes with the next `python -m infra deploy`, which the deployment workflow
runs on a schedule: no function has the right to create functions or roles.
"""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from cloudping import dynamo
from cloudping.account import ENABLED, region_status, register
from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, RegionState, RegionTable, partition_of
from cloudping.runs import RunTable
from cloudping.settings import Settings
from cloudping.times import utc_now

RECENT: Final = timedelta(days=1)


class NotifyError(CloudPingError):
    """The operator could not be told of a new region; it is a target all the same."""


def run(function_arn: str, settings: Settings) -> dict[str, Any]:
    """Compares the account's regions with the table; returns what is new, for the log.

    Raises NotifyError when there is something to tell and the topic does not take it.
    """
    import boto3

    client = dynamo.client(settings.home_region, settings.endpoint_url or None)
    table = RegionTable(client, settings.table_prefix)
    status = region_status(boto3, settings.home_region)
    added = register(table, boto3, settings.home_region, status)
    runs = RunTable(client, settings.table_prefix)
    sources = note_foreign_sources(table, runs, settings.home_region, utc_now())
    report = {
        "targets_added": [state.region.code for state in added],
        "sources_added": sources,
    }
    print(json.dumps({"event": "regions", **report}), flush=True)  # noqa: T201 - Lambda's log
    if added:
        _notify(boto3, topic_arn(function_arn, settings), added, settings.home_region)
    return report


def note_foreign_sources(
    table: RegionTable, runs: RunTable, home_region: str, now: datetime
) -> list[str]:
    """Makes regions of other partitions sources once they write; returns those added.

    A deployment there cannot reach this table with more than its right to write runs.
    """
    added = []
    for state in table.all():
        code = state.region.code
        if state.is_source or partition_of(code) == partition_of(home_region):
            continue
        latest = runs.latest(code, now)
        if latest is not None and now - latest.timestamp < RECENT:
            table.note_source(code, latest.interval_s)
            added.append(code)
    return added


def topic_arn(function_arn: str, settings: Settings) -> str:
    """The topic of the operations stack, in the account and partition of this function."""
    _, partition, _, region, account, *_ = function_arn.split(":")
    return f"arn:{partition}:sns:{region}:{account}:{settings.table_prefix}cloudping-alarms"


def message(state: RegionState) -> str:
    """What the operator is told of a new target, and what is left to do."""
    place, lines = state.region, []
    lines.append(f"{place.code} ({place.name}) is new and is measured as a target from now on.")
    if state.opt_in_status in ENABLED:
        lines.append("The next `python -m infra deploy` puts a probe there.")
    else:
        lines.append(
            f"The account says {state.opt_in_status}: enable the region (or deploy with --opt-in) "
            "to measure from there as well."
        )
    if place.code not in CATALOGUE:
        lines.append("Its place is not known: add it to cloudping/regions.py.")
    return "\n".join(lines)


def _notify(session: Any, topic: str, added: list[RegionState], region: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    codes = ", ".join(state.region.code for state in added)
    try:
        session.client("sns", region_name=region).publish(
            TopicArn=topic,
            Subject=f"CloudPing: {len(added)} new targets",
            Message="\n\n".join(map(message, added)),
        )
    except (BotoCoreError, ClientError) as error:
        raise NotifyError(f"{topic} was not told of {codes}: {error}") from error
