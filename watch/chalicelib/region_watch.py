"""Looks for new regions: makes them targets at once, and says so to the operator.

A probe for a new region comes with the next `python -m infra deploy`, which the deployment workflow
runs on a schedule: no function has the right to create functions or roles.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from cloudping import account, dynamo
from cloudping.account import ENABLED, region_status, register
from cloudping.errors import CloudPingError
from cloudping.items import Batch
from cloudping.regions import CATALOGUE, RegionState, RegionTable, partition_of
from cloudping.runs import RunTable
from cloudping.settings import Settings
from cloudping.times import utc_now

RECENT: Final = timedelta(days=1)
# A table that does not answer must leave time to tell the operator of what was found before.
TIMEOUT_S: Final = 3
ATTEMPTS: Final = 3


class WatchError(CloudPingError):
    """Some of what there was to do could not be done; the rest of it is."""


def run(function_arn: str, settings: Settings) -> dict[str, Any]:
    """Compares the account's regions with the table; returns what is new, for the log.

    Each step is done whatever became of the others, and what could not be done is tried again in
    the next run: a new region stays unannounced until the topic has taken the message. Raises
    WatchError at the end when anything failed, so that the alarm sees it.
    """
    import boto3

    client = dynamo.client(settings.home_region, settings.endpoint_url or None, TIMEOUT_S, ATTEMPTS)
    table = RegionTable(client, settings.table_prefix)
    runs = RunTable(client, settings.table_prefix)
    failed: list[str] = []
    added: Batch[RegionState] = Batch()
    states: Batch[RegionState] = Batch()
    sources: list[str] = []
    told: list[str] = []

    with noted(failed, "the account's regions"):
        status = region_status(boto3, settings.home_region)
        added = register(table, boto3, settings.home_region, status, is_announced=False)
    with noted(failed, "the table of regions"):
        states = table.all()
    for state in foreign(states, settings.home_region):
        with noted(failed, state.region.code):
            if note_if_it_writes(state, table, runs, utc_now()):
                sources.append(state.region.code)
    if unknown := [state for state in states if not state.is_announced]:
        with noted(failed, "the notification"):
            _notify(boto3, topic_arn(function_arn, settings), unknown, settings.home_region)
            for state in unknown:  # killed before this, the operator is told twice
                table.note_announced(state.region.code)
                told.append(state.region.code)
    failed += map(str, states.bad or added.bad)
    report = {
        "targets_added": [state.region.code for state in added],
        "sources_added": sources,
        "announced": told,
        "failed": failed,
    }
    print(json.dumps({"event": "regions", **report}), flush=True)  # noqa: T201 - Lambda's log
    if failed:
        raise WatchError("; ".join(failed))
    return report


@contextmanager
def noted(failed: list[str], what: str) -> Iterator[None]:
    """Goes on after whatever is raised within, and notes it."""
    try:
        yield
    except Exception as error:
        failed.append(f"{what}: {error}" if str(error) else f"{what}: {error!r}")


def foreign(states: Iterable[RegionState], home_region: str) -> list[RegionState]:
    """The regions of other partitions that are no sources yet."""
    own = partition_of(home_region)
    return [s for s in states if not s.is_source and partition_of(s.region.code) != own]


def note_if_it_writes(
    state: RegionState, table: RegionTable, runs: RunTable, now: datetime
) -> bool:
    """Makes a region of another partition a source once it writes; True when it has become one.

    A deployment there cannot reach this table with more than its right to write runs.
    """
    latest = runs.latest(state.region.code, now)
    if latest is None or now - latest.timestamp >= RECENT:
        return False
    table.note_source(state.region.code, latest.interval_s)
    return True


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


def _notify(session: Any, topic: str, unknown: list[RegionState], region: str) -> None:
    account.client(session, "sns", region).publish(
        TopicArn=topic,
        Subject=f"CloudPing: {len(unknown)} new targets",
        Message="\n\n".join(map(message, unknown)),
    )
