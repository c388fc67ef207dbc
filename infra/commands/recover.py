"""Put into PingTest what a failed write left only in the logs of the probes' functions.

A probe logs each run before it writes it. This reads those lines back and writes the runs whose
event has none in the table: the first one logged that is not known to be discarded. Running it
again changes nothing. CloudWatch keeps the logs for 14 days, and nothing older can come back; a
log that was kept longer, or that of a pair, is read with --file.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from cloudping import dynamo, runs
from cloudping.errors import CloudPingError, ItemError
from cloudping.regions import RegionTable, partition_of
from cloudping.runs import Run, RunTable
from cloudping.times import from_iso, to_iso, utc_now
from infra.aws import account
from infra.aws.account import Account, in_parallel
from infra.aws.functions import NOT_FOUND
from infra.aws.installation import LOG_RETENTION_DAYS, PROBES
from infra.commands import terminal

# CloudWatch's filter syntax for lines that are JSON objects.
_PATTERN = '{ ($.event = "run") || ($.event = "discarded") }'
# A run is stamped, then logged: its stamp may be a little older than its line.
_STAMPED_BEFORE = timedelta(hours=1)
_AGE = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    account.add_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="what was logged from then on: 2026-11-20T06:00:00Z, or an age such as 36h or 14d",
    )
    source.add_argument(
        "--file",
        type=argparse.FileType("r"),
        metavar="PATH",
        help="read a log from a file instead of CloudWatch; - is the standard input",
    )


def moment(text: str) -> datetime:
    """A time in UTC, or an age (minutes, hours, days) before now."""
    try:
        if age := _AGE.fullmatch(text):
            return utc_now() - timedelta(**{_UNITS[age[2]]: int(age[1])})
        return from_iso(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write 2026-11-20T06:00:00Z, or an age such as 36h or 14d"
        ) from None


@dataclass(frozen=True, slots=True)
class Counts:
    """What was found in a log: `logged` runs, of which `put` back; the rest was stored or expired.

    `unreadable` lines are those of a run that do not parse.
    """

    logged: int = 0
    put: int = 0
    stored: int = 0
    expired: int = 0
    unreadable: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, n) + getattr(other, n) for n in Counts.__slots__))

    def __str__(self) -> str:
        words = f"{self.logged} runs logged, {self.put} put back, {self.stored} stored before"
        words += f", {self.expired} expired" if self.expired else ""
        return words + (f", {self.unreadable} lines unreadable" if self.unreadable else "")


def run(args: argparse.Namespace) -> int:
    found = account.find(args)
    if args.file is not None:
        with args.file as lines:
            total = put_back(found, lines, datetime(1970, 1, 2, tzinfo=UTC), utc_now())
        print(total)
        return 0
    if not found.is_home:
        raise CloudPingError(
            f"the tables are in {found.installation.home_region}, which these credentials of "
            f"{found.partition} do not open: save the log and read it at home with --file"
        )
    if args.since < utc_now() - timedelta(days=LOG_RETENTION_DAYS):
        print(f"logs are kept for {LOG_RETENTION_DAYS} days: nothing older can come back")
    return recover(found, account.chosen(args.regions) or sources(found), args.since)


def sources(found: Account) -> list[str]:
    """The regions of this partition that have a probe."""
    home = found.installation
    client = dynamo.client(home.home_region)
    codes = [state.region.code for state in RegionTable(client, home.prefix).sources()]
    return sorted(code for code in codes if partition_of(code) == found.partition)


def recover(found: Account, codes: Sequence[str], since: datetime) -> int:
    """Goes through the logs of all regions at once; 1 when one of them could not be done."""
    total, failed = Counts(), 0

    def one(code: str) -> Counts:
        return put_back(found, logged(found, code, since), since - _STAMPED_BEFORE, utc_now())

    for done, (code, result) in enumerate(in_parallel(one, codes), 1):
        if isinstance(result, Counts):
            total += result
        else:
            failed += 1
        print(f"{done} of {len(codes)}  {code}: {result}", flush=True)
    print(f"since {to_iso(since)}: {total}")
    if failed:
        print(
            f"{terminal.count(failed, 'region')} could not be done; run it again", file=sys.stderr
        )
    return 1 if failed else 0


def logged(found: Account, code: str, since: datetime) -> Iterator[str]:
    """The lines about runs in the log of a region's probe, oldest first."""
    from botocore.exceptions import ClientError

    group = found.installation.log_group(PROBES, code)
    pages = (
        found.client("logs", code)
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=group,
            startTime=int(since.timestamp() * 1000),
            filterPattern=_PATTERN,
        )
    )
    try:
        for page in pages:
            for event in page["events"]:
                yield event["message"]
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            raise CloudPingError(f"no log {group}: no probe has run there") from error
        raise


def put_back(found: Account, lines: Iterable[str], stored_since: datetime, now: datetime) -> Counts:
    """Writes the runs of a log whose event has none in PingTest."""
    home = found.installation
    table = RunTable(dynamo.client(home.home_region), home.prefix)
    return put_missing(table, lines, stored_since, now)


def put_missing(
    table: RunTable, lines: Iterable[str], stored_since: datetime, now: datetime
) -> Counts:
    """As `put_back`; the events of what was written since `stored_since` are not tried again.

    A run is stamped anew, with `now`: the aggregator finds by that stamp what came late.
    """
    known: dict[str, set[str]] = {}
    missing: list[Run] = []
    discarded = set()
    logged = put = expired = unreadable = 0
    for line in lines:
        if not line.startswith('{"event":'):
            continue
        try:
            content = json.loads(line, parse_float=Decimal)
            if content["event"] == "discarded":
                discarded.add(tuple(content[name] for name in _IDENTITY))
            if content["event"] != "run":
                continue
            item = content["run"]
            region, timestamp = item["region"], item["timestamp"]
            if region not in known:
                keys = table.written_since(region, stored_since)
                known[region] = {to_iso(key.timestamp) for key in keys}
            if timestamp not in known[region]:
                missing.append(runs.from_item(item, "log"))
            logged += 1
        except (ItemError, KeyError, TypeError, ValueError):
            unreadable += 1
    # Where an event has several runs, one that lost comes last: its winner may be here as well.
    missing.sort(key=lambda run: _identity(run) in discarded)
    for run in missing:
        if run.expires_at is not None and run.expires_at <= now.timestamp():
            expired += 1
        else:
            put += table.put_once(replace(run, written_at=now))
    return Counts(logged, put, logged - put - expired, expired, unreadable)


_IDENTITY = ("region", "timestamp", "written_at")


def _identity(run: Run) -> tuple[str, str, str]:
    written_at = run.timestamp if run.written_at is None else run.written_at
    return run.region, to_iso(run.timestamp), to_iso(written_at)
