"""Recompute buckets, daily figures and the matrix of any range from the raw runs.

Safe to repeat and to interrupt. A bucket whose raw runs have expired, in whole or in part, stays as
it is. The aggregator may go on running meanwhile.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloudping import dynamo
from cloudping.errors import CloudPingError, UnknownRegionError
from cloudping.periods import DAY, HOUR, floor, following
from cloudping.regions import RegionState, provisional, suggest
from cloudping.settings import load
from cloudping.summaries import TIMEFRAMES
from cloudping.times import utc_now

sys.path.append(str(Path(__file__).resolve().parents[2] / "aggregator"))  # as Lambda has it
from chalicelib.reader import RunReader
from chalicelib.rollup import roll_up
from chalicelib.rows import renew, write_days
from chalicelib.tables import Counts, Pass, Tables, tables

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="first", required=True, type=_moment, metavar="DAY",
        help="2026-11-01, or an hour: 2026-11-01T06; UTC",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="last", type=_moment, metavar="DAY", default=None,
        help="the last day or hour, itself included; default: now",
    )  # fmt: skip
    parser.add_argument(
        "--sources", metavar="CODE,CODE", help="only these sources; default: all that have data"
    )


def _moment(text: str) -> tuple[datetime, bool]:
    """(start, whether it is an hour) of a day or an hour."""
    for form, is_hour in (("%Y-%m-%d", False), ("%Y-%m-%dT%H", True)):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC), is_hour
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"{text} is neither a day (2026-11-01) nor an hour (…T06)")


def run(args: argparse.Namespace) -> int:
    now = utc_now()
    first, _ = args.first
    last, is_hour = args.last or (floor(HOUR, now), True)
    last = min(last if is_hour else last + timedelta(hours=23), floor(HOUR, now))
    if last < first:
        raise CloudPingError(f"--from {first} is after --to {last}, or both are in the future")
    settings = load(os.environ)
    client = dynamo.client(settings.home_region, settings.endpoint_url or None)
    installed = tables(client, settings.table_prefix)
    wanted = [code.strip() for code in (args.sources or "").split(",") if code.strip()]
    hours: list[datetime] = []
    while first <= last:
        hours.append(first)
        first = following(HOUR, first)
    work = {state.region.code: hours for state in chosen(installed, wanted)}
    recompute(installed, work, now, print)
    installed.changes.forget_state()
    return 0


def chosen(installed: Tables, wanted: Sequence[str]) -> list[RegionState]:
    """The sources named, or all that are or were one; raises UnknownRegionError."""
    known = {state.region.code: state for state in installed.regions.all()}
    for code in wanted:
        if code not in known:
            raise UnknownRegionError(code, suggest(code))
    return [
        state
        for code, state in known.items()
        if code in wanted or (not wanted and (state.is_source or state.latest_data is not None))
    ]


def recompute(
    installed: Tables, work: Mapping[str, Sequence[datetime]], now: datetime, say: Say
) -> Counts:
    """Recomputes the hours of each source, a day at a time, and all that rests on them."""
    known = {state.region.code: state for state in installed.regions.all()}
    total = Counts()
    for number, (code, hours) in enumerate(work.items(), 1):
        counts = Counts()
        reader = RunReader(installed.runs)  # a new one: what is recomputed is read
        reader.begin(code, None)
        source = known.get(code) or RegionState(
            provisional(code, code), is_source=False, is_target=False
        )
        of = Pass(installed, source, now, source.latest_data)
        days: dict[datetime, dict[datetime, Collection[datetime]]] = {}
        for hour in sorted(hours):
            days.setdefault(floor(DAY, hour), {})[hour] = ()
        moments: list[datetime] = []
        for done, (day, of_day) in enumerate(days.items(), 1):
            rolled = roll_up(of, reader, of_day, counts, must_read=True)
            write_days(of, reader, rolled.days, counts)
            moments += [moment for moment in (rolled.oldest, rolled.newest) if moment is not None]
            say(
                f"{number}/{len(work)} {code} {day:%Y-%m-%d} ({done}/{len(days)} days): "
                f"{counts.runs_read} runs read, {counts.buckets_written} buckets written"
            )
        renew(of, reader, TIMEFRAMES, {}, counts)
        if code in known and moments:
            _note_data(installed, source, min(moments), max(moments), now)
        total.add(counts)
    say(
        f"done: {total.runs_read} runs read, {total.buckets_written} buckets written, "
        f"{total.buckets_unchanged} unchanged, {total.buckets_kept} kept (fewer raw runs than "
        f"they hold), {total.days_written} daily figures written, {len(total.bad)} bad items"
    )
    for error in list(total.bad.values())[:20]:
        say(f"bad item, left as it is: {error}")
    return total


def _note_data(
    installed: Tables, region: RegionState, oldest: datetime, newest: datetime, now: datetime
) -> None:
    """Makes known that a source has older or newer data than was thought."""
    code = region.region.code
    earliest = min(oldest, region.earliest_data or oldest)
    latest = max(newest, region.latest_data or newest)
    if (earliest, latest) != (region.earliest_data, region.latest_data):
        installed.regions.note_data(code, earliest, latest)
    table = installed.distributions
    checkpoint = table.checkpoint(code)
    if checkpoint and (checkpoint.earliest is None or checkpoint.earliest > earliest):
        # If the aggregator moves it at this very moment, only this is lost.
        table.move(replace(checkpoint, earliest=floor(HOUR, earliest)), checkpoint, now)
