"""Brings a source's buckets up to date: hours from runs, days from hours, months from days."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cloudping import buckets
from cloudping.buckets import Bucket
from cloudping.codec import digest
from cloudping.distribution import Distribution, merge
from cloudping.errors import ItemError, NewerError
from cloudping.items import Batch
from cloudping.periods import DAY, HOUR, MONTH, START_FORMAT, floor, following

from . import schedule
from .reader import TICK, RunReader
from .schedule import Kind, RunSamples
from .tables import ConflictError, Counts, Pass

_NEAR: Final = timedelta(hours=3)  # hours so close to each other are read from the table at once
_AT_ONCE: Final = timedelta(hours=24)  # and so many: at a run a minute, some 10 MB of samples

Hours = Mapping[datetime, Collection[datetime]]  # each hour, and the runs in it that may be new


@dataclass(frozen=True, slots=True)
class Stored:
    """What the table holds of one period: by kind, and the keys of what cannot be read."""

    buckets: dict[Kind, Bucket] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    @property
    def is_silent(self) -> bool:
        """Whether it was looked at, and no run was found."""
        return bool(self.buckets) and not self.broken and not self.has_runs

    @property
    def has_runs(self) -> bool:
        return any(bucket.distribution.runs for bucket in self.buckets.values())


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What a roll-up has come to.

    `done` is the last hour that is done, with all before it that were asked for; None where none
    is. `days` are the days above them that are over. `open_from` is the first hour in which runs
    may yet come, or turn out to be missing. `oldest` and `newest` are the times of its runs.
    """

    done: datetime | None
    days: Sequence[datetime]
    open_from: datetime
    oldest: datetime | None
    newest: datetime | None


def roll_up(
    of: Pass,
    reader: RunReader,
    hours: Hours,
    counts: Counts,
    is_over: Callable[[], bool] = lambda: False,
    *,
    must_read: bool = False,
) -> RolledUp:
    """Recomputes hours, and the days and months above them that are over.

    Stops before the next hour once `is_over` says so. The runs of an hour are read if any is new or
    any was there before; with `must_read`, in any case.
    """
    touched: set[datetime] = set()
    moments: list[int] = []
    done, open_from = None, of.now
    last: tuple[datetime, RunSamples | None] | None = None  # an hour, the last run before it
    for span in _spans(hours):
        stored = _stored(of, HOUR, span[0], span[-1])
        read = {
            hour: hours[hour]
            for hour in span
            if must_read or hours[hour] or stored[hour].broken or stored[hour].has_runs
        }
        readings = dict(reader.read(of.code, read, of.now, counts))
        silent: list[Bucket] = []
        for hour in span:
            if is_over():
                break
            runs = readings.get(hour, [])
            own = schedule.own_runs(runs)
            if last is None or last[0] != hour:
                needs_it = schedule.begins_late(runs, hour) and (own or of.source.is_source)
                last = (hour, _last_before(of, hour) if needs_it else None)
            before = last[1]
            after = own[-1] if own else before
            next_interval_s = 0
            if after is not None and schedule.ends_early(after, hour, of.now):
                next_interval_s = _next_interval_s(of, hour, readings)
            found = schedule.distributions(runs, hour, of.now, before, next_interval_s)
            if not own and after is not None and of.source.is_source:
                gap = schedule.silent(after, hour, of.now, next_interval_s)
                if gap is not None:
                    found[after.kind] = gap
            if after is not None and schedule.is_open(after, hour, of.now):
                open_from = min(open_from, hour)
            here = stored[hour]
            changed = _differing(of, HOUR, hour, here, found, counts)
            if changed and own and following(HOUR, hour) not in hours:
                # What silent hours after it lacked was reckoned from the run before them. They
                # come first: the hour itself, once it is written, says that all of it is done.
                touched |= _follow(of, own[-1], hour, counts)
            if runs or here.buckets or here.broken:
                _write(of, changed, here, counts)
            else:
                silent += changed
            moments += [run.time_s for run in runs]
            touched.add(hour)
            last, done = (following(HOUR, hour), after), hour
        # None of them is stored. If another aggregator makes one of them meanwhile, it moves the
        # checkpoint, and the next run goes over all of them again.
        of.tables.distributions.write(silent, of.now)
        counts.buckets_written += len(silent)
        if done != span[-1]:
            break
    return RolledUp(
        done=done,
        days=_merge_up(of, reader, touched, counts),
        open_from=open_from,
        oldest=_moment(min(moments, default=None)),
        newest=_moment(max(moments, default=None)),
    )


def readable(
    of: Pass, reader: RunReader, level: str, first: datetime, last: datetime, counts: Counts
) -> list[Bucket]:
    """The stored buckets; one that cannot be read is made anew from what it was made of.

    Where that is gone, it is reported and left out.
    """
    table = of.tables.distributions
    found = _checked(table.between(of.code, level, first, last, consistent=True))
    if found.bad:
        for start in sorted({start for error in found.bad if (start := _start_of(level, error))}):
            if level == HOUR:
                _remake(of, reader, start, counts)
            else:
                _merge(of, reader, level, start, counts)
        found = _checked(table.between(of.code, level, first, last, consistent=True))
        counts.report(found.bad)
    return found


def _remake(of: Pass, reader: RunReader, hour: datetime, counts: Counts) -> None:
    """Makes an hour anew from its runs, without a look at what rests on it."""
    (runs,) = [runs for _, runs in reader.read(of.code, {hour: ()}, of.now, counts)]
    own = schedule.own_runs(runs)
    before = _last_before(of, hour) if schedule.begins_late(runs, hour) else None
    after = own[-1] if own else before
    next_interval_s = _next_interval_s(of, hour, {}) if after is not None else 0
    found = schedule.distributions(runs, hour, of.now, before, next_interval_s)
    if not own and after is not None and of.source.is_source:
        gap = schedule.silent(after, hour, of.now, next_interval_s)
        if gap is not None:
            found[after.kind] = gap
    here = _stored(of, HOUR, hour, hour)[hour]
    _write(of, _differing(of, HOUR, hour, here, found, counts), here, counts)


def _checked(found: Batch[Bucket]) -> Batch[Bucket]:
    """Raises NewerError: what a newer version wrote is whole, and its figures cannot do without."""
    for error in found.bad:
        if isinstance(error, NewerError):
            raise error
    return found


def _start_of(level: str, error: ItemError) -> datetime | None:
    """The start in the key of a bucket that cannot be read; None where it has none."""
    name = str(error.key).partition("/")[2].split("#")
    try:
        return datetime.strptime(name[1], START_FORMAT[level]).replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return None


def _spans(hours: Hours) -> Iterator[list[datetime]]:
    """The hours in order, cut where what one query reads ends."""
    span: list[datetime] = []
    for hour in sorted(hours):
        if span and (hour - span[-1] > _NEAR or hour - span[0] >= _AT_ONCE):
            yield span
            span = []
        span.append(hour)
    if span:
        yield span


def _stored(of: Pass, level: str, first: datetime, last: datetime) -> Mapping[datetime, Stored]:
    """What is stored, by start."""
    table = of.tables.distributions
    found = _checked(table.between(of.code, level, first, last, consistent=True))
    by_start: dict[datetime, Stored] = defaultdict(Stored)
    for bucket in found:
        by_start[bucket.start].buckets[bucket.method, bucket.origin] = bucket
    for error in found.bad:
        if start := _start_of(level, error):
            by_start[start].broken.add(str(error.key).partition("/")[2])
    return by_start


def _last_before(of: Pass, hour: datetime) -> RunSamples | None:
    """The source's last run before the hour."""
    run = of.tables.runs.latest(of.code, hour - TICK)
    return None if run is None else schedule.run_samples(run)


def _next_interval_s(
    of: Pass, hour: datetime, readings: Mapping[datetime, Sequence[RunSamples]]
) -> int:
    """The schedule of the run that comes next after an hour, or of the source if there is none."""
    end = following(HOUR, hour)
    for later in sorted(readings):
        if later >= end and (own := schedule.own_runs(readings[later])):
            return own[0].interval_s
    if of.newest is None or of.newest < end:
        return of.source.interval_s
    run = of.tables.runs.first(of.code, end)
    return 0 if run is None or schedule.run_samples(run).is_imported else run.interval_s


def _follow(of: Pass, run: RunSamples, hour: datetime, counts: Counts) -> set[datetime]:
    """Recomputes the silent hours right after the one that the run is in; returns them."""
    done: set[datetime] = set()
    start, size = following(HOUR, hour), timedelta(hours=1)
    while start <= of.now:
        stored = _stored(of, HOUR, start, start + size - TICK)
        end, size = start + size, _AT_ONCE
        while start < end:
            here = stored[start]
            if not here.is_silent:
                return done
            next_interval_s = _next_interval_s(of, start, {})
            gap = schedule.silent(run, start, of.now, next_interval_s)
            found = {} if gap is None else {run.kind: gap}
            _write(of, _differing(of, HOUR, start, here, found, counts), here, counts)
            done.add(start)
            start = following(HOUR, start)
    return done


def _differing(
    of: Pass,
    level: str,
    start: datetime,
    stored: Stored,
    found: dict[Kind, Distribution],
    counts: Counts,
) -> list[Bucket]:
    """What has to be written; never fewer runs over more, for the raw runs may have expired."""
    # A period that was silent, as we thought, in which another kind came.
    gone = {
        kind: merge([])
        for kind, bucket in stored.buckets.items()
        if kind not in found and not bucket.distribution.runs
    }
    result = []
    for kind, distribution in {**found, **gone}.items():
        old = stored.buckets.get(kind)
        if old is not None and old.distribution.runs > distribution.runs:
            counts.buckets_kept += 1
        elif old is not None and old.stored_digest == digest(distribution):
            counts.buckets_unchanged += 1
        else:
            result.append(Bucket(of.code, level, start, *kind, distribution))
    return result


def _write(of: Pass, changed: Sequence[Bucket], stored: Stored, counts: Counts) -> None:
    """Writes buckets in place of those that were read, or could not be."""
    table = of.tables.distributions
    for bucket in changed:
        key = buckets.key(bucket.level, bucket.start, bucket.method, bucket.origin)
        if key in stored.broken:
            table.overwrite(bucket, of.now)
        elif not table.replace(bucket, stored.buckets.get((bucket.method, bucket.origin)), of.now):
            raise ConflictError(f"{of.code}: another aggregator changed {key} meanwhile")
        counts.buckets_written += 1


def _merge_up(
    of: Pass, reader: RunReader, touched: Collection[datetime], counts: Counts
) -> list[datetime]:
    """Merges the days and months above the hours that are over; returns the days."""
    over = []
    for level in (DAY, MONTH):
        for start in sorted({floor(level, hour) for hour in touched}):
            if following(level, start) <= of.now:
                _merge(of, reader, level, start, counts)
                over.append((level, start))
    return [start for level, start in over if level == DAY]


def _merge(of: Pass, reader: RunReader, level: str, start: datetime, counts: Counts) -> None:
    parts: dict[Kind, list[Distribution]] = defaultdict(list)
    below = HOUR if level == DAY else DAY
    for bucket in readable(of, reader, below, start, following(level, start) - TICK, counts):
        parts[bucket.method, bucket.origin].append(bucket.distribution)
    found = {kind: merge(part) for kind, part in parts.items()}
    here = _stored(of, level, start, start)[start]
    _write(of, _differing(of, level, start, here, found, counts), here, counts)


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
