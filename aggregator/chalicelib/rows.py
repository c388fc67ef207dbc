"""What rests on a source's buckets: its row of the matrix in each timeframe, its daily figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

from cloudping import buckets, windows
from cloudping.buckets import Bucket, Checkpoint, origin_of
from cloudping.errors import ItemError
from cloudping.figures import figures
from cloudping.periods import DAY, floor
from cloudping.summaries import TIMEFRAMES, Day, Summary
from cloudping.times import to_iso

from .reader import RunReader
from .rollup import readable
from .tables import Counts, Pass, Tables

YOUNG: Final = timedelta(days=2)  # until then, the long windows are renewed as often as the short
SLOW: Final = ("1M", "1Y")


def due(before: Checkpoint | None, after: Checkpoint, now: datetime, is_old: bool) -> list[str]:
    """The timeframes that are to be renewed; `is_old`: a day that was over has changed."""
    is_new_day = before is None or floor(DAY, before.rolled_until) != floor(DAY, now)
    is_young = after.earliest is not None and now - after.earliest < YOUNG
    return [
        timeframe
        for timeframe in TIMEFRAMES
        if timeframe not in SLOW
        or is_new_day
        or is_young
        or is_old
        or timeframe not in after.written
    ]


def renew(
    of: Pass,
    reader: RunReader,
    timeframes: Collection[str],
    written: Mapping[str, str],
    counts: Counts,
) -> dict[str, str]:
    """Writes the source's row of these timeframes where its buckets have changed.

    `written` are the fingerprints of what was written last; returns them as they are now.
    """
    known: dict[tuple[str, datetime], list[Bucket]] = {}
    result = dict(written)
    is_slow = bool(set(timeframes) & set(SLOW))
    for timeframe in timeframes:
        begin = windows.start(timeframe, of.now)
        found = _within(of, reader, begin, known, counts)
        fingerprint = _fingerprint(begin, found)
        if result.get(timeframe) == fingerprint:
            continue
        until_s = max((bucket.distribution.until_s for bucket in found), default=0)
        row = {} if not until_s else figures(found)
        end, origin = datetime.fromtimestamp(until_s, UTC), origin_of(found)
        # Once a day is enough to find the cells of a target that is measured no more.
        table = of.tables.summaries
        stored = table.of_source(timeframe, of.code) if is_slow or not row else []
        table.write(
            Summary(timeframe, of.code, target, of_target, begin, end, of.now, origin)
            for target, of_target in row.items()
        )
        gone = [summary for summary in stored if summary.region_to not in row]
        table.delete(gone)
        counts.summaries_written += len(row)
        counts.summaries_deleted += len(gone)
        result[timeframe] = fingerprint
    return result


def write_days(of: Pass, reader: RunReader, days: Sequence[datetime], counts: Counts) -> None:
    """Writes the daily figures of these days where they have changed."""
    made = []
    for day in days:
        found = readable(of, reader, DAY, day, day, counts)
        origin = origin_of(found)
        made += [
            Day(of.code, target, day.date(), of_day, origin)
            for target, of_day in figures(found).items()
        ]
    number, bad = of.tables.history.update(made)
    counts.days_written += number
    counts.report(bad)


def _within(
    of: Pass,
    reader: RunReader,
    begin: datetime,
    known: dict[tuple[str, datetime], list[Bucket]],
    counts: Counts,
) -> list[Bucket]:
    """The fewest buckets that cover a window; what is `known` is not read again."""
    result = []
    for level, starts in windows.cover(begin, of.now):
        if any((level, start) not in known for start in starts):
            known |= {(level, start): [] for start in starts}
            for bucket in readable(of, reader, level, starts[0], starts[-1], counts):
                known[level, bucket.start].append(bucket)
        for start in starts:
            result += known[level, start]
    return result


def _fingerprint(begin: datetime, found: Sequence[Bucket]) -> str:
    """Of all that a row is computed from."""
    content = [to_iso(begin)]
    content += [
        f"{buckets.key(b.level, b.start, b.method, b.origin)} {b.stored_digest}" for b in found
    ]
    return blake2b("\n".join(content).encode(), digest_size=8).hexdigest()


def drop_gone(tables: Tables, now: datetime) -> int:
    """Removes the rows of sources whose region was deleted, and returns how many cells they had.

    What a region that comes back has in its checkpoint is no longer written: that goes first.
    """
    states = tables.regions.all()
    known = {state.region.code for state in states} | {str(error.key) for error in states.bad}
    if not states:
        return 0  # more likely a table that is being restored than an end of all regions
    gone = [
        summary
        for timeframe in TIMEFRAMES
        for summary in tables.summaries.all(timeframe)
        if summary.region_from not in known
    ]
    for code in {summary.region_from for summary in gone}:
        try:
            checkpoint = tables.distributions.checkpoint(code)
        except ItemError:  # it will be begun anew, without fingerprints
            continue
        if checkpoint is not None:
            tables.distributions.move(replace(checkpoint, written={}), checkpoint, now)
    tables.summaries.delete(gone)
    return len(gone)
