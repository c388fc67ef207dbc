"""One run of the aggregator: what has changed, its buckets, then windows and daily figures.

A source at a time, so that memory is bounded by one source and the work can be divided. Nothing is
marked as done before all of it is written, and every write can be repeated: after a kill, the next
run does the same again.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from time import perf_counter, process_time
from typing import Any, Final

from cloudping import buckets, windows
from cloudping.buckets import Bucket, State, origin_of
from cloudping.errors import CloudPingError, ItemError
from cloudping.figures import figures
from cloudping.items import YEARS
from cloudping.periods import DAY, HOUR, floor, following
from cloudping.regions import RegionState, suggest
from cloudping.runs import KeyBatch, RunKey
from cloudping.summaries import TIMEFRAMES, Day, Summary
from cloudping.times import to_iso, utc_now

from .rollup import AHEAD, ConflictError, Counts, RunReader, Source, Tables, in_future

# How long before the watermark a run may have been stamped and still not been seen: the index is
# eventually consistent (mostly under a second), the probe stamps before it writes, and botocore may
# try for about a minute.
OVERLAP: Final = timedelta(minutes=5)
CHUNK_RUNS: Final = 2000  # after so many changed runs, progress is kept: seven days at 5 minutes
YOUNG: Final = timedelta(days=2)  # until then, the long windows are renewed as often as the short
SLOW: Final = ("1M", "1Y")
EPOCH: Final = datetime(YEARS[0], 1, 2, tzinfo=UTC)  # before all runs, and a time that can be read

Written = dict[str, str]


class UnfinishedError(CloudPingError):
    """Some sources could not be brought up to date; the next run tries again."""


def run(
    tables: Tables,
    reader: RunReader,
    *,
    sources: Sequence[str] | None = None,
    now: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> dict[str, Any]:
    """Brings every source, or those named, up to date; returns the counts for the log.

    `now` is where the windows end, by default the clock's time. A source that fails does not keep
    the others from being done; its message is under `failed`.
    """
    began, began_cpu = perf_counter(), process_time()
    bad: list[ItemError] = []
    known = {state.region.code: state for state in tables.regions.all(bad)}
    failed = {
        str(error.key): str(error) for error in bad if sources is None or error.key in sources
    }
    for code in sources or ():
        if code not in known and code not in failed:
            raise CloudPingError(f"source {code!r} is not in cloudping_regions; {suggest(code)}?")
    total, done = Counts(), []
    for code, region in known.items():
        if sources is not None and code not in sources:
            continue
        state = tables.distributions.state(code)
        if state is None and not region.is_source:
            continue
        moment = clock()
        source = Source(tables, reader, code, moment, region.is_source)
        try:
            _source(tables, reader, source, region, state, now or moment, moment)
            done.append(code)
        except CloudPingError as error:
            failed[code] = str(error)
        total.add(source.counts)
    return {
        "sources": len(done),
        **{name: getattr(total, name) for name in Counts.__slots__ if name != "bad"},
        "bad_items": len(total.bad),
        "bad_first": [str(error) for error in total.bad.values()][:5],
        "failed": failed,
        "wall_s": round(perf_counter() - began, 3),
        "cpu_s": round(process_time() - began_cpu, 3),
    }


def _source(
    tables: Tables,
    reader: RunReader,
    source: Source,
    region: RegionState,
    state: State | None,
    now: datetime,
    began: datetime,
) -> None:
    """Rolls up what has changed for a source, then renews what rests on it."""
    code = region.region.code
    reader.begin(code, None if state is None else state.revision)
    since = EPOCH if state is None else state.watermark - OVERLAP
    keys = _usable(tables, source.counts, tables.runs.written_since(code, since), began)
    elapsed = _hours_since(state, keys, began, region.is_source)
    first = state
    while len(keys) > CHUNK_RUNS:
        chunk, keys = keys[:CHUNK_RUNS], keys[CHUNK_RUNS:]
        roll_up(tables, source, code, _by_hour(chunk, []))
        part = replace(_next(state, code, chunk, elapsed[0]), watermark=chunk[-1].written_at)
        # Nothing is summed yet: without fingerprints, the run that goes on renews everything.
        state = _commit(tables, replace(part, written={}), state, first)
    old_days = roll_up(tables, source, code, _by_hour(keys, elapsed))
    after = _next(state, code, keys, elapsed[0])
    written = renew(
        tables, source.counts, code, now, _due(after, state, now, old_days), after.written
    )
    moments = [key.timestamp for key in keys]
    newest = max([*moments, *([region.latest_data] if region.latest_data else [])], default=None)
    if after.earliest is not None and newest is not None and newest != region.latest_data:
        tables.regions.note_data(code, after.earliest, newest)
    # The newest stamp seen, not this clock's time: one that is ahead would hide what comes next.
    seen = max(
        (key.written_at for key in keys), default=EPOCH if state is None else state.watermark
    )
    after = replace(
        after, watermark=min(seen, began), rolled_until=source.open_from, written=written
    )
    reader.end(code, _commit(tables, after, state, first).revision)


def _usable(tables: Tables, counts: Counts, found: KeyBatch, began: datetime) -> list[RunKey]:
    """The keys in the order of writing, less those that are no times or in the future."""
    counts.report(found.bad)
    counts.report(
        in_future(tables.runs.name, key.region, key.timestamp)
        for key in found
        if key.timestamp > began + AHEAD
    )
    return [key for key in found if key.timestamp <= began + AHEAD]


def _by_hour(
    keys: Iterable[RunKey], elapsed: Iterable[datetime]
) -> dict[datetime, Collection[datetime]]:
    changed: dict[datetime, Collection[datetime]] = {hour: [] for hour in elapsed}
    grouped = defaultdict(list)
    for key in keys:
        grouped[floor(HOUR, key.timestamp)].append(key.timestamp)
    return changed | grouped


def _hours_since(
    state: State | None, keys: Sequence[RunKey], began: datetime, is_active: bool
) -> list[datetime]:
    """The hours to look at besides those with new runs.

    Those since the last run of the aggregator, the present one included, and those between a late
    run and what was the earliest: in any of them, runs may be missing.
    """
    oldest = floor(HOUR, min((key.timestamp for key in keys), default=began))
    if state is None:
        return list(_range(oldest, began))
    start = floor(HOUR, min(state.rolled_until, began))  # later only if a clock went back
    if not is_active:
        return [start]  # so that its day and month are closed
    late = _range(oldest, state.earliest) if state.earliest is not None else []
    return [*late, *_range(start, began)]


def _range(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hours that begin from start to end."""
    while start <= end:
        yield start
        start = following(HOUR, start)


def _next(state: State | None, code: str, keys: Sequence[RunKey], first_hour: datetime) -> State:
    """The state with the source's earliest hour, these runs included."""
    moments = [floor(HOUR, key.timestamp) for key in keys]
    if state is None:
        return State(code, EPOCH, first_hour, min(moments, default=None))
    moments += [] if state.earliest is None else [state.earliest]
    return replace(state, earliest=min(moments, default=None))


def _due(state: State, before: State | None, now: datetime, old_days: bool) -> Sequence[str]:
    """The timeframes that are to be renewed."""
    is_new_day = before is None or floor(DAY, before.rolled_until) != floor(DAY, now)
    is_young = state.earliest is not None and now - state.earliest < YOUNG
    return [
        timeframe
        for timeframe in TIMEFRAMES
        if timeframe not in SLOW
        or is_new_day
        or is_young
        or old_days
        or timeframe not in state.written
    ]


def _commit(tables: Tables, state: State, read: State | None, first: State | None) -> State:
    """Moves the state; if another aggregator has moved it, back to where this run began.

    For the other may have summed without what this run has written, and the other way round: the
    next run goes over both again.
    """
    table = tables.distributions
    if table.put_state(state, read):
        return replace(state, revision=1 if read is None else read.revision + 1)
    other = table.state(state.region)
    if other is not None:
        again = replace(
            other,
            watermark=EPOCH if first is None else min(first.watermark, other.watermark),
            rolled_until=min((first or state).rolled_until, other.rolled_until),
            written={},
        )
        table.put_state(again, other)
    raise ConflictError(f"{state.region}: another aggregator ran meanwhile; the next run repeats")


def roll_up(
    tables: Tables,
    source: Source,
    code: str,
    changed: Mapping[datetime, Collection[datetime] | None],
) -> bool:
    """Rolls up hours and writes the daily figures above them; True when a past day was touched."""
    days = source.roll_up(changed)
    for day in days:
        found = tables.distributions.between(code, DAY, day, day, consistent=True)
        source.counts.days_written += tables.history.update(
            Day(code, target, day.date(), of_day, origin_of(found))
            for target, of_day in figures(found).items()
        )
    return bool(days)


def renew(
    tables: Tables,
    counts: Counts,
    code: str,
    now: datetime,
    timeframes: Sequence[str],
    written: Mapping[str, str],
) -> Written:
    """Writes the source's row of these timeframes where its buckets have changed.

    `written` are the fingerprints of what was written last; returns them as they are now.
    """
    known: dict[tuple[str, datetime], list[Bucket]] = {}
    result = dict(written)
    is_slow = bool(set(timeframes) & set(SLOW))
    for timeframe in timeframes:
        begin = windows.start(timeframe, now)
        found = list(_buckets(tables, code, begin, now, known))
        fingerprint = _fingerprint(begin, found)
        if result.get(timeframe) == fingerprint:
            continue
        until_s = max((bucket.distribution.until_s for bucket in found), default=0)
        row = {} if not until_s else figures(found)
        end = datetime.fromtimestamp(until_s, UTC)
        origin = origin_of(found)
        # Once a day is enough to find the cells of a target that is measured no more.
        stored = tables.summaries.of_source(timeframe, code) if is_slow or not row else []
        tables.summaries.write(
            Summary(timeframe, code, target, found_here, begin, end, now, origin)
            for target, found_here in row.items()
        )
        gone = [summary for summary in stored if summary.region_to not in row]
        tables.summaries.delete(gone)
        counts.summaries_written += len(row)
        counts.summaries_deleted += len(gone)
        result[timeframe] = fingerprint
    return result


def _buckets(
    tables: Tables,
    code: str,
    begin: datetime,
    now: datetime,
    known: dict[tuple[str, datetime], list[Bucket]],
) -> Iterator[Bucket]:
    """The fewest buckets that cover a window; what is `known` is not read again."""
    for level, starts in windows.cover(begin, now):
        if any((level, start) not in known for start in starts):
            known |= {(level, start): [] for start in starts}
            table = tables.distributions
            for bucket in table.between(code, level, starts[0], starts[-1], consistent=True):
                known[level, bucket.start].append(bucket)
        for start in starts:
            yield from known[level, start]


def _fingerprint(begin: datetime, found: Sequence[Bucket]) -> str:
    """Of all that a row is computed from."""
    content = [to_iso(begin)]
    content += [
        f"{buckets.key(b.level, b.start, b.method, b.origin)} {b.stored_digest}" for b in found
    ]
    return blake2b("\n".join(content).encode(), digest_size=8).hexdigest()
